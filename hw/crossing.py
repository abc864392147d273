"""Buses between two clocks: an asynchronous queue for every channel, and resets for both sides."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import AsyncFFSynchronizer
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out

__all__ = ["Crossing", "shared_reset"]

_DEPTH = 8
"""Entries of a queue: more than the cycles that a pointer takes to the other side and back."""
_CONSTANT = ("id", "size", "burst", "cache", "prot")
"""What never changes on our buses, and needs no queue: AXI signals behind their channel's name."""
_HOLD = 8
"""Cycles of each clock that a reset lasts at least, for pointers to reach the other side."""


def channel_of(name: str) -> str:
    """The channel of an AXI signal, or of an AXI4-Stream's."""
    return name[:2] if name[:2] in ("aw", "ar") else name[0]


class Crossing(wiring.Component):
    """Hand on every transfer of a bus from one clock to the other, in order within a channel.

    The bus may be AXI4, AXI4-Lite or AXI4-Stream: of channels with `valid` and `ready`. Nothing is
    taken during a reset. Both domains must be reset together (`shared_reset`).

    Latency: about 3 cycles of the clock that a channel goes to. Throughput: a transfer a cycle of
    the slower clock.

    Parameters
    ----------
    signature: the bus, seen from the outside.
    outer, inner: clock domains of both sides.

    Members
    -------
    outside, inside: the bus on both sides: what goes in at the one comes out at the other.
    """

    def __init__(self, signature: wiring.Signature, *, outer: str = "io", inner: str = "core"):
        self.bus, self.outer, self.inner = signature, outer, inner
        super().__init__({"outside": Out(signature), "inside": In(signature)})

    def elaborate(self, platform: object) -> Module:
        """A queue a channel, in its direction."""
        m = Module()
        channels: dict[str, list[str]] = {}
        for name in self.bus.members:
            channels.setdefault(channel_of(name), []).append(name)
        for channel, names in channels.items():
            into = self.bus.members[f"{channel}valid"].flow is In
            source, target = (self.outside, self.inside) if into else (self.inside, self.outside)
            here, there = (self.outer, self.inner) if into else (self.inner, self.outer)
            data = []
            for name in names:
                rest = name.removeprefix(channel)
                if rest in _CONSTANT:
                    m.d.comb += getattr(target, name).eq(getattr(source, name))
                elif rest not in ("valid", "ready"):
                    data.append(name)
            queue = AsyncFIFO(
                width=sum(len(getattr(source, n)) for n in data), depth=_DEPTH,
                w_domain=here, r_domain=there,
            )  # fmt: skip
            m.submodules[f"{channel}_queue"] = queue
            running = ~ResetSignal(here)
            m.d.comb += [
                queue.w_data.eq(Cat(getattr(source, n) for n in data)),
                queue.w_en.eq(getattr(source, f"{channel}valid") & running),
                getattr(source, f"{channel}ready").eq(queue.w_rdy & running),
                Cat(getattr(target, n) for n in data).eq(queue.r_data),
                getattr(target, f"{channel}valid").eq(queue.r_rdy),
                queue.r_en.eq(getattr(target, f"{channel}ready")),
            ]  # fmt: skip
        return m


def shared_reset(m: Module, domains: dict[str, str]) -> None:
    """Make domains with the clocks of others, which are in reset together.

    A reset of any of them resets all. It begins at once, lasts until every clock has run `_HOLD`
    cycles of it, and ends in step with each clock: so no pointer of a queue is between its sides
    when either begins to work.

    Parameters
    ----------
    domains: new domain -> the one that has its clock and asks for resets.
    """
    asked: Value = Cat(ResetSignal(source) for source in domains.values()).any()
    holds = []
    for name, source in domains.items():
        m.domains += ClockDomain(name)
        hold = Signal(name=f"hold_{name}", init=1)
        m.submodules[f"hold_{name}"] = AsyncFFSynchronizer(asked, hold, o_domain=name, stages=_HOLD)
        m.d.comb += ClockSignal(name).eq(ClockSignal(source))
        holds.append(hold)
    for name in domains:
        m.submodules[f"reset_{name}"] = AsyncFFSynchronizer(
            Cat(*holds).any(), ResetSignal(name), o_domain=name
        )
