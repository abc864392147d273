"""Counting semaphores between the in-order units."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.spec.commands import Unit

__all__ = ["Tokens"]


class Tokens(wiring.Component):
    """One counter per ordered pair of units.

    Tokens that unit LOAD gives to COMPUTE are taken by the weight loader, which runs ahead of the
    rest of the unit: bit LOAD of COMPUTE's own wait mask is ignored.

    Parameters
    ----------
    bits: width of a counter; a unit may run ahead of another by that many unconsumed tokens.

    Members
    -------
    wait{u}: units whose tokens unit u's next command needs.
    ready{u}: they are all there.
    start{u}: unit u consumes them.
    finish{u}, signal{u}: unit u gives one token to every unit in the mask.
    loader_ready, loader_start: a token of LOAD is there for the weight loader; it takes it.
    """

    def __init__(self, bits: int = 8):
        self.bits = bits
        members = {"loader_ready": Out(1), "loader_start": In(1)}
        for u in Unit:
            members |= {
                f"wait{int(u)}": In(len(Unit)), f"ready{int(u)}": Out(1), f"start{int(u)}": In(1),
                f"finish{int(u)}": In(1), f"signal{int(u)}": In(len(Unit)),
            }  # fmt: skip
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """A counter moves up, down, or both at once."""
        m = Module()
        for taker in Unit:
            wait, start = getattr(self, f"wait{int(taker)}"), getattr(self, f"start{int(taker)}")
            lacks = Signal(len(Unit), name=f"lacks{int(taker)}")
            for giver in Unit:
                if giver == taker:
                    continue
                count = Signal(self.bits, name=f"from_{giver.name}_to_{taker.name}".lower())
                given = (
                    getattr(self, f"finish{int(giver)}")
                    & getattr(self, f"signal{int(giver)}")[taker]
                )
                if (giver, taker) == (Unit.LOAD, Unit.COMPUTE):
                    taken = self.loader_start
                    m.d.comb += self.loader_ready.eq(count != 0)
                else:
                    taken = start & wait[giver]
                    m.d.comb += lacks[giver].eq(wait[giver] & (count == 0))
                m.d.sync += count.eq(count + given - taken)
            m.d.comb += getattr(self, f"ready{int(taker)}").eq(lacks == 0)
        return m
