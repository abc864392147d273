"""The weight-stationary array whose elements choose their activation, against numpy."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray

from systolith.hw.array import WeightStationaryArray, high_sum_bits, sum_bits
from systolith.sim.pysim import simulate
from systolith.spec.precision import MultiplierForm, Precision

W8A8, W4A8, W4A4 = Precision
SEED = 13
Ints = NDArray[np.int64]


class Kind(Enum):
    """What a tile holds."""

    DENSE = "bytes, a row's own activation"
    SPARSE = "bytes with places"
    NIBBLES = "two nibbles an element"


@dataclass
class Stream:
    """Tiles, and `span` vectors for each.

    Parameters
    ----------
    kinds: of tiles.
    w: operands of weights [tiles, rows, columns, 2]: a byte's and 0, or two nibbles'.
    places: [tiles, rows, columns].
    x: operands of activations [vectors, pairs, 4, 2]; of dense vectors those of a pair's places 0
        and 1 count.
    precisions, lane: of vectors.
    d: operands of depthwise streams [cycles, lines, columns].
    """

    kinds: list[Kind]
    w: Ints
    places: Ints
    x: Ints
    precisions: list[Precision]
    lane: list[bool]
    d: Ints
    span: int


def rails(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> Ints:
    """Operands from low to high, the ends often."""
    values = rng.integers(low, high, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.3, rng.choice([low, high, 0, -1], shape), values)


def draw(array: WeightStationaryArray, tiles: int, extra: int) -> Stream:
    """As many tiles of every kind that the array knows, in any order."""
    rows, columns, lines = array.rows, array.columns, max(array.lines, 1)
    rng = np.random.default_rng([SEED, rows, columns])
    kinds = [k for k in Kind if k is not Kind.NIBBLES or array.modes]
    chosen = [kinds[int(i) % len(kinds)] for i in rng.permutation(tiles)]
    span = rows + extra
    w = np.zeros((tiles, rows, columns, 2), np.int64)
    places = np.broadcast_to((np.arange(rows) & 1)[:, None], (tiles, rows, columns)).copy()
    vectors = tiles * span
    x = np.zeros((vectors, rows // 2, 4, 2), np.int64)
    precisions, lane = [], []
    for k, kind in enumerate(chosen):
        if kind is Kind.NIBBLES:
            w[k] = rails(rng, -15, 15, (rows, columns, 2))
        else:
            w[k, ..., 0] = rails(rng, -256, 255, (rows, columns))
        if kind is Kind.SPARSE:
            places[k] = rng.integers(0, 4, (rows, columns))
        if array.lines and kind is Kind.DENSE:
            w[k, rows // lines * lines :] = 0  # rows that no line reaches
        for t in range(k * span, (k + 1) * span):
            precisions.append(
                array.modes[int(rng.integers(len(array.modes)))] if kind is Kind.NIBBLES else W8A8
            )
            if precisions[-1] is W4A4:
                x[t] = rails(rng, -8, 15, x[t].shape)
            else:
                x[t, ..., 0] = rails(rng, -128, 255, x[t].shape[:-1])
            lane.append(bool(array.lines) and kind is Kind.DENSE and bool(rng.integers(2)))
    d = rails(rng, -128, 255, (vectors + rows, lines, columns))
    return Stream(chosen, w, places, x, precisions, lane, d, span)


def packed(values: Ints, bits: int) -> int:
    return sum((int(v) & (1 << bits) - 1) << bits * i for i, v in enumerate(values.reshape(-1)))


def pair_codes(pairs: Ints, nibbles: bool) -> Ints:
    """Operands [..., 2] in 10 bits: a byte's 9, or two nibbles' 5."""
    return pairs[..., 0] & 31 | (pairs[..., 1] & 31) << 5 if nibbles else pairs[..., 0] & 511


def run(array: WeightStationaryArray, s: Stream) -> list[tuple[int, int]]:
    """Both outputs in every cycle, the first is that of the first tile's first word."""
    rows, columns, span = array.rows, array.columns, s.span
    bits, outputs = array.w_bits - 2, []

    async def bench(ctx: SimulatorContext) -> None:
        for t in range(-rows - 1, len(s.x) + array.latency + columns):
            tile, k = divmod(t + rows + 1, span)
            loads = tile < len(s.w) and k < rows
            if loads:
                nibbles = s.kinds[tile] is Kind.NIBBLES
                codes = pair_codes(s.w[tile, rows - 1 - k], nibbles)
                places = s.places[tile, rows - 1 - k]
                ctx.set(array.i_w, packed(codes | places << bits, bits + 2))
                if array.modes:
                    ctx.set(array.i_nibbles, nibbles)
            ctx.set(array.i_shift, (1 << k + 1) - 1 if loads else 0)
            ctx.set(array.i_switch, t % span == span - 1)
            if 0 <= t < len(s.x):
                codes = pair_codes(s.x[t], s.precisions[t] is W4A4)
                ctx.set(array.i_x, packed(codes, array.x_bits))
                if array.modes:
                    ctx.set(array.i_precision, s.precisions[t])
                if array.lines:
                    ctx.set(array.i_lane, s.lane[t])
            if array.lines and 0 <= t < len(s.d):
                ctx.set(array.i_d, packed(s.d[t], 9))
            high = ctx.get(array.o_high) if W4A8 in array.modes else 0
            outputs.append((ctx.get(array.o), high))
            await ctx.tick()

    simulate(array, bench)
    return outputs


