"""Accumulators: passes of sum and maximum, the ring of results, the shortest passes."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.accumulators import MINIMUM_PASS, Accumulators
from systolith.hw.technology import Technology
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.precision import Precision

BITS, HIGH_BITS = 24, 19
IDLE = {"i_valid": 0, "i_pass_first": 0, "i_k_first": 0, "i_k_last": 0, "i_maximum": 0}


def spec_of(columns: int, depth: int, *precisions: Precision) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(
            rows=1, columns=columns, precisions=frozenset({Precision.W8A8, *precisions})
        ),
        memory=MemorySpec(
            weight_bytes=16 * columns, accumulator_depth=depth, parameter_channels=4 * columns
        ),
        post=PostSpec(lanes=columns),
    )


def run(
    spec: AcceleratorSpec,
    tiles: list[tuple[np.ndarray, int]],
    pauses: float,
    technology: Technology = Technology.GENERIC,
) -> list:
    """Feed tiles (sums [passes, vectors, channels], maximum); read results as they are credited."""
    columns, depth = spec.array.columns, spec.memory.accumulator_depth
    channels = columns * spec.array.column_sums
    dut = Accumulators(spec, BITS, HIGH_BITS, technology)
    rng = np.random.default_rng(columns * depth)
    feed: list[tuple[dict[str, int], np.ndarray | None]] = []  # per cycle, unless the ring is full
    for values, maximum in tiles:
        begin = {}
        for p, vectors in enumerate(values):
            for i, vector in enumerate(vectors):
                # Spacing of a vector's passes, which the feeder keeps.
                while len(feed) - begin.get(i, -MINIMUM_PASS) < MINIMUM_PASS or (
                    rng.random() < pauses
                ):
                    feed.append((IDLE, None))
                begin[i] = len(feed)
                flags = {
                    "i_valid": 1, "i_pass_first": int(i == 0), "i_k_first": int(p == 0),
                    "i_k_last": int(p == len(values) - 1), "i_maximum": maximum,
                }  # fmt: skip
                feed.append((flags, vector))
    total = sum(values.shape[1] for values, _ in tiles)
    results: list[list[int]] = []

    async def bench(ctx: SimulatorContext) -> None:
        place, asked, waiting, space, cycle = 0, False, 0, depth, 0
        sums: dict[int, np.ndarray] = {}
        while len(results) < total:
            if asked:
                word = ctx.get(dut.r_data)
                results.append([word >> 32 * c & 0xFFFFFFFF for c in range(channels)])
                asked = False
            flags, vector = feed[0] if feed else (IDLE, None)
            if flags["i_k_last"] and not space:
                flags, vector = IDLE, None
            else:
                space -= flags["i_k_last"]
                del feed[:1]
            if vector is not None:
                sums[cycle] = vector
            for name, value in flags.items():
                ctx.set(getattr(dut, name), value)
            # The sums come two cycles later, a column's when it is its turn.
            words = [0, 0]
            for c in range(channels):
                half, column = divmod(c, columns)
                late = spec.array.column_delay(column)
                bits = (BITS, HIGH_BITS)[half]
                value = sums.get(cycle - 2 - late, rng.integers(-(1 << 18), 1 << 18, channels))[c]
                words[half] |= (int(value) & (1 << bits) - 1) << bits * column
            ctx.set(dut.i_sums, words[0])
            if channels > columns:
                ctx.set(dut.i_highs, words[1])
            # A credit of this cycle may be used from the next one on.
            if waiting:
                ctx.set(dut.r_address, place)
                place, asked = (place + 1) % depth, True
                waiting, space = waiting - 1, space + 1
            waiting += ctx.get(dut.o_credit)
            cycle += 1
            assert cycle < 10_000
            await ctx.tick()
        assert waiting == 0

    simulate(dut, bench)
    return results


def expected(tiles: list[tuple[np.ndarray, int]]) -> np.ndarray:
    parts = [values.max(0) if maximum else values.sum(0) for values, maximum in tiles]
    return np.concatenate(parts) & 0xFFFFFFFF


@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("depth", [4, 5, 16])
@pytest.mark.parametrize("pauses", [0.0, 0.3])
def test_tiles(columns: int, depth: int, pauses: float) -> None:
    """Random tiles, the ring wraps many times; a result is read as soon as it is credited."""
    rng = np.random.default_rng(depth)
    tiles = []
    for _ in range(14):
        shape = int(rng.integers(1, 5)), int(rng.integers(1, depth + 1)), columns
        values = rng.integers(-(1 << BITS - 1), 1 << BITS - 1, shape)
        tiles.append((values, int(rng.integers(2))))
    got = run(spec_of(columns, depth), tiles, pauses)
    np.testing.assert_array_equal(got, expected(tiles))


@pytest.mark.parametrize(("columns", "depth"), [(1, 4), (4, 5), (3, 16)])
@pytest.mark.parametrize("pauses", [0.0, 0.3])
def test_two_sums_a_column(columns: int, depth: int, pauses: float) -> None:
    """W4A8: low and high sums, of their own widths, by sum and by maximum."""
    spec = spec_of(columns, depth, Precision.W4A8)
    rng = np.random.default_rng(columns)
    limits = np.repeat([1 << BITS - 1, 1 << HIGH_BITS - 1], columns)
    tiles = []
    for number in range(10):
        shape = int(rng.integers(1, 5)), int(rng.integers(1, depth + 1)), 2 * columns
        tiles.append((rng.integers(-limits, limits, shape), number % 2))
    for technology in (Technology.GENERIC, Technology.ICE40):
        np.testing.assert_array_equal(run(spec, tiles, pauses, technology), expected(tiles))


def test_one_sum_a_column_without_w4a8() -> None:
    """W4A4 makes one sum: there is no port and no memory for another."""
    dut = Accumulators(spec_of(3, 4, Precision.W4A4), BITS, HIGH_BITS)
    assert not hasattr(dut, "i_highs") and len(dut.r_data) == 3 * 32


@pytest.mark.parametrize("technology", [Technology.GENERIC, Technology.ICE40])
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_shortest_passes(vectors: int, technology: Technology) -> None:
    """Passes that follow each other as closely as `MINIMUM_PASS` allows."""
    rng = np.random.default_rng(vectors)
    tiles = [(rng.integers(-1000, 1000, (6, vectors, 3)), m) for m in (0, 1, 0, 1)]
    got = run(spec_of(3, 4), tiles, 0.0, technology)
    np.testing.assert_array_equal(got, expected(tiles))


def test_sums_wrap_at_32_bits() -> None:
    top = (1 << BITS - 1) - 1
    tiles = [(np.full((300, 3, 2), sign), 0) for sign in (top, -top)]
    assert abs(300 * top) > 1 << 31
    np.testing.assert_array_equal(run(spec_of(2, 4), tiles, 0.0), expected(tiles))


def test_space() -> None:
    """Room in the ring: less by what is issued, more by what is taken, both in one cycle too."""
    spec = spec_of(2, 5)
    dut, rng = Accumulators(spec, BITS), np.random.default_rng(4)

    async def bench(ctx: SimulatorContext) -> None:
        space, seen = 5, set()
        for _ in range(200):
            assert ctx.get(dut.o_space) == space
            seen.add(space)
            claim = int(space > 0 and rng.integers(2))
            release = int(space < 5 and rng.integers(2))
            ctx.set(dut.i_claim, claim)
            ctx.set(dut.i_release, release)
            space += release - claim
            await ctx.tick()
        assert seen == set(range(6))

    simulate(dut, bench)
