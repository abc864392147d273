"""Loop nests against nested Python loops."""

import itertools

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.loops import LoopNest
from systolith.sim.pysim import simulate


def expected(counts: list[int], bases: list[int], strides: list[list[int]], bits: int) -> list:
    """Addresses, first and last flags of every step."""
    steps = []
    for index in itertools.product(*(range(n) for n in counts)):
        addresses = [
            (base + sum(i * s for i, s in zip(index, stream, strict=True))) % (1 << bits)
            for base, stream in zip(bases, strides, strict=True)
        ]
        first = [i == 0 for i in index]
        last = [i == n - 1 for i, n in zip(index, counts, strict=True)]
        steps.append((addresses, first, last))
    return steps


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("streams", [0, 1, 3])
def test_nests(depth: int, streams: int) -> None:
    """Random nests one after the other, steps with pauses; counts of 1 and negative strides."""
    rng = np.random.default_rng(100 * depth + streams)
    bits = 11
    nest = LoopNest(depth, streams, address_bits=bits, count_bits=5)

    async def run(ctx: SimulatorContext) -> None:
        counts = [int(rng.choice([1, 1, 2, 3])) for _ in range(depth)]
        bases = rng.integers(0, 1 << bits, streams).tolist()
        strides = rng.integers(-3000, 3000, (streams, depth)).tolist()
        for d, count in enumerate(counts):
            ctx.set(getattr(nest, f"count{d}"), count)
        for s in range(streams):
            ctx.set(getattr(nest, f"base{s}"), bases[s])
            for d in range(depth):
                ctx.set(getattr(nest, f"stride{s}_{d}"), strides[s][d])
        ctx.set(nest.load, 1)
        ctx.set(nest.step, int(rng.integers(2)))  # ignored
        await ctx.tick()
        ctx.set(nest.load, 0)
        steps = expected(counts, bases, strides, bits)
        for k, (addresses, first, last) in enumerate(steps):
            ctx.set(nest.step, 0)
            if rng.integers(4) == 0:
                await ctx.tick().repeat(2)
            assert [ctx.get(getattr(nest, f"address{s}")) for s in range(streams)] == addresses
            assert [ctx.get(getattr(nest, f"first{d}")) for d in range(depth)] == first
            assert [ctx.get(getattr(nest, f"last{d}")) for d in range(depth)] == last
            assert ctx.get(nest.done) == (k == len(steps) - 1)
            ctx.set(nest.step, 1)
            await ctx.tick()

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(8):
            await run(ctx)

    simulate(nest, bench)


def test_largest_count_and_strides() -> None:
    nest = LoopNest(2, 1, address_bits=24, count_bits=16)

    async def bench(ctx: SimulatorContext) -> None:
        for name, value in (
            ("count0", 65535), ("count1", 1), ("base0", 5), ("stride0_0", -(1 << 23)), ("load", 1),
        ):  # fmt: skip
            ctx.set(getattr(nest, name), value)
        await ctx.tick()
        ctx.set(nest.load, 0)
        ctx.set(nest.step, 1)
        await ctx.tick()
        assert ctx.get(nest.address0) == 5 + (1 << 23)
        await ctx.tick().repeat(3)
        assert not ctx.get(nest.done)

    simulate(nest, bench)


@pytest.mark.parametrize("cuttable", [1, 2, 3])
def test_cut_ends_the_inner_loops(cuttable: int) -> None:
    """Cuts at random steps: the next step is the next one of the outer loops, and all restarts."""
    rng = np.random.default_rng(cuttable)
    counts, base, strides = [2, 3, 3, 4], 17, [100, -30, 9, 2]
    nest = LoopNest(4, 1, address_bits=12, cuttable=cuttable)
    inner = int(np.prod(counts[4 - cuttable :]))
    steps = expected(counts, [base], [strides], 12)

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(nest.base0, base)
        for d, (count, stride) in enumerate(zip(counts, strides, strict=True)):
            ctx.set(getattr(nest, f"count{d}"), count)
            ctx.set(getattr(nest, f"stride0_{d}"), stride)
        ctx.set(nest.load, 1)
        await ctx.tick()
        ctx.set(nest.load, 0)
        ctx.set(nest.step, 1)
        for start in range(0, len(steps), inner):
            end = int(rng.integers(inner))
            for k in range(end + 1):
                ctx.set(nest.cut, k == end)
                assert ctx.get(nest.address0) == steps[start + k][0][0]
                assert [ctx.get(getattr(nest, f"first{d}")) for d in range(4)] == steps[start + k][
                    1
                ]
                assert ctx.get(nest.done) == (start + inner == len(steps) and k == end)
                await ctx.tick()

    simulate(nest, bench)
