"""A counter that knows beforehand when it has reached its end."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["Countdown"]


class Countdown:
    """A register that is loaded or counts down, and registers that say whether it is 0 or 1.

    The comparisons are made with what the counter will be, so that decisions of a cycle need not
    wait for them. A later assignment in the same cycle overrides an earlier one.

    Parameters
    ----------
    m: where the registers go.
    name: of the counter.
    like: a value of its width.

    Attributes
    ----------
    value, is_zero, is_one: the counter, and what it is.
    will_be_zero, will_be_one: what `is_zero` and `is_one` will be in the next cycle, known late in
        this one.
    """

    def __init__(self, m: Module, name: str, like: Value) -> None:
        self._m = m
        self.value = Signal(len(like), name=name)
        self.is_zero = Signal(name=f"{name}_is_zero", init=1)
        self.is_one = Signal(name=f"{name}_is_one")
        self.will_be_zero = Signal(name=f"{name}_will_be_zero")
        self.will_be_one = Signal(name=f"{name}_will_be_one")
        m.d.comb += [self.will_be_zero.eq(self.is_zero), self.will_be_one.eq(self.is_one)]
        m.d.sync += [self.is_zero.eq(self.will_be_zero), self.is_one.eq(self.will_be_one)]

    def load(self, value: Value, *, less: int = 0) -> None:
        """Make it ``value - less`` from the next cycle on."""
        self._m.d.comb += [
            self.will_be_zero.eq(value == less), self.will_be_one.eq(value == less + 1)
        ]  # fmt: skip
        self._m.d.sync += self.value.eq(value - less)

    def count(self) -> None:
        """Make it one less from the next cycle on."""
        self.load(self.value, less=1)
