"""The bytes of every beat of random runs."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.beats import BeatGenerator
from systolith.sim.pysim import simulate


def beats_of(size: int, place: int, offset: int, length: int) -> list[tuple[int, int, int, int]]:
    """(place, offset, count, first) of every beat of a run."""
    result, done = [], 0
    while done < length:
        count = min(size - offset, length - done)
        result.append((place + done & 0xFFFFFF, offset, count, int(not done)))
        done, offset = done + count, 0
    return result


@pytest.mark.parametrize("size", [4, 8, 16, 32])
@pytest.mark.parametrize("gaps", [False, True])
def test_random_runs(size: int, gaps: bool) -> None:
    """Without gaps on either side, a beat a cycle."""
    beats = BeatGenerator(size)
    rng = np.random.default_rng(size)

    async def bench(ctx: SimulatorContext) -> None:
        for length in (1, 2, size - 1, size, size + 1, 5 * size + 3, 100):
            ctx.set(beats.length, length)
            runs = [(int(rng.integers(1 << 24)), int(rng.integers(size))) for _ in range(9)]
            want = [beat for run in runs for beat in beats_of(size, *run, length)]
            got, cycles = [], 0
            while runs:
                valid, ready = (not gaps or rng.random() < 0.5 for _ in range(2))
                ctx.set(beats.run_valid, valid)
                ctx.set(beats.o_ready, ready)
                ctx.set(beats.run_place, runs[0][0])
                ctx.set(beats.run_offset, runs[0][1])
                ctx.set(beats.run_last, len(runs) == 1)
                if ctx.get(beats.o_valid) and ready:
                    names = ("o_place", "o_offset", "o_count", "o_first")
                    got.append(tuple(ctx.get(getattr(beats, name)) for name in names))
                    assert ctx.get(beats.o_last) == (len(got) == len(want))
                pop = ctx.get(beats.run_pop)
                cycles += 1
                await ctx.tick()
                runs = runs[pop:]
            assert got == want
            assert gaps or cycles == len(want)

    simulate(beats, bench)