def expected(array: WeightStationaryArray, s: Stream, t: int) -> tuple[Ints, Ints]:
    """Low and high sums of a vector."""
    tile = t // s.span
    w, none = s.w[tile], np.zeros(array.columns, np.int64)
    if s.lane[t]:
        taps = array.rows // array.lines
        window = s.d[t : t + taps].transpose(1, 0, 2).reshape(-1, array.columns)
        return (window * w[: len(window), :, 0]).sum(0), none
    pair = np.arange(array.rows)[:, None] // 2
    x = s.x[t][pair, s.places[tile]]  # [rows, columns, 2]
    if s.precisions[t] is W4A4:
        return (x * w).sum((0, 2)), none
    sums = (x[..., :1] * w).sum(0)
    return sums[:, 0], sums[:, 1]


def check(array: WeightStationaryArray, tiles: int, extra: int) -> dict[Kind, int]:
    """Compare every sum of every vector; return values compared by the kind of tile."""
    s = draw(array, tiles, extra)
    outputs = run(array, s)
    met = dict.fromkeys(Kind, 0)
    for t in range(len(s.x)):
        want, want_high = expected(array, s, t)
        for c in range(array.columns):
            low, high = outputs[array.rows + 1 + t + array.latency + array.column_delay(c)]
            sums = [(low, sum_bits(array.rows), want[c])]
            if W4A8 in array.modes:
                sums.append((high, high_sum_bits(array.rows), want_high[c]))
            for value, bits, right in sums:
                field = value >> bits * c & (1 << bits) - 1
                assert field - (field >> bits - 1 << bits) == right, (t, c, s.kinds[t // s.span])
                met[s.kinds[t // s.span]] += 1
    return met


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (2, 3), (4, 4), (6, 5)])
def test_tiles_back_to_back(rows: int, columns: int, pipelined: bool) -> None:
    """Dense tiles and tiles with places, a new one every `rows` cycles."""
    array = WeightStationaryArray(rows, columns, pipelined=pipelined, sparse=True)
    met = check(array, tiles=16, extra=0)
    assert met[Kind.DENSE] + met[Kind.SPARSE] == 16 * rows * columns
    assert met[Kind.DENSE] == met[Kind.SPARSE]


SETS = [{W8A8, W4A8}, {W8A8, W4A4}, {W8A8, W4A8, W4A4}]


@pytest.mark.parametrize("form", MultiplierForm)
@pytest.mark.parametrize(("pipelined", "stages"), [(False, 0), (True, 0), (True, 1), (True, 2)])
@pytest.mark.parametrize("precisions", [{W8A8}, *SETS])
def test_all_precisions(
    precisions: set[Precision], pipelined: bool, stages: int, form: MultiplierForm
) -> None:
    """Any kind of tile behind any other, in every form of the multiplier."""
    array = WeightStationaryArray(
        4, 3, pipelined=pipelined, stages=stages, precisions=precisions, form=form, sparse=True
    )
    assert array.columns_together == 1
    met = check(array, tiles=18, extra=1)
    assert sum(met.values()) == 18 * 5 * 3 * (2 if W4A8 in precisions else 1)
    assert all(met[k] for k in Kind if k is not Kind.NIBBLES or len(precisions) > 1)


@pytest.mark.parametrize("precisions", [{W8A8}, SETS[2]])
@pytest.mark.parametrize(("lines", "stages"), [(1, 0), (2, 0), (3, 0), (2, 1), (3, 2)])
def test_depthwise_among_them(lines: int, stages: int, precisions: set[Precision]) -> None:
    """A depthwise vector takes its column's operand, whatever the place."""
    options = {"pipelined": stages > 0, "stages": stages, "precisions": precisions}
    array = WeightStationaryArray(6, 3, lines=lines, sparse=True, **options)
    met = check(array, tiles=16, extra=7)
    assert all(met[k] for k in Kind if k is not Kind.NIBBLES or len(precisions) > 1)


def test_rows_are_even() -> None:
    with pytest.raises(ValueError, match=r"^rows must be even if sparse, not 5$"):
        WeightStationaryArray(5, 4, sparse=True)
