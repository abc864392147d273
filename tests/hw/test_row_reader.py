"""Rows as streams of bytes: every length and alignment, grants and takers that wait, speed."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.row_reader import RowReader
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec

LATENCY = ActivationMemory.read_latency


class Bench:
    """A reader, the memory behind it, and the bytes it gave in each row."""

    def __init__(self, rows: int, *, seed: int = 0, grant: float = 1, take: float = 1) -> None:
        spec = AcceleratorSpec(array=ArraySpec(rows=rows, columns=4), post=PostSpec(lanes=4))
        self.dut, self.line = RowReader(spec), spec.line_bytes
        self.rng, self.grant, self.take = np.random.default_rng(seed), grant, take
        self.image = self.rng.integers(0, 256, 4096, np.uint8)
        self._due: list[int | None] = [None] * LATENCY
        self.reads: list[int] = []
        self.times: list[int] = []

    async def row(self, ctx: SimulatorContext, address: int, length: int) -> list[int]:
        """Read a row; `times` are the cycles of its bytes after the start."""
        dut, got = self.dut, []
        self.reads, self.times = [], []
        ctx.set(dut.address, address)
        ctx.set(dut.length, length)
        ctx.set(dut.start, 1)
        for cycle in range(20_000):
            ctx.set(dut.c_ready, int(self.rng.random() < self.grant))
            ctx.set(dut.o_next, int(self.rng.random() < self.take))
            self._memory(ctx)
            if cycle and ctx.get(dut.o_valid) and ctx.get(dut.o_next):
                got.append(ctx.get(dut.o))
                self.times.append(cycle)
                assert ctx.get(dut.o_last) == (len(got) == length)
            await ctx.tick()
            ctx.set(dut.start, 0)
            if len(got) == length:
                return got
        raise AssertionError("the row does not end")

    def _memory(self, ctx: SimulatorContext) -> None:
        """Data comes `read_latency` cycles after the grant, and is gone in the next cycle."""
        dut, arrived = self.dut, self._due.pop(0)
        junk = self.rng.integers(0, 256, self.line, np.uint8)
        data = junk if arrived is None else self.image[arrived : arrived + self.line]
        ctx.set(dut.c_data, int.from_bytes(data.tobytes(), "little"))
        granted = ctx.get(dut.c_valid) and ctx.get(dut.c_ready)
        if granted:
            self.reads.append(ctx.get(dut.c_address))
        self._due.append(ctx.get(dut.c_address) if granted else None)


@pytest.mark.parametrize("rows", [1, 5, 16])
@pytest.mark.parametrize(("grant", "take"), [(1, 1), (0.3, 1), (1, 0.3), (0.5, 0.7)])
def test_rows(rows: int, grant: float, take: float) -> None:
    bench = Bench(rows, seed=rows, grant=grant, take=take)
    line = bench.line
    lengths = [1, line - 1, line, line + 1, 2 * line, 3 * line + 2, 1, *range(2, 12)]

    async def run(ctx: SimulatorContext) -> None:
        for length in lengths:
            address = int(bench.rng.integers(0, 3000))
            got = await bench.row(ctx, address, length)
            assert got == bench.image[address : address + length].tolist()
            # No more lines than the row has, so that nothing is under way at its end.
            assert bench.reads == list(range(address, address + length, line))

    simulate(bench.dut, run)


@pytest.mark.parametrize("rows", [4, 8, 16])
def test_speed(rows: int) -> None:
    bench = Bench(rows)

    async def run(ctx: SimulatorContext) -> None:
        await bench.row(ctx, 100, 10 * bench.line)
        assert bench.times[0] == 6
        step = max(bench.line, 5)
        assert bench.times[:: bench.line] == [6 + step * k for k in range(10)]

    simulate(bench.dut, run)
