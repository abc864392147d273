"""The weight-stationary array with precisions of nibbles, against numpy."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray

from systolith.hw.array import WeightStationaryArray, high_sum_bits, sum_bits
from systolith.sim.pysim import simulate
from systolith.spec.precision import MultiplierForm, Precision

W8A8, W4A8, W4A4 = Precision
SETS = [{W8A8, W4A8}, {W8A8, W4A4}, {W8A8, W4A8, W4A4}]
SEED = 11
Ints = NDArray[np.int64]


def pick(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> Ints:
    """Operands from low to high, rails often."""
    values = rng.integers(low, high, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.3, rng.choice([low, high, 0, -1], shape), values)


def operands(
    rng: np.random.Generator, kind: bool, shape: tuple[int, int], limits: tuple[int, ...]
) -> Ints:
    """Pairs of operands, [..., 2]: a byte's and 0, or two nibbles'."""
    low8, high8, low4, high4 = limits
    if kind:
        return pick(rng, low4, high4, (*shape, 2))
    return np.stack([pick(rng, low8, high8, shape), np.zeros(shape, np.int64)], -1)


def word(pairs: Ints, bits: int, nibbles: bool) -> int:
    """Operands [n, 2] as the array's port takes them."""
    codes = pairs[:, 0] & 31 | (pairs[:, 1] & 31) << 5 if nibbles else pairs[:, 0] & 511
    return sum(int(v) << bits * i for i, v in enumerate(codes))


def expected(x: Ints, w: Ints, precision: Precision) -> tuple[Ints, Ints]:
    """Low and high sums of a vector [rows, 2] and weights [rows, columns, 2]."""
    if precision is W4A4:
        return np.einsum("rk,rck->c", x, w), np.zeros(w.shape[1], np.int64)
    sums = np.einsum("r,rck->ck", x[:, 0], w)
    return sums[:, 0], sums[:, 1]


def check(
    array: WeightStationaryArray, precisions: set[Precision], tiles: int, extra: int, lines: int = 0
) -> int:
    """Tiles of random kinds, vectors of random precisions of the kind; return values compared."""
    rng = np.random.default_rng([SEED, array.rows, array.columns])
    rows, columns = array.rows, array.columns
    span = rows + extra
    kinds = [bool(rng.integers(2)) for _ in range(tiles)]
    kinds[:2] = [False, True]
    ws = [operands(rng, k, (rows, columns), (-256, 255, -15, 15)) for k in kinds]
    for w in ws if lines else []:
        w[rows // lines * lines :] = 0  # rows that no line reaches
    vectors, precise, lane = [], [], []
    for kind in kinds:
        choices = sorted(precisions - {W8A8}) if kind else [W8A8]
        for _ in range(span):
            precise.append(Precision(int(rng.choice(choices))))
            vectors.append(operands(rng, precise[-1] is W4A4, (rows, 1), (-128, 255, -8, 15))[:, 0])
            lane.append(bool(lines) and not kind and bool(rng.integers(2)))
    streams = pick(rng, -128, 255, (len(vectors) + rows, max(lines, 1), columns))
    outputs: list[tuple[int, int]] = []

    async def bench(ctx: SimulatorContext) -> None:
        for t in range(-rows - 1, len(vectors) + array.latency + columns):
            tile, k = divmod(t + rows + 1, span)
            loads = tile < tiles and k < rows
            if loads:
                ctx.set(array.i_w, word(ws[tile][rows - 1 - k], array.w_bits, kinds[tile]))
                ctx.set(array.i_nibbles, kinds[tile])
            ctx.set(array.i_shift, (1 << k + 1) - 1 if loads else 0)
            ctx.set(array.i_switch, t % span == span - 1)
            if 0 <= t < len(vectors):
                ctx.set(array.i_x, word(vectors[t], array.x_bits, precise[t] is W4A4))
                ctx.set(array.i_precision, precise[t])
                if lines:
                    ctx.set(array.i_lane, lane[t])
            if lines and 0 <= t < len(streams):
                ctx.set(
                    array.i_d, sum((int(v) & 511) << 9 * i for i, v in enumerate(streams[t].flat))
                )
            high = ctx.get(array.o_high) if W4A8 in precisions else 0
            outputs.append((ctx.get(array.o), high))
            await ctx.tick()

    simulate(array, bench)
    compared, taps = 0, rows // lines if lines else 0
    for t, x in enumerate(vectors):
        w = ws[t // span]
        want, want_high = expected(x, w, precise[t])
        if lane[t]:
            window = streams[t : t + taps].transpose(1, 0, 2).reshape(lines * taps, columns)
            want = (window * w[: lines * taps, :, 0]).sum(0)
        for c in range(columns):
            low, high = outputs[rows + 1 + t + array.latency + c]
            for value, bits, right in (
                (low, sum_bits(rows), want[c]),
                (high, high_sum_bits(rows), want_high[c] if W4A8 in precisions else 0),
            ):
                field = value >> bits * c & (1 << bits) - 1
                assert field - (field >> bits - 1 << bits) == right, (t, c, precise[t])
                compared += 1
    return compared


@pytest.mark.parametrize("form", MultiplierForm)
@pytest.mark.parametrize(("pipelined", "stages"), [(False, 0), (True, 0), (True, 1), (True, 2)])
@pytest.mark.parametrize("precisions", SETS)
def test_precisions_vector_by_vector(
    precisions: set[Precision], pipelined: bool, stages: int, form: MultiplierForm
) -> None:
    """Any vector has any precision that its weights allow; tiles of both kinds without a bubble."""
    array = WeightStationaryArray(
        3, 4, pipelined=pipelined, stages=stages, precisions=precisions, form=form
    )
    assert check(array, precisions, tiles=30, extra=2) == 30 * 5 * 4 * 2


@pytest.mark.parametrize("form", MultiplierForm)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 2), (2, 5)])
def test_sizes(rows: int, columns: int, form: MultiplierForm) -> None:
    array = WeightStationaryArray(rows, columns, precisions=SETS[2], form=form)
    assert check(array, SETS[2], tiles=12, extra=0) == 12 * rows * columns * 2


@pytest.mark.parametrize("form", MultiplierForm)
@pytest.mark.parametrize(("pipelined", "stages"), [(False, 0), (True, 0), (True, 1), (True, 2)])
def test_depthwise_among_precisions(pipelined: bool, stages: int, form: MultiplierForm) -> None:
    """Depthwise vectors are W8A8, whatever is around them."""
    array = WeightStationaryArray(
        5, 3, pipelined=pipelined, stages=stages, lines=2, precisions=SETS[2], form=form
    )
    assert check(array, SETS[2], tiles=20, extra=9, lines=2) == 20 * 14 * 3 * 2


@pytest.mark.parametrize("rows", range(1, 65))
def test_high_sums_fit(rows: int) -> None:
    assert rows * 255 * 15 < 1 << high_sum_bits(rows) - 1
    assert rows * 255 * -16 >= -(1 << high_sum_bits(rows) - 1)
