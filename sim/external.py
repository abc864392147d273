"""External memory for simulations: its timing, and the model for Amaranth's simulator.

Verilator has the same model in C++ (`axi_memory.h`), in its loop over cycles.
"""

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_TIMING", "OKAY", "AxiMemory", "MemoryTiming"]

OKAY, _SLVERR, _DECERR = 0, 2, 3
ONE_BEAT = 65536
_BURSTS = 64
"""Bursts that a memory takes of each kind before it makes the master wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryTiming:
    """When external memory answers, and where it fails.

    Parameters
    ----------
    latency: cycles from an address to its first beat, and from a last beat to its answer; at
        least 1.
    bandwidth: most beats a cycle, of reads and of writes each, on average: above 0, at most 1.
    stalls: None: no stalls; else a seed: each of the five channels stands still at random, one
        cycle in four.
    error_address: byte whose accesses fail, from byte 0; None: none.
    base: bus address of byte 0, a multiple of 4096; accesses outside of the memory fail.
    """

    latency: int = 16
    bandwidth: float = 1.0
    stalls: int | None = None
    error_address: int | None = None
    base: int = 0

    @property
    def rate(self) -> int:
        """The bandwidth as `ONE_BEAT` parts of a beat a cycle: whole, so that nothing drifts."""
        return max(1, round(self.bandwidth * ONE_BEAT))

    def __post_init__(self) -> None:
        if self.latency < 1:
            raise ValueError(f"latency must be at least 1, not {self.latency!r}")
        if not 0 < self.bandwidth <= 1:
            raise ValueError(f"bandwidth must be above 0 and at most 1, not {self.bandwidth!r}")
        if self.base % 4096 or not 0 <= self.base < 1 << 64:
            raise ValueError(f"base must be a multiple of 4096, not {self.base!r}")


DEFAULT_TIMING = MemoryTiming()


@dataclass
class _Burst:
    """The rest of a burst: offset of its next beat, beats left, first cycle of its data."""

    address: int
    left: int
    due: int


class AxiMemory:
    """The slave at an AXI4 master of a component in Amaranth's simulator.

    Parameters
    ----------
    bytes: the memory, uint8; changed in place.
    data_bytes: bytes of a beat.
    timing: when it answers.

    Attributes
    ----------
    silent: it takes and gives nothing any more, as a bus that hangs.
    """

    def __init__(
        self, bytes: NDArray[np.uint8], data_bytes: int, timing: MemoryTiming = DEFAULT_TIMING
    ) -> None:
        self.bytes, self.timing = bytes, timing
        self.silent = False
        self._size = data_bytes
        self._random = random.Random(timing.stalls)
        self._now = 0
        self._credits = {"r": 0, "w": 0}
        self._reads: deque[_Burst] = deque()
        self._writes: deque[_Burst] = deque()
        self._answers: deque[tuple[int, int]] = deque()
        self._failed = OKAY
        self._held = {"r": False, "b": False}

    def step(self, ctx: Any, bus: Any) -> None:
        """Choose the bus's inputs of this cycle, and do what its clock edge will do."""
        self._now += 1
        for name, credit in self._credits.items():
            self._credits[name] = credit if credit >= ONE_BEAT else credit + self.timing.rate
        if self.silent:
            for name in ("arready", "awready", "wready"):
                ctx.set(getattr(bus, name), 0)
            return
        if hasattr(bus, "arvalid"):
            self._read(ctx, bus)
        if hasattr(bus, "awvalid"):
            self._write(ctx, bus)

    def _stalled(self) -> bool:
        return self.timing.stalls is not None and self._random.random() < 0.25

    def _response(self, address: int) -> int:
        first = address // self._size * self._size
        faulty = self.timing.error_address
        if faulty is not None and first <= faulty < first + self._size:
            return _SLVERR
        return OKAY if 0 <= first < len(self.bytes) else _DECERR

    def _read(self, ctx: Any, bus: Any) -> None:
        """The channels R and AR."""
        if not self._held["r"]:
            ready = (
                self._reads and self._reads[0].due <= self._now and self._credits["r"] >= ONE_BEAT
            )
            valid = bool(ready) and not self._stalled()
            ctx.set(bus.rvalid, valid)
            if valid:
                self._read_beat(ctx, bus)
        self._held["r"] = bool(ctx.get(bus.rvalid)) and not ctx.get(bus.rready)
        ready = len(self._reads) < _BURSTS and not self._stalled()
        ctx.set(bus.arready, ready)
        if ready and ctx.get(bus.arvalid):
            address = ctx.get(bus.araddr) - self.timing.base
            due = self._now + self.timing.latency
            self._reads.append(_Burst(address, ctx.get(bus.arlen) + 1, due))

    def _read_beat(self, ctx: Any, bus: Any) -> None:
        self._credits["r"] -= ONE_BEAT
        burst = self._reads[0]
        burst.left -= 1
        first = max(burst.address, 0)
        ctx.set(
            bus.rdata, int.from_bytes(self.bytes[first : first + self._size].tobytes(), "little")
        )
        ctx.set(bus.rresp, self._response(burst.address))
        ctx.set(bus.rlast, not burst.left)
        burst.address += self._size
        if not burst.left:
            self._reads.popleft()

    def _write(self, ctx: Any, bus: Any) -> None:
        """The channels B, AW and W."""
        if not self._held["b"]:
            ready = self._answers and self._answers[0][0] <= self._now
            valid = bool(ready) and not self._stalled()
            ctx.set(bus.bvalid, valid)
            if valid:
                ctx.set(bus.bresp, self._answers.popleft()[1])
        self._held["b"] = bool(ctx.get(bus.bvalid)) and not ctx.get(bus.bready)
        ready = len(self._writes) < _BURSTS and not self._stalled()
        ctx.set(bus.awready, ready)
        if ready and ctx.get(bus.awvalid):
            address = ctx.get(bus.awaddr) - self.timing.base
            self._writes.append(_Burst(address, ctx.get(bus.awlen) + 1, 0))
        ready = bool(self._writes) and self._credits["w"] >= ONE_BEAT and not self._stalled()
        ctx.set(bus.wready, ready)
        if ready and ctx.get(bus.wvalid):
            self._write_beat(ctx.get(bus.wdata), ctx.get(bus.wstrb))

    def _write_beat(self, data: int, strobe: int) -> None:
        self._credits["w"] -= ONE_BEAT
        burst = self._writes[0]
        for i in range(self._size):
            if strobe >> i & 1 and 0 <= burst.address + i < len(self.bytes):
                self.bytes[burst.address + i] = data >> 8 * i & 255
        self._failed = self._failed or self._response(burst.address)
        burst.address += self._size
        burst.left -= 1
        if not burst.left:
            self._answers.append((self._now + self.timing.latency, self._failed))
            self._failed = OKAY
            self._writes.popleft()
