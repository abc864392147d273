"""float32 units against the processor's, through numpy: ties, subnormals, the edges."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext
from numpy.typing import NDArray

from systolith.hw.float32 import Float32Adder, Float32Divider, Float32Multiplier, Float32Rounder
from systolith.sim.dut import Dut
from systolith.sim.pysim import simulate

Bits = NDArray[np.int64]
SIZES = [60_000, pytest.param(2_000_000, marks=pytest.mark.slow)]
_EDGES = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x3F800000, 0x3F7FFFFF, 0x3F800001]


def numbers(rng: np.random.Generator, count: int) -> Bits:
    """Bits of finite numbers: any, near to each other, few bits set, subnormal, the edges."""
    kinds = [
        rng.integers(0, 0xFF << 23, count),
        (rng.integers(120, 135, count) << 23) | rng.integers(0, 1 << 23, count),
        (rng.integers(0, 255, count) << 23) | (rng.integers(0, 16, count) << 19),
        rng.integers(0, 1 << 24, count),
        rng.choice(_EDGES, count),
    ]
    return np.choose(rng.integers(0, len(kinds), count), kinds)


def floats(bits: Bits) -> NDArray[np.float32]:
    return bits.astype(np.uint32).view(np.float32)


def half_places(rng: np.random.Generator, count: int) -> tuple[Bits, Bits]:
    """Sums that lie at, just above or just below the middle of two numbers."""
    a = (rng.integers(30, 250, count) << 23) | rng.integers(0, 1 << 23, count)
    return a, ((a >> 23) - rng.integers(23, 27, count) << 23) + rng.integers(-1, 2, count)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize(
    ("unit", "expected"), [(Float32Adder, np.add), (Float32Multiplier, np.multiply)]
)
def test_sums_and_products(unit: type, expected: np.ufunc, count: int) -> None:
    rng = np.random.default_rng(40)
    a, b = numbers(rng, count), numbers(rng, count)
    if unit is Float32Adder:
        ties = half_places(rng, count)
        swap = rng.integers(0, 2, count).astype(bool)
        a = np.concatenate([a, np.where(swap, *ties)])
        b = np.concatenate([b, np.where(swap, *ties[::-1])])
    else:
        # Products of short significands have ties.
        short = (rng.integers(60, 190, (2, count)) << 23) | (
            rng.integers(0, 1 << 13, (2, count)) << 10
        )
        a, b = np.concatenate([a, short[0]]), np.concatenate([b, short[1]])
    rest = np.zeros(unit.latency, np.int64)
    inputs = {
        "i_valid": np.concatenate([np.ones_like(a), rest]),
        "i_a": np.concatenate([a, rest]),
        "i_b": np.concatenate([b, rest]),
    }
    with Dut.build(unit()) as dut:
        got = dut.drive(inputs, ["o", "o_valid"])
    with np.errstate(all="ignore"):
        wanted = expected(floats(a), floats(b)).view(np.uint32)
    np.testing.assert_array_equal(got["o"][unit.latency :], wanted)
    assert got["o_valid"][unit.latency :].all() and not got["o_valid"][: unit.latency].any()


@pytest.mark.parametrize("count", [10_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_quotients(count: int) -> None:
    """The result comes after exactly `latency` cycles, and the next operands may come with it."""
    rng = np.random.default_rng(41)
    a, b = numbers(rng, count), numbers(rng, count)
    b[b == 0] = 1
    # Exact quotients, and those whose rest is the least.
    third = slice(0, count // 3)
    b[third] = (rng.integers(100, 150, count // 3) << 23) | (rng.integers(0, 1 << 11) << 12)
    product = floats(b[third]) * rng.integers(1, 1 << 12, count // 3).astype(np.float32)
    a[third] = product.view(np.uint32).astype(np.int64) + rng.integers(0, 2, count // 3)
    period = Float32Divider.latency
    valid = np.zeros(count * period + 1, np.int64)
    valid[: count * period : period] = 1
    inputs = {
        "i_valid": valid,
        "i_a": np.append(np.repeat(a, period), 0),
        "i_b": np.append(np.repeat(b, period), 1),
    }
    with Dut.build(Float32Divider()) as dut:
        got = dut.drive(inputs, ["o", "o_valid"])
    assert np.array_equal(np.flatnonzero(got["o_valid"]), np.arange(1, count + 1) * period)
    with np.errstate(all="ignore"):
        wanted = (floats(a) / floats(b)).view(np.uint32)
    np.testing.assert_array_equal(got["o"][period::period], wanted)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("bits", [1, 10, 22])
def test_integers(count: int, bits: int) -> None:
    rng = np.random.default_rng(42)
    quarters = rng.integers(0, 5 << bits, count) / np.float32(4)
    near = np.nextafter(quarters, rng.choice([0, 1e9], count).astype(np.float32))
    values = np.concatenate([quarters, near, floats(numbers(rng, count)), [np.inf]])
    values = values.astype(np.float32)
    away = rng.integers(0, 2, len(values))
    rest = np.zeros(Float32Rounder.latency, np.int64)
    inputs = {
        "i_valid": np.concatenate([np.ones_like(away), rest]),
        "i": np.concatenate([values.view(np.uint32).astype(np.int64), rest]),
        "i_away": np.concatenate([away, rest]),
    }
    with Dut.build(Float32Rounder(bits)) as dut:
        got = dut.drive(inputs, ["o"])["o"][Float32Rounder.latency :]
    exact = values.astype(np.float64)
    rounded = np.where(away, np.floor(exact + 0.5), np.rint(exact))
    np.testing.assert_array_equal(got, np.minimum(rounded, (1 << bits) - 1))


def test_rounder_refuses_widths() -> None:
    with pytest.raises(ValueError, match="^bits must be between 1 and 22, not 23$"):
        Float32Rounder(23)


@pytest.mark.parametrize("unit", [Float32Adder, Float32Multiplier, Float32Divider])
def test_results_hold_until_the_next(unit: type) -> None:
    dut, seen = unit(), []

    async def bench(ctx: SimulatorContext) -> None:
        for value in (0x3FC00000, 0x40490FDB):
            ctx.set(dut.i_a, value)
            ctx.set(dut.i_b, 0x40000000)
            ctx.set(dut.i_valid, 1)
            await ctx.tick()
            ctx.set(dut.i_valid, 0)
            ctx.set(dut.i_a, 5)
            for cycle in range(unit.latency + 9):
                if cycle >= unit.latency - 1:
                    seen.append(ctx.get(dut.o))
                await ctx.tick()

    simulate(dut, bench)
    assert len(set(seen[:10])) == len(set(seen[10:])) == 1
    assert seen[0] != seen[10]
