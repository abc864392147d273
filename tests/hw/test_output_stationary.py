"""The output-stationary array against numpy's matrix product."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.output_stationary import OutputStationaryArray
from systolith.sim.pysim import simulate

SEED = 5
SIZES = [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5), (5, 3), (13, 5), (8, 16)]


def pack(values: np.ndarray) -> int:
    return sum((int(v) & 511) << 9 * i for i, v in enumerate(values))


def products(array: OutputStationaryArray, tiles: list, gaps: list[int]) -> list[np.ndarray]:
    """Feed tiles (x [k, rows], w [k, columns]) with idle cycles of noise before each."""
    rng = np.random.default_rng(SEED)
    rows, columns = array.rows, array.columns
    feed: list[tuple[int, int, int, int]] = []
    ends = []
    for (x, w), gap in zip(tiles, gaps, strict=True):
        for _ in range(gap):
            noise = rng.integers(-256, 256, rows + columns)
            feed.append((pack(noise[:rows]), pack(noise[rows:]), 0, 0))
        for k in range(len(x)):
            feed.append((pack(x[k]), pack(w[k]), int(k == 0), int(k == len(x) - 1)))
        ends.append(len(feed) - 1)
    outputs: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for x, w, first, last in feed + [(0, 0, 0, 0)] * (2 * rows + columns + 2):
            ctx.set(array.i_x, x)
            ctx.set(array.i_w, w)
            ctx.set(array.i_first, first)
            ctx.set(array.i_last, last)
            outputs.append(ctx.get(array.o))
            await ctx.tick()

    simulate(array, bench)

    def element(end: int, r: int, c: int) -> int:
        word = outputs[end + array.latency + rows - 1 - r + c]
        value = word >> 32 * c & 0xFFFFFFFF
        return value - (value >> 31 << 32)

    return [
        np.array([[element(end, r, c) for c in range(columns)] for r in range(rows)])
        for end in ends
    ]


def check(rows: int, columns: int, pipelined: bool, depths: list[int], gaps: list[int]) -> None:
    rng = np.random.default_rng(SEED)
    array = OutputStationaryArray(rows, columns, pipelined=pipelined)
    tiles = [
        (rng.integers(-256, 256, (k, rows)), rng.integers(-256, 256, (k, columns))) for k in depths
    ]
    for (x, w), got in zip(tiles, products(array, tiles, gaps), strict=True):
        np.testing.assert_array_equal(got, x.T @ w)


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_tiles_without_bubbles(rows: int, columns: int, pipelined: bool) -> None:
    """The shortest tiles that may follow each other, and longer ones, back to back."""
    check(rows, columns, pipelined, [rows, rows, rows, rows + 3, rows, 2 * rows + 1], [0] * 6)


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (4, 4), (1, 3)])
def test_short_tiles_with_gaps(rows: int, columns: int, pipelined: bool) -> None:
    """Tiles of one k, whose last k are just `rows` apart; what comes between is ignored."""
    check(rows, columns, pipelined, [1, 1, 2, 1, 5], [2, rows - 1, rows, rows, 1 + rows])


@pytest.mark.parametrize("value", [(-256, -256), (-256, 255), (255, 255)])
def test_rails(value: tuple[int, int]) -> None:
    rows, columns, k = 3, 4, 40
    array = OutputStationaryArray(rows, columns)
    x, w = np.full((k, rows), value[0]), np.full((k, columns), value[1])
    for got in products(array, [(x, w)] * 2, [0, 0]):
        np.testing.assert_array_equal(got, np.full((rows, columns), k * value[0] * value[1]))


@pytest.mark.slow
def test_sums_wrap_at_32_bits() -> None:
    k = 32769  # the first k at which a sum of 256 * 256 passes 2**31
    array = OutputStationaryArray(1, 1)
    x = np.full((k, 1), -256)
    (got,) = products(array, [(x, x)], [0])
    assert got[0, 0] == k * 65536 - 2**32


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (65, 4)])
def test_rows_are_checked(rows: int, columns: int) -> None:
    with pytest.raises(ValueError, match=rf"^rows must be between 1 and 64, not {rows}$"):
        OutputStationaryArray(rows, columns)
    with pytest.raises(ValueError, match=rf"^columns must be between 1 and 64, not {rows}$"):
        OutputStationaryArray(columns, rows)


@pytest.mark.slow
@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(64, 1), (1, 64), (31, 7), (16, 16)])
def test_large_arrays(rows: int, columns: int, pipelined: bool) -> None:
    check(rows, columns, pipelined, [rows, rows, rows + 1], [0] * 3)
