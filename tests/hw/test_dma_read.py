"""The read master with a memory at its bus: data, speed, errors, and runs that are stopped."""

from collections.abc import Callable

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.dma_read import ReadMaster
from systolith.sim.axi_monitor import AxiMonitor
from systolith.sim.external import AxiMemory, MemoryTiming
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import ExternalSpec

SIZE = 4096


class Bench:
    """A master, a memory of random bytes, bursts to read, and the bytes that came."""

    def __init__(self, external: ExternalSpec, timing: MemoryTiming, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.external, self.master = external, ReadMaster(external)
        self.bytes = self.rng.integers(0, 256, SIZE).astype(np.uint8)
        self.memory = AxiMemory(self.bytes, external.data_bytes, timing)
        self.monitor = AxiMonitor(external.data_bytes, external.burst_beats, external.outstanding)
        self.got: list[int] = []
        self.ready = 1.0
        self.cycle = 0

    def draw(self, count: int, beats: int | None = None) -> list[tuple[int, int]]:
        """Bursts, as addresses and beats."""
        size, most = self.external.data_bytes, self.external.burst_beats
        result = []
        for _ in range(count):
            n = beats or int(self.rng.integers(1, most + 1))
            window = int(self.rng.integers(SIZE // (size * most))) * most
            result.append(((window + int(self.rng.integers(most - n + 1))) * size, n))
        return result

    def want(self, bursts: list[tuple[int, int]]) -> list[int]:
        """The beats of bursts as integers."""
        size = self.external.data_bytes
        rows = [self.bytes[a : a + n * size].reshape(n, size) for a, n in bursts]
        return [int.from_bytes(row.tobytes(), "little") for part in rows for row in part]

    async def read(
        self, ctx: SimulatorContext, bursts: list[tuple[int, int]], until: Callable[[], bool]
    ) -> list[tuple[int, int]]:
        """Run until a condition holds; return the bursts that were not taken."""
        m = self.master
        ctx.set(m.base, self.memory.timing.base)
        for _ in range(20_000):
            ctx.set(m.b_valid, bool(bursts))
            if bursts:
                ctx.set(m.b_address, bursts[0][0])
                ctx.set(m.b_len, bursts[0][1] - 1)
            ctx.set(m.o_ready, self.rng.random() < self.ready)
            self.memory.step(ctx, m.bus)
            self.monitor.step(ctx, m.bus)
            if ctx.get(m.o_valid) and ctx.get(m.o_ready):
                self.got.append(ctx.get(m.o_data))
            taken = bool(bursts) and ctx.get(m.b_ready)
            self.cycle += 1
            await ctx.tick()
            bursts = bursts[taken:]
            if until():
                return bursts
        raise AssertionError("reads must end")


@pytest.mark.parametrize("data_bytes", [4, 8, 16, 32])
@pytest.mark.parametrize(("beats", "outstanding"), [(1, 1), (1, 4), (4, 2), (16, 4)])
@pytest.mark.parametrize("stalls", [None, 3])
def test_random_bursts(data_bytes: int, beats: int, outstanding: int, stalls: int | None) -> None:
    external = ExternalSpec(data_bytes=data_bytes, burst_beats=beats, outstanding=outstanding)
    timing = MemoryTiming(latency=5, stalls=stalls, base=0x8000_0000)
    bench = Bench(external, timing, beats)
    bench.ready = 1.0 if stalls is None else 0.6
    bursts = bench.draw(40)
    want = bench.want(bursts)

    async def run(ctx: SimulatorContext) -> None:
        await bench.read(ctx, bursts, lambda: len(bench.got) == len(want))
        assert ctx.get(bench.master.idle) and not ctx.get(bench.master.failed)

    simulate(bench.master, run)
    assert bench.got == want
    assert bench.monitor.reads == [(a + timing.base, n) for a, n in bursts]
    assert bench.monitor.under_way <= outstanding


@pytest.mark.parametrize(
    ("beats", "outstanding", "latency"), [(16, 4, 47), (4, 4, 11), (1, 16, 14), (16, 1, 1)]
)
def test_a_beat_a_cycle(beats: int, outstanding: int, latency: int) -> None:
    """Bursts under way that cover the latency keep the data channel busy in every cycle."""
    external = ExternalSpec(data_bytes=4, burst_beats=beats, outstanding=outstanding)
    bench = Bench(external, MemoryTiming(latency=latency))
    bursts = bench.draw(20, beats)

    async def run(ctx: SimulatorContext) -> None:
        await bench.read(ctx, bursts, lambda: len(bench.got) == 20 * beats)

    simulate(bench.master, run)
    moved = bench.monitor.read_beats
    if outstanding > 1:
        assert moved[-1] - moved[0] == 20 * beats - 1
    else:
        assert bench.monitor.under_way == 1


@pytest.mark.parametrize("stalls", [None, 5])
def test_errors(stalls: int | None) -> None:
    """After a beat with an error nothing more comes or is asked for, until `stop` and silence."""
    external = ExternalSpec(data_bytes=4, burst_beats=4, outstanding=3)
    bench = Bench(external, MemoryTiming(latency=6, stalls=stalls, error_address=2050))
    good = [(64 * i, 4) for i in range(10)]
    bad = [*good, (2048, 4), *good]

    async def run(ctx: SimulatorContext) -> None:
        m = bench.master
        waited = 0

        def failed() -> bool:
            nonlocal waited
            waited += ctx.get(m.failed)
            return waited == 60

        left = await bench.read(ctx, bad, failed)
        assert bench.got == bench.want(good)
        assert len(left) >= len(good) - 2 and ctx.get(m.idle) and ctx.get(m.failed)
        ctx.set(m.stop, 1)
        await bench.read(ctx, [], lambda: True)
        assert not ctx.get(m.failed)
        ctx.set(m.stop, 0)
        bench.got.clear()
        await bench.read(ctx, good, lambda: len(bench.got) == 40)
        assert bench.got == bench.want(good)

    simulate(bench.master, run)


@pytest.mark.parametrize("stalls", [None, 7])
@pytest.mark.parametrize("cycles", [1, 3, 8, 20])
def test_stops(cycles: int, stalls: int | None) -> None:
    """Stopped for one cycle at any time: old data is lost, new data complete."""
    external = ExternalSpec(data_bytes=8, burst_beats=4, outstanding=4)
    bench = Bench(external, MemoryTiming(latency=9, stalls=stalls))

    async def run(ctx: SimulatorContext) -> None:
        for _ in range(5):
            end = bench.cycle + cycles
            await bench.read(ctx, bench.draw(50), lambda end=end: bench.cycle == end)
            ctx.set(bench.master.stop, 1)
            end = bench.cycle + 1
            await bench.read(ctx, [], lambda end=end: bench.cycle == end)
            ctx.set(bench.master.stop, 0)
            bench.got.clear()
            bursts = bench.draw(10)
            want = bench.want(bursts)
            await bench.read(ctx, bursts, lambda want=want: len(bench.got) == len(want))
            assert bench.got == want

    simulate(bench.master, run)
