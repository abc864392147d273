"""What the benches of buses share: a count of what was done, pauses, memories that fail, frames."""

import json
import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

from cocotb.triggers import ClockCycles
from cocotbext.axi.address_space import MemoryRegion

from systolith.spec.uart import END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE

EFFORT = int(os.environ.get("SYSTOLITH_BUS_EFFORT", "1"))
"""Factor of the number of random cases."""


class Tally:
    """Counts of a bench, kept in a file that `test_buses` reads."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("cases", "bytes", "stalls", "errors", "resets"), 0)

    def add(self, **counts: int) -> None:
        for name, count in counts.items():
            self.counts[name] += count
        Path(os.environ["SYSTOLITH_BENCH"], "tally.json").write_text(json.dumps(self.counts))


TALLY = Tally()


def pauses(seed: int, often: float) -> Iterator[bool]:
    """A pause generator; every pause is counted."""
    rng = random.Random(seed)
    while True:
        pause = rng.random() < often
        TALLY.counts["stalls"] += pause
        yield pause


def slow(model, often: float, seed: int) -> None:
    """Let a cocotbext model pause on every channel, and be silent."""
    sides = [getattr(model, name) for name in ("write_if", "read_if") if hasattr(model, name)]
    for k, side in enumerate(sides or [model]):
        side.log.setLevel("ERROR")
        channels = [getattr(side, f"{c}_channel", None) for c in ("aw", "w", "b", "ar", "r")]
        for j, channel in enumerate(c for c in (*channels, None if sides else side) if c):
            channel.log.setLevel("ERROR")
            if often:
                channel.set_pause_generator(pauses(100 * seed + 10 * k + j, often))


class Faulty(MemoryRegion):
    """A memory that counts accesses, and fails where `bad` says so."""

    def __init__(self, size: int) -> None:
        super().__init__(size, bytearray(size))
        self.bad: set[int] = set()
        self.writes = self.reads = 0

    def _check(self, address: int, length: int) -> None:
        if self.bad & set(range(address // 4, (address + length + 3) // 4)):
            TALLY.counts["errors"] += 1
            raise ValueError("an address that fails")

    async def _read(self, address: int, length: int, **_) -> bytes:
        self.reads += 1
        self._check(address, length)
        return bytes(self.mem[address : address + length])

    async def _write(self, address: int, data: bytes, **_) -> None:
        self.writes += 1
        self._check(address, len(data))
        self.mem[address : address + len(data)] = data


async def reset(*clocked, cycles: int = 4) -> None:
    """Assert resets, given as (reset, clock), one after the other is released."""
    for line, _ in clocked:
        line.value = 1
    for line, clock in clocked:
        await ClockCycles(clock, cycles)
        line.value = 0
    await ClockCycles(clocked[0][1], 4)


def escaped(body: bytes) -> bytes:
    """A frame's bytes as they are sent, with END at both ends."""
    pairs = {END: (ESCAPE, ESCAPED_END), ESCAPE: (ESCAPE, ESCAPED_ESCAPE)}
    inner = b"".join(bytes(pairs.get(byte, (byte,))) for byte in body)
    return bytes([END]) + inner + bytes([END])


def frame(request: int, sequence: int, address: int, length: int, data: bytes = b"") -> bytes:
    """A request with its CRC, as it is sent."""
    body = bytes([request, sequence, (length - 1) & 255]) + address.to_bytes(4, "little") + data
    return escaped(body + zlib.crc32(body).to_bytes(4, "little"))


def answers(received: bytes) -> list[bytes]:
    """Answers in a string of bytes, without CRC, which must be right."""
    found = []
    for part in received.split(bytes([END])):
        if part:
            body = part.replace(bytes([ESCAPE, ESCAPED_END]), bytes([END]))
            body = body.replace(bytes([ESCAPE, ESCAPED_ESCAPE]), bytes([ESCAPE]))
            assert zlib.crc32(body[:-4]) == int.from_bytes(body[-4:], "little")
            found.append(body[:-4])
    return found
