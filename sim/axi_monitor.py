"""A checker of what an AXI4 master may do, for testbenches of Amaranth's simulator."""

from collections import deque
from typing import Any

__all__ = ["AxiMonitor"]

_CHANNELS = {
    "ar": ("addr", "len", "size", "burst", "cache", "prot", "id"),
    "aw": ("addr", "len", "size", "burst", "cache", "prot", "id"),
    "w": ("data", "strb", "last"),
}
_PAGE = 4096


class AxiMonitor:
    """Watch a master's bus cycle by cycle and object to every breach of the protocol.

    Checked are: VALID stays, with an unchanged payload, until READY; bursts count up in full beats
    from aligned addresses, have at most ``burst_beats`` beats and do not cross 4 KiB; WLAST ends
    every write burst, and no write data comes before its address; at most ``outstanding`` bursts of
    each kind are under way.

    Parameters
    ----------
    data_bytes, burst_beats, outstanding: as of the master's `ExternalSpec`.

    Attributes
    ----------
    reads, writes: (address, beats) of every burst, in order.
    read_beats, write_beats: cycles in which a beat moved.
    under_way: most read bursts that were under way at once.
    """

    def __init__(self, data_bytes: int, burst_beats: int, outstanding: int) -> None:
        self._size, self._beats, self._outstanding = data_bytes, burst_beats, outstanding
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self.read_beats: list[int] = []
        self.write_beats: list[int] = []
        self.under_way = 0
        self._waiting: dict[str, tuple[int, ...]] = {}
        self._open_reads = self._open_writes = 0
        self._to_write: deque[int] = deque()
        self._cycle = 0

    def step(self, ctx: Any, bus: Any) -> None:
        """Look at one cycle, after all of its inputs have been set.

        Raises
        ------
        AssertionError: a breach of the protocol.
        """
        self._cycle += 1
        if hasattr(bus, "arvalid"):
            if self._handshake(ctx, bus, "ar"):
                self.reads.append(self._burst(ctx, bus, "ar"))
                self._open_reads += 1
                self.under_way = max(self.under_way, self._open_reads)
                assert self._open_reads <= self._outstanding, "too many reads under way"
            if ctx.get(bus.rvalid) and ctx.get(bus.rready):
                self.read_beats.append(self._cycle)
                self._open_reads -= ctx.get(bus.rlast)
        if hasattr(bus, "awvalid"):
            self._write_step(ctx, bus)

    def _write_step(self, ctx: Any, bus: Any) -> None:
        if self._handshake(ctx, bus, "aw"):
            self.writes.append(self._burst(ctx, bus, "aw"))
            self._to_write.append(self.writes[-1][1])
            self._open_writes += 1
            assert self._open_writes <= self._outstanding, "too many writes under way"
        if self._handshake(ctx, bus, "w"):
            self.write_beats.append(self._cycle)
            assert self._to_write, "write data must not come before its address"
            self._to_write[0] -= 1
            assert ctx.get(bus.wlast) == (self._to_write[0] == 0), "WLAST must end the burst"
            if not self._to_write[0]:
                self._to_write.popleft()
        if ctx.get(bus.bvalid) and ctx.get(bus.bready):
            self._open_writes -= 1

    def _handshake(self, ctx: Any, bus: Any, channel: str) -> bool:
        """Whether a channel's payload is taken in this cycle; check that it waits unchanged."""
        payload = tuple(ctx.get(getattr(bus, channel + name)) for name in _CHANNELS[channel])
        valid = bool(ctx.get(getattr(bus, f"{channel}valid")))
        if channel in self._waiting:
            assert valid, f"{channel}valid must stay until {channel}ready"
            assert payload == self._waiting.pop(channel), f"{channel} must not change while waiting"
        ready = bool(ctx.get(getattr(bus, f"{channel}ready")))
        if valid and not ready:
            self._waiting[channel] = payload
        return valid and ready

    def _burst(self, ctx: Any, bus: Any, channel: str) -> tuple[int, int]:
        """Address and beats of the burst on an address channel; check what it asks for."""
        value = {n: ctx.get(getattr(bus, channel + n)) for n in _CHANNELS[channel]}
        address, beats = value["addr"], value["len"] + 1
        last = address + beats * self._size - 1
        assert address % self._size == 0, "addresses must be aligned"
        assert beats <= self._beats, f"a burst must have at most {self._beats} beats, not {beats}"
        assert address // _PAGE == last // _PAGE, "bursts must not cross 4 KiB"
        assert 1 << value["size"] == self._size, "beats must be as wide as the bus"
        assert value["burst"] == 1 and value["id"] == 0, "bursts must count up, with ID 0"
        return address, beats
