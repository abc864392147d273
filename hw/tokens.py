"""Counting semaphores between the in-order units."""

import itertools
from collections.abc import Collection

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Unit

__all__ = ["Tokens", "token_pairs"]

_LOADER = (Unit.LOAD, Unit.COMPUTE)
"""The pair whose tokens the weight loader takes."""


def token_pairs(spec: AcceleratorSpec) -> list[tuple[Unit, Unit]]:
    """Pairs of units that exist, the first of which gives tokens."""
    absent = set() if spec.external.data_bytes else {Unit.LOAD, Unit.SAVE}
    absent |= set() if spec.moves else {Unit.MOVE}
    units = [unit for unit in Unit if unit not in absent]
    return [(a, b) for a, b in itertools.permutations(units, 2) if a is not Unit.FETCH]


class Tokens(wiring.Component):
    """One counter per ordered pair of units.

    Tokens that unit LOAD gives to COMPUTE are taken by the weight loader, which runs ahead of the
    rest of the unit: bit LOAD of COMPUTE's own wait mask is ignored.

    Parameters
    ----------
    bits: width of a counter; a unit may run ahead of another by that many unconsumed tokens.
    pairs: (giver, taker) of the counters that are built, all by default; to wait for a token of any
        other giver is to wait for ever.

    Members
    -------
    wait{u}: units whose tokens unit u's next command needs.
    ready{u}: they are all there.
    start{u}: unit u consumes them.
    finish{u}, signal{u}: unit u gives one token to every unit in the mask.
    loader_ready, loader_start: a token of LOAD is there for the weight loader; it takes it.
    """

    def __init__(self, bits: int = 8, *, pairs: Collection[tuple[Unit, Unit]] | None = None):
        self.bits = bits
        self.pairs = set(itertools.permutations(Unit, 2) if pairs is None else pairs)
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
                if (giver, taker) not in self.pairs:
                    if (giver, taker) != _LOADER:
                        m.d.comb += lacks[giver].eq(wait[giver])
                    continue
                name = f"from_{giver.name}_to_{taker.name}".lower()
                count, some = Signal(self.bits, name=name), Signal(name=f"{name}_some")
                given = (
                    getattr(self, f"finish{int(giver)}")
                    & getattr(self, f"signal{int(giver)}")[taker]
                )
                if (giver, taker) == _LOADER:
                    taken = self.loader_start
                    m.d.comb += self.loader_ready.eq(some)
                else:
                    taken = start & wait[giver]
                    m.d.comb += lacks[giver].eq(wait[giver] & ~some)
                # Both come late in a cycle: they choose between sums and flags that are there.
                with m.If(given & ~taken):
                    m.d.sync += [count.eq(count + 1), some.eq(~count.all())]
                with m.Elif(taken & ~given):
                    m.d.sync += [count.eq(count - 1), some.eq(count != 1)]
            m.d.comb += getattr(self, f"ready{int(taker)}").eq(lacks == 0)
        return m
