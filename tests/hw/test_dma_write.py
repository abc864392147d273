"""The write master with a memory at its bus: data, speed, errors, and runs that are stopped."""

from collections.abc import Callable

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.dma_write import WriteMaster
from systolith.sim.axi_monitor import AxiMonitor
from systolith.sim.external import AxiMemory, MemoryTiming
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import ExternalSpec

SIZE = 4096
Burst = tuple[int, list[tuple[int, int]]]


class Bench:
    """A master, a memory, bursts to write, and what the memory must hold then."""

    def __init__(self, external: ExternalSpec, timing: MemoryTiming, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.external, self.master = external, WriteMaster(external)
        self.bytes = self.rng.integers(0, 256, SIZE).astype(np.uint8)
        self.memory = AxiMemory(self.bytes, external.data_bytes, timing)
        self.monitor = AxiMonitor(external.data_bytes, external.burst_beats, external.outstanding)
        self.valid = 1.0
        self.cycle = 0

    def draw(self, count: int, beats: int | None = None) -> list[Burst]:
        """Bursts, as addresses and lists of (data, strobe)."""
        size, most = self.external.data_bytes, self.external.burst_beats
        result: list[Burst] = []
        for _ in range(count):
            n = beats or int(self.rng.integers(1, most + 1))
            window = int(self.rng.integers(SIZE // (size * most))) * most
            beat = window + int(self.rng.integers(most - n + 1))
            data = [int.from_bytes(self.rng.bytes(size), "little") for _ in range(n)]
            strobes = [int(self.rng.integers(1 << size)) for _ in range(n)]
            result.append((beat * size, list(zip(data, strobes, strict=True))))
        return result

    def apply(self, image: np.ndarray, bursts: list[Burst]) -> np.ndarray:
        """The memory after some bursts."""
        image, size = image.copy(), self.external.data_bytes
        for address, beats in bursts:
            for k, (data, strobe) in enumerate(beats):
                for i in range(size):
                    if strobe >> i & 1:
                        image[address + k * size + i] = data >> 8 * i & 255
        return image

    async def write(
        self, ctx: SimulatorContext, bursts: list[Burst], until: Callable[[], bool]
    ) -> None:
        """Offer bursts, and beats as fast as they are taken, until a condition holds."""
        m = self.master
        ctx.set(m.base, self.memory.timing.base)
        beats = [beat for _, part in bursts for beat in part]
        offered = False
        for _ in range(20_000):
            ctx.set(m.b_valid, bool(bursts))
            if bursts:
                ctx.set(m.b_address, bursts[0][0])
                ctx.set(m.b_len, len(bursts[0][1]) - 1)
            offered = bool(beats) and (offered or self.rng.random() < self.valid)
            ctx.set(m.i_valid, offered)
            if beats:
                ctx.set(m.i_data, beats[0][0])
                ctx.set(m.i_strobe, beats[0][1])
            self.memory.step(ctx, m.bus)
            self.monitor.step(ctx, m.bus)
            if offered and ctx.get(m.i_ready):
                beats, offered = beats[1:], False
            taken = bool(bursts) and ctx.get(m.b_ready)
            self.cycle += 1
            await ctx.tick()
            bursts = bursts[taken:]
            if not bursts and not beats and until():
                return
            if self.cycle_limit is not None and self.cycle == self.cycle_limit:
                return
        raise AssertionError("writes must end")

    cycle_limit: int | None = None


@pytest.mark.parametrize("data_bytes", [4, 8, 16, 32])
@pytest.mark.parametrize(("beats", "outstanding"), [(1, 1), (1, 4), (4, 2), (16, 4)])
@pytest.mark.parametrize("stalls", [None, 3])
def test_random_bursts(data_bytes: int, beats: int, outstanding: int, stalls: int | None) -> None:
    external = ExternalSpec(data_bytes=data_bytes, burst_beats=beats, outstanding=outstanding)
    timing = MemoryTiming(latency=5, stalls=stalls, base=0x4000_0000)
    bench = Bench(external, timing, beats)
    bench.valid = 1.0 if stalls is None else 0.6
    bursts = bench.draw(30)
    want = bench.apply(bench.bytes, bursts)

    async def run(ctx: SimulatorContext) -> None:
        await bench.write(ctx, bursts, lambda: bool(ctx.get(bench.master.idle)))
        assert not ctx.get(bench.master.failed)

    simulate(bench.master, run)
    np.testing.assert_array_equal(bench.bytes, want)
    assert bench.monitor.writes == [(a + timing.base, len(b)) for a, b in bursts]


@pytest.mark.parametrize(("beats", "outstanding", "latency"), [(16, 4, 40), (1, 16, 10)])
def test_a_beat_a_cycle(beats: int, outstanding: int, latency: int) -> None:
    external = ExternalSpec(data_bytes=4, burst_beats=beats, outstanding=outstanding)
    bench = Bench(external, MemoryTiming(latency=latency))
    bursts = bench.draw(20, beats)

    async def run(ctx: SimulatorContext) -> None:
        await bench.write(ctx, bursts, lambda: bool(ctx.get(bench.master.idle)))

    simulate(bench.master, run)
    moved = bench.monitor.write_beats
    assert moved[-1] - moved[0] == 20 * beats - 1


def test_errors() -> None:
    """A failed burst is reported until `stop`; then writes work again."""
    external = ExternalSpec(data_bytes=4, burst_beats=4, outstanding=3)
    bench = Bench(external, MemoryTiming(latency=6, error_address=2050))
    good = [burst for burst in bench.draw(30) if not 2000 < burst[0] < 2100]
    bad = [(2048, [(1, 15)] * 4), *good]

    async def run(ctx: SimulatorContext) -> None:
        m = bench.master
        bench.cycle_limit = 80
        await bench.write(ctx, bad, lambda: False)
        assert ctx.get(m.failed) and ctx.get(m.idle)
        assert len(bench.monitor.writes) <= 4
        bench.cycle_limit = 81
        ctx.set(m.stop, 1)
        await bench.write(ctx, [], lambda: False)
        ctx.set(m.stop, 0)
        assert not ctx.get(m.failed)
        bench.cycle_limit = None
        want = bench.apply(bench.bytes, good)
        await bench.write(ctx, good, lambda: bool(ctx.get(m.idle)))
        np.testing.assert_array_equal(bench.bytes, want)

    simulate(bench.master, run)


@pytest.mark.parametrize("stalls", [None, 7])
@pytest.mark.parametrize("cycles", [1, 3, 8, 20])
def test_stops(cycles: int, stalls: int | None) -> None:
    """Stopped for one cycle at any time: bursts under way end and write nothing more."""
    external = ExternalSpec(data_bytes=8, burst_beats=4, outstanding=4)
    bench = Bench(external, MemoryTiming(latency=9, stalls=stalls))

    async def run(ctx: SimulatorContext) -> None:
        m = bench.master
        for _ in range(5):
            bench.cycle_limit = bench.cycle + cycles
            await bench.write(ctx, bench.draw(50), lambda: False)
            ctx.set(m.stop, 1)
            bench.cycle_limit = bench.cycle + 1
            await bench.write(ctx, [], lambda: False)
            image = bench.bytes.copy()
            ctx.set(m.stop, 0)
            bench.cycle_limit = None
            await bench.write(ctx, [], lambda: bool(ctx.get(m.idle)))
            # A beat that was offered on the bus when it stopped may still be taken.
            assert (bench.bytes != image).sum() <= external.data_bytes
            bursts = bench.draw(10)
            want = bench.apply(bench.bytes, bursts)
            await bench.write(ctx, bursts, lambda: bool(ctx.get(m.idle)))
            np.testing.assert_array_equal(bench.bytes, want)

    simulate(bench.master, run)
