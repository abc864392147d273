"""Bytes into lines: latencies of the datapath in front, writes that wait, short last lines."""

from collections import deque

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.line_writer import LineWriter
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec


class Bench:
    """A writer behind a datapath that cannot stall, and what it wrote."""

    def __init__(self, rows: int, *, seed: int, latency: int, grant: float, pace: float) -> None:
        spec = AcceleratorSpec(array=ArraySpec(rows=rows, columns=4), post=PostSpec(lanes=4))
        self.dut, self.line = LineWriter(spec), spec.line_bytes
        self.rng = np.random.default_rng(seed)
        self.latency, self.grant, self.pace = latency, grant, pace
        self.written: list[tuple[int, list[int]]] = []
        self.cycles = 0

    async def row(self, ctx: SimulatorContext, address: int, codes: list[int]) -> None:
        """Send a row's bytes whenever the writer has room for them, until it says it is done."""
        dut, sent = self.dut, 0
        pipe: deque[int | None] = deque([None] * self.latency)
        ctx.set(dut.address, address)
        ctx.set(dut.length, len(codes))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for self.cycles in range(20_000):
            ctx.set(dut.f_ready, int(self.rng.random() < self.grant))
            wants = sent < len(codes) and self.rng.random() < self.pace
            issue = bool(ctx.get(dut.ready)) and wants
            ctx.set(dut.issue, int(issue))
            pipe.append(codes[sent] if issue else None)
            sent += issue
            arrived = pipe.popleft()
            ctx.set(dut.i_valid, int(arrived is not None))
            ctx.set(dut.i, arrived or 0)
            done = ctx.get(dut.done)
            self._write(ctx)
            await ctx.tick()
            if done:
                ctx.set(dut.issue, 0)
                ctx.set(dut.i_valid, 0)
                return
        raise AssertionError("the row is never done")

    def _write(self, ctx: SimulatorContext) -> None:
        dut = self.dut
        if ctx.get(dut.f_valid) and ctx.get(dut.f_ready):
            count = ctx.get(dut.f_count)
            data = ctx.get(dut.f_data).to_bytes(self.line, "little")
            self.written.append((ctx.get(dut.f_address), list(data[:count])))


@pytest.mark.parametrize("rows", [1, 5, 16])
@pytest.mark.parametrize("latency", [1, 2, 9, 25])
@pytest.mark.parametrize(("grant", "pace"), [(1, 1), (0.2, 1), (1, 0.3), (0.5, 0.6)])
def test_rows(rows: int, latency: int, grant: float, pace: float) -> None:
    bench = Bench(rows, seed=rows, latency=latency, grant=grant, pace=pace)
    line = bench.line

    async def run(ctx: SimulatorContext) -> None:
        for length in (1, line - 1, line, line + 1, 4 * line, 2 * line + 3, 2):
            address = int(bench.rng.integers(0, 1000))
            codes = bench.rng.integers(0, 256, length).tolist()
            bench.written.clear()
            await bench.row(ctx, address, codes)
            pieces = [(address + k, codes[k : k + line]) for k in range(0, length, line)]
            assert bench.written == pieces

    simulate(bench.dut, run)


@pytest.mark.parametrize("latency", [3, 12])
def test_a_byte_a_cycle(latency: int) -> None:
    """Lines of 16 bytes hide latencies up to a line."""
    bench = Bench(16, seed=0, latency=latency, grant=1, pace=1)

    async def run(ctx: SimulatorContext) -> None:
        await bench.row(ctx, 0, [7] * 160)
        assert bench.cycles <= 160 + latency + 3

    simulate(bench.dut, run)
