"""How many of something there are, and whether there is any, before decisions need to know."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["Level"]


class Level:
    """A count of what comes and goes, one at most of each a cycle, and a register: is there any?

    Parameters
    ----------
    m: where the registers go.
    name: of the count.
    most: the largest count there can be.
    comes, goes: one more, one less, from the next cycle on. Both are known late in a cycle.

    Attributes
    ----------
    value, some: the count, and whether it is not 0.
    will_have: what `some` will be in the next cycle.
    """

    def __init__(self, m: Module, name: str, most: int, comes: Value, goes: Value) -> None:
        self.value = Signal(range(most + 1), name=name)
        self.some, self.will_have = Signal(name=f"{name}_some"), Signal(name=f"{name}_will_have")
        m.d.comb += self.will_have.eq(self.some)
        m.d.sync += self.some.eq(self.will_have)
        with m.If(comes & ~goes):
            m.d.comb += self.will_have.eq(1)
            m.d.sync += self.value.eq(self.value + 1)
        with m.Elif(goes & ~comes):
            m.d.comb += self.will_have.eq(self.value != 1)
            m.d.sync += self.value.eq(self.value - 1)
