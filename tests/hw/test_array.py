"""The weight-stationary array against numpy's matrix product."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.array import WeightStationaryArray, sum_bits
from systolith.sim.pysim import simulate

SEED = 6
SIZES = [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5), (5, 3), (13, 5), (8, 16)]


def pack(values: np.ndarray) -> int:
    return sum((int(v) & 511) << 9 * i for i, v in enumerate(values))


def make(rows: int, columns: int, registers: int, lines: int = 0) -> WeightStationaryArray:
    """An array with so many registers between an activation and its element's adder."""
    stages = max(0, registers - 1)
    return WeightStationaryArray(rows, columns, pipelined=registers > 0, stages=stages, lines=lines)


def products(array: WeightStationaryArray, tiles: list, gap: int) -> list[np.ndarray]:
    """Load and stream tiles (x [vectors, rows], w [rows, columns]) as early as the contract allows.

    A tile is loaded from the cycle of the last switch on, and switched to when it is complete and
    the last tile's vectors are all in, plus ``gap`` cycles; vectors follow in the next cycles.
    """
    rows, columns = array.rows, array.columns
    words: dict[int, tuple[int, int]] = {}
    vectors: dict[int, int] = {}
    switches = []
    load, free = 0, 0
    for x, w in tiles:
        for k in range(rows):
            words[load + k] = pack(w[rows - 1 - k]), (1 << k + 1) - 1
        switch = max(load + rows, free) + gap
        for i, vector in enumerate(x):
            vectors[switch + 1 + i] = pack(vector)
        switches.append(switch)
        load, free = switch, switch + len(x)
    outputs: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        rng = np.random.default_rng(SEED)
        for t in range(free + rows + columns + 4):
            w, shift = words.get(t, (pack(rng.integers(-256, 256, columns)), 0))
            ctx.set(array.i_w, w)
            ctx.set(array.i_shift, shift)
            ctx.set(array.i_switch, t in switches)
            ctx.set(array.i_x, vectors.get(t, pack(rng.integers(-256, 256, rows))))
            outputs.append(ctx.get(array.o))
            await ctx.tick()

    simulate(array, bench)
    bits = sum_bits(rows)

    def element(t: int, c: int) -> int:
        value = outputs[t + array.latency + c] >> bits * c & (1 << bits) - 1
        return value - (value >> bits - 1 << bits)

    return [
        np.array([[element(s + 1 + i, c) for c in range(columns)] for i in range(len(x))])
        for s, (x, _) in zip(switches, tiles, strict=True)
    ]


def check(rows: int, columns: int, registers: int, counts: list[int], gap: int) -> None:
    rng = np.random.default_rng(SEED)
    array = make(rows, columns, registers)
    tiles = [
        (rng.integers(-256, 256, (m, rows)), rng.integers(-256, 256, (rows, columns)))
        for m in counts
    ]
    for (x, w), got in zip(tiles, products(array, tiles, gap), strict=True):
        np.testing.assert_array_equal(got, x @ w)


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_tiles_without_bubbles(rows: int, columns: int, registers: int) -> None:
    """Tiles of at least `rows` vectors, back to back."""
    check(rows, columns, registers, [rows, rows, rows + 2, rows, 2 * rows + 1], 0)


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (4, 4), (5, 1)])
@pytest.mark.parametrize("gap", [0, 1, 7])
def test_short_tiles(rows: int, columns: int, registers: int, gap: int) -> None:
    """Fewer vectors than rows: the array waits for the weights."""
    check(rows, columns, registers, [1, 2, 1, rows], gap)


@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize(
    ("rows", "columns", "lines"), [(9, 4, 3), (5, 3, 2), (6, 6, 3), (4, 2, 1), (3, 5, 3), (1, 1, 1)]
)
def test_depthwise_among_normal_vectors(
    rows: int, columns: int, lines: int, registers: int
) -> None:
    """Any cycle begins a vector of either kind, and any may begin with other weights."""
    rng = np.random.default_rng(SEED)
    array = make(rows, columns, registers, lines)
    taps, count = rows // lines, 150
    x = rng.integers(-256, 256, (count, rows))
    d = rng.integers(-256, 256, (count, lines, columns))
    tiles = rng.integers(-256, 256, (1 + count // (rows + 3), rows, columns))
    tiles[:, lines * taps :] = 0
    lane = rng.random(count) < 0.5
    outputs: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for t in range(-rows, count):
            tile, k = divmod(t + rows, rows + 3)
            loads = k < rows and tile < len(tiles)
            ctx.set(array.i_w, pack(tiles[tile, rows - 1 - k]) if loads else 0)
            ctx.set(array.i_shift, (1 << k + 1) - 1 if loads else 0)
            ctx.set(array.i_switch, k == rows)
            if t >= 0:
                ctx.set(array.i_lane, bool(lane[t]))
                ctx.set(array.i_x, pack(x[t]))
                ctx.set(array.i_d, pack(d[t].reshape(-1)))
            outputs.append(ctx.get(array.o))
            await ctx.tick()

    simulate(array, bench)
    bits, compared = sum_bits(rows), 0
    for t in range(1, count - array.latency - columns):
        w = tiles[(t - 1) // (rows + 3)]  # the switch is a cycle before its first vector
        window = d[t : t + taps].transpose(1, 0, 2).reshape(lines * taps, columns)
        want = (window * w[: lines * taps]).sum(0) if lane[t] else x[t] @ w
        for c in range(columns):
            value = outputs[rows + t + array.latency + c] >> bits * c & (1 << bits) - 1
            assert value - (value >> bits - 1 << bits) == want[c], (t, c)
            compared += 1
    assert compared > 120 * columns


def test_lines_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^lines must be between 0 and 3, not 4$"):
        WeightStationaryArray(3, 4, lines=4)


@pytest.mark.parametrize("value", [(-256, -256), (-256, 255), (255, 255)])
def test_rails(value: tuple[int, int]) -> None:
    rows, columns = 5, 3
    array = WeightStationaryArray(rows, columns)
    x, w = np.full((6, rows), value[0]), np.full((rows, columns), value[1])
    for got in products(array, [(x, w)] * 2, 0):
        np.testing.assert_array_equal(got, np.full((6, columns), rows * value[0] * value[1]))


@pytest.mark.parametrize("rows", range(1, 65))
def test_sums_fit(rows: int) -> None:
    assert rows * 256 * 256 < 1 << sum_bits(rows) - 1
    assert rows * 256 * -255 >= -(1 << sum_bits(rows) - 1)


@pytest.mark.parametrize("size", [0, 65])
def test_sizes_are_checked(size: int) -> None:
    with pytest.raises(ValueError, match=rf"^rows must be between 1 and 64, not {size}$"):
        WeightStationaryArray(size, 4)
    with pytest.raises(ValueError, match=rf"^columns must be between 1 and 64, not {size}$"):
        WeightStationaryArray(4, size)


@pytest.mark.slow
@pytest.mark.parametrize("registers", range(4))
@pytest.mark.parametrize(("rows", "columns"), [(64, 1), (1, 64), (31, 7), (16, 16)])
def test_large_arrays(rows: int, columns: int, registers: int) -> None:
    check(rows, columns, registers, [rows, rows, rows + 1], 0)
