"""The burst generator against the definition of runs and bursts."""

import itertools

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.axi import burst_limit
from systolith.hw.bursts import BurstGenerator
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, ExternalSpec

MASK = (1 << 32) - 1


def spec_of(data_bytes: int, beats: int, outstanding: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=32),
        external=ExternalSpec(
            data_bytes=data_bytes, burst_beats=beats, outstanding=outstanding
        ),
    )  # fmt: skip


def draw(rng: np.random.Generator, most: int) -> dict[str, int]:
    fields = {f"count{d}": int(rng.integers(1, 4)) for d in range(3)}
    fields |= {f"e_stride{d}": int(rng.integers(-5000, 5000)) & MASK for d in range(3)}
    fields |= {f"m_stride{d}": int(rng.integers(-99, 99)) & 0xFFFFFF for d in range(3)}
    return fields | {
        "e_base": int(rng.integers(1 << 32)), "m_base": int(rng.integers(1 << 24)),
        "length": int(rng.integers(1, most)),
    }  # fmt: skip


def runs_of(fields: dict[str, int]) -> list[tuple[int, int]]:
    """(external address, place) of every run."""
    result = []
    for index in itertools.product(*(range(fields[f"count{d}"]) for d in range(3))):
        e = fields["e_base"] + sum(i * fields[f"e_stride{d}"] for d, i in enumerate(index))
        m = fields["m_base"] + sum(i * fields[f"m_stride{d}"] for d, i in enumerate(index))
        result.append((e & MASK, m & 0xFFFFFF))
    return result


def bursts_of(spec: AcceleratorSpec, fields: dict[str, int]) -> list[tuple[int, int, int]]:
    """(address, beats less 1, first of its run) of every burst."""
    size, limit, result = spec.external.data_bytes, burst_limit(spec.external), []
    for start, _ in runs_of(fields):
        beats = range(start // size, (start + fields["length"] - 1) // size + 1)
        for window, group in itertools.groupby(beats, lambda beat: beat // limit):
            inside = list(group)
            assert inside[0] // limit == window
            address = inside[0] * size & MASK
            result.append((address, len(inside) - 1, int(inside[0] == beats[0])))
    return result


@pytest.mark.parametrize(
    ("data_bytes", "beats", "outstanding"), [(4, 1, 1), (4, 16, 4), (8, 2, 3), (32, 256, 2)]
)
@pytest.mark.parametrize("ready", [1.0, 0.4])
def test_random_commands(data_bytes: int, beats: int, outstanding: int, ready: float) -> None:
    spec = spec_of(data_bytes, beats, outstanding)
    generator = BurstGenerator(spec)
    rng = np.random.default_rng(data_bytes + beats)

    async def command(ctx: SimulatorContext, fields: dict[str, int]) -> None:
        for name, value in fields.items():
            ctx.set(getattr(generator, name), value)
        ctx.set(generator.load, 1)
        await ctx.tick()
        ctx.set(generator.load, 0)
        bursts, runs, taken, held = [], [], [], 0
        for cycle in itertools.count():
            assert cycle < 5000
            # As the bus does it: only so many bursts of which data is to come.
            take = rng.random() < ready and held < outstanding
            ctx.set(generator.b_ready, take)
            pop = bool(ctx.get(generator.run_valid)) and (ready == 1 or rng.random() < 0.5)
            ctx.set(generator.run_pop, pop)
            held -= pop
            if pop:
                runs.append((ctx.get(generator.run_place), ctx.get(generator.run_start)))
                last = ctx.get(generator.run_last)
                assert last == (len(runs) == len(runs_of(fields)))
            if ctx.get(generator.b_valid) and take:
                bursts.append(
                    tuple(ctx.get(s) for s in (generator.b_address, generator.b_len,
                                               generator.b_first))
                )  # fmt: skip
                held += bursts[-1][2]
                taken.append(cycle)
            if ctx.get(generator.done) and len(runs) == len(runs_of(fields)):
                break
            await ctx.tick()
        await ctx.tick()
        ctx.set(generator.run_pop, 0)
        assert bursts == bursts_of(spec, fields)
        starts = (1 << generator.start_bits) - 1
        assert runs == [(place, start & starts) for start, place in runs_of(fields)]
        if ready == 1 and outstanding > 1:  # a burst a cycle, the first at once
            assert taken == list(range(1, len(bursts) + 1))

    async def bench(ctx: SimulatorContext) -> None:
        assert ctx.get(generator.done)
        for most in (2, 9, 40, 40, 3000):
            await command(ctx, draw(rng, most))

    simulate(generator, bench)
