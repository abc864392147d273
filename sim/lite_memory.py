"""An AXI4-Lite slave with a memory, and a master, for Amaranth's simulator."""

import random
from typing import Any

from amaranth.sim import SimulatorContext

__all__ = ["LiteMemory", "lite_access"]

_SLVERR = 2


class LiteMemory:
    """Serve a bus from a bytearray; what lies beyond its end answers SLVERR.

    Parameters
    ----------
    bus: the port of a master.
    size: bytes of the memory.
    often: how often each channel moves, 1.0 for every cycle.
    seed: of the pauses.
    """

    def __init__(self, bus: Any, size: int, *, often: float = 1.0, seed: int = 0) -> None:
        self.bus, self.data = bus, bytearray(size)
        self.rng, self.often = random.Random(seed), often
        self.reads: list[int] = []
        self.writes: list[tuple[int, int, int]] = []
        self._write: dict[str, Any] = {"aw": None, "w": None}
        self._read: int | None = None

    async def run(self, ctx: SimulatorContext) -> None:
        """Serve for ever: a background testbench."""
        bus = self.bus
        while True:
            for channel in ("aw", "w", "ar"):
                free = self._read is None if channel == "ar" else self._write[channel] is None
                ctx.set(getattr(bus, f"{channel}ready"), free and self.rng.random() < self.often)
            _, _, *seen = await ctx.tick().sample(
                bus.awvalid & bus.awready, bus.awaddr, bus.wvalid & bus.wready, bus.wdata,
                bus.wstrb, bus.arvalid & bus.arready, bus.araddr, bus.bvalid & bus.bready,
                bus.rvalid & bus.rready,
            )  # fmt: skip
            self._note(ctx, seen)
            self._answer(ctx)

    def _note(self, ctx: SimulatorContext, seen: list[int]) -> None:
        """Keep what was taken, and end answers that were."""
        aw, address, w, data, strobe, ar, place, b, r = seen
        if aw:
            self._write["aw"] = address
        if w:
            self._write["w"] = (data, strobe)
        if ar:
            self._read = place
        if b:
            ctx.set(self.bus.bvalid, 0)
        if r:
            ctx.set(self.bus.rvalid, 0)

    def _answer(self, ctx: SimulatorContext) -> None:
        """Answer what is complete."""
        bus, address, data = self.bus, self._write["aw"], self._write["w"]
        if address is not None and data is not None and not ctx.get(bus.bvalid):
            ctx.set(bus.bvalid, 1)
            ctx.set(bus.bresp, self._store(address, *data))
            self._write = {"aw": None, "w": None}
        if self._read is not None and not ctx.get(bus.rvalid):
            known = self._read + 4 <= len(self.data)
            self.reads.append(self._read)
            word = self.data[self._read : self._read + 4] if known else bytes(4)
            ctx.set(bus.rvalid, 1)
            ctx.set(bus.rdata, int.from_bytes(word, "little"))
            ctx.set(bus.rresp, 0 if known else _SLVERR)
            self._read = None

    def _store(self, address: int, data: int, strobe: int) -> int:
        """Do a write; return its response."""
        self.writes.append((address, data, strobe))
        if address + 4 > len(self.data):
            return _SLVERR
        for lane in range(4):
            if strobe >> lane & 1:
                self.data[address + lane] = data >> 8 * lane & 255
        return 0


async def lite_access(
    ctx: SimulatorContext, bus: Any, address: int, data: int | None = None, strobe: int = 15
) -> tuple[int, int]:
    """Write a word to a slave, or read one; return data (0 of a write) and response."""
    read = data is None
    names = ("ar",) if read else ("aw", "w")
    ctx.set(bus.araddr if read else bus.awaddr, address)
    if not read:
        ctx.set(bus.wdata, data)
        ctx.set(bus.wstrb, strobe)
    waiting = set(names)
    for name in names:
        ctx.set(getattr(bus, f"{name}valid"), 1)
    while waiting:
        ready = [getattr(bus, f"{name}ready") for name in names]
        *_, first, last = await ctx.tick().sample(ready[0], ready[-1])
        for name, taken in zip(names, (first, last), strict=False):
            if taken:
                ctx.set(getattr(bus, f"{name}valid"), 0)
                waiting.discard(name)
    ctx.set(bus.rready if read else bus.bready, 1)
    valid = 0
    while not valid:
        *_, valid, word, code = await ctx.tick().sample(
            *((bus.rvalid, bus.rdata, bus.rresp) if read else (bus.bvalid, bus.rdata, bus.bresp))
        )
    ctx.set(bus.rready if read else bus.bready, 0)
    return word if read else 0, code
