"""golden.rounding against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from systolith.golden.rounding import (
    ROUNDINGS,
    bit_length,
    shift_floor,
    shift_half_away,
    shift_half_even,
    shift_near_even,
    wrap,
)
from systolith.spec.requant import ResidualRounding


def exact(rounding: ResidualRounding, value: int, shift: int) -> int:
    """The rounding by its definition on a rational number."""
    x = Fraction(value, 2**shift)
    if rounding is ResidualRounding.FLOOR:
        return math.floor(x)
    if rounding is ResidualRounding.HALF_EVEN:
        return round(x)
    if rounding is ResidualRounding.NEAR_EVEN:
        return round(Fraction(math.floor(x * 2**16), 2**16))
    return math.floor(x + Fraction(1, 2)) if x >= 0 else math.ceil(x - Fraction(1, 2))


def test_table_is_complete():
    assert set(ROUNDINGS) == set(ResidualRounding)


@pytest.mark.parametrize("rounding", ResidualRounding)
def test_small_values_exhaustively(rounding):
    values = np.arange(-600, 601, dtype=np.int64)
    for shift in range(11):
        got = ROUNDINGS[rounding](values, shift)
        assert got.dtype == np.int64
        assert got.tolist() == [exact(rounding, int(v), shift) for v in values], shift


@pytest.mark.parametrize("rounding", ResidualRounding)
def test_wide_values_and_ties(rounding):
    rng = np.random.default_rng(2024)
    shifts = np.arange(48)
    ties = rng.integers(-64, 64, (50, 48)) * 2 + 1 << np.maximum(shifts - 1, 0)
    values = np.concatenate([rng.integers(-(1 << 47), 1 << 47, (50, 48)), ties, ties + 1, ties - 1])
    got = ROUNDINGS[rounding](values, shifts)
    want = [
        [exact(rounding, int(v), int(s)) for v, s in zip(r, shifts, strict=True)] for r in values
    ]
    assert got.tolist() == want


def test_three_roundings_differ_on_ties():
    values = np.array([-3, -1, 1, 3], np.int64)
    assert shift_floor(values, 1).tolist() == [-2, -1, 0, 1]
    assert shift_half_away(values, 1).tolist() == [-2, -1, 1, 2]
    assert shift_half_even(values, 1).tolist() == [-2, 0, 0, 2]


def test_near_ties_are_ties():
    """At shift 20, 16 units above a half are as the half is; one below, or 16 above, is not."""
    half = 1 << 19
    values = np.array(
        [half - 1, half, half + 15, half + 16, -half - 1, -half, -half + 15], np.int64
    )
    assert shift_near_even(values, 20).tolist() == [0, 0, 0, 1, -1, 0, 0]
    assert shift_near_even(values + (1 << 20), 20).tolist() == [1, 2, 2, 2, 0, 0, 0]
    assert shift_half_even(values, 20).tolist() == [0, 0, 1, 1, -1, 0, 0]


@pytest.mark.parametrize("bits", [1, 8, 9, 32, 48, 63, 64])
def test_wrap(bits):
    rng = np.random.default_rng(bits)
    values = rng.integers(-(1 << 63), (1 << 63) - 1, 500)
    half = 1 << (bits - 1)
    assert wrap(values, bits).tolist() == [(int(v) + half) % (1 << bits) - half for v in values]


def test_bit_length():
    powers = [1 << k for k in range(62)]
    values = [0, *powers, *(p - 1 for p in powers), *(p + 1 for p in powers), (1 << 63) - 1]
    assert bit_length(np.array(values)).tolist() == [v.bit_length() for v in values]
