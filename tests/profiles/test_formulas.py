"""Formulas against exact rationals: every step of a runtime's definition as a Fraction."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.arithmetic import BinaryArithmetic, Codes, Requant
from systolith.errors import SpecError
from systolith.profiles import PROFILES, get_profile
from systolith.profiles.binary import (
    BINARY_FORMULAS,
    binary_codes,
    binary_table,
    fma32,
    product_requant,
)
from systolith.profiles.edges import QUANTIZE_FORMULAS
from systolith.profiles.formulas import (
    REQUANT_FORMULAS,
    multiply_by_quantized_multiplier,
    requantize,
    requantize_codes,
    wrap32,
)
from systolith.profiles.lut import LUT_FORMULAS
from systolith.profiles.multipliers import SCALE_RULES, activation_limits, quantize_multiplier
from systolith.profiles.softmax import SOFTMAX_FORMULAS

int32 = st.integers(-(1 << 31), (1 << 31) - 1)
factors = st.floats(2.0**-40, 2.0**8, allow_nan=False)
singles = st.floats(-(2.0**30), 2.0**30, width=32, allow_subnormal=False).filter(
    lambda x: x == 0 or abs(x) > 2.0**-30
)


def half_away(value: Fraction) -> int:
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def nearest_single(value: Fraction) -> Fraction:
    """Round to 24 significant bits, half to even (no underflow or overflow here)."""
    if value == 0:
        return value
    exponent = abs(value).numerator.bit_length() - abs(value).denominator.bit_length() - 24
    while abs(value) / Fraction(2) ** exponent >= 1 << 24:
        exponent += 1
    while abs(value) / Fraction(2) ** exponent < 1 << 23:
        exponent -= 1
    return round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent


def requant(formula: str, factor: float, divisor: int = 1) -> Requant:
    single = formula == "float32"
    q, shift = quantize_multiplier(factor)
    return Requant(
        formula=formula,
        zero_point=0,
        low=-128,
        high=127,
        scale=np.array([factor], np.float32 if single else np.float64),
        multiplier=q,
        shift=shift,
        divisor=divisor,
    )


@settings(derandomize=True, deadline=None)
@given(factors)
def test_quantize_multiplier(factor: float) -> None:
    q, shift = (int(v[0]) for v in quantize_multiplier(factor))
    if q == 0:
        assert factor < 2.0**-31
    else:
        assert 1 << 30 <= q < 1 << 31
        assert q == half_away(Fraction(factor) / Fraction(2) ** (shift - 31))


def test_quantize_multiplier_carries() -> None:
    q, shift = quantize_multiplier(np.nextafter(1.0, 0.0))
    assert (q.tolist(), shift.tolist()) == ([1 << 30], [1])


@settings(derandomize=True, deadline=None)
@given(int32, factors)
def test_double(acc: int, factor: float) -> None:
    q, shift = (int(v[0]) for v in quantize_multiplier(factor))
    left, right = max(shift, 0), max(-shift, 0)
    wrapped = int(wrap32(acc << left))
    expected = half_away(Fraction(half_up(Fraction(wrapped * q, 1 << 31)), 1 << right))
    assert int(requantize(np.array([acc]), requant("double", factor))[0]) == expected


@settings(derandomize=True, deadline=None)
@given(int32, factors)
def test_float32(acc: int, factor: float) -> None:
    scale = Fraction(float(np.float32(factor)))
    product = nearest_single(nearest_single(Fraction(acc)) * scale)
    expected = round(product)
    assert int(requantize(np.array([acc]), requant("float32", factor))[0]) == expected


@settings(derandomize=True, deadline=None)
@given(int32, st.integers(-(2**52), 2**52))
def test_f64away_exact_products(acc: int, numerator: int) -> None:
    # A short factor keeps the float64 product exact, so that only the rounding is tested.
    factor = (numerator % (1 << 20)) / (1 << 28)
    expected = half_away(Fraction(acc) * Fraction(factor))
    assert int(requantize(np.array([acc]), requant("f64away", factor))[0]) == expected


@settings(derandomize=True, deadline=None)
@given(st.integers(-(1 << 20), 1 << 20), st.integers(1, 4096))
def test_divide(acc: int, count: int) -> None:
    got = int(requantize(np.array([acc]), requant("divide", 1 / count, count))[0])
    expected = half_away(Fraction(acc, count))
    # TFLite adds count // 2 before dividing: for odd counts there is no tie.
    assert got == expected


@settings(derandomize=True, deadline=None)
@given(singles, singles, singles)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if 0 < abs(exact) < Fraction(1, 1 << 60):
        return
    assert Fraction(float(fma32(a, b, c))) == nearest_single(exact)


def test_fma_where_two_roundings_fail() -> None:
    # The exact sum lies a hair below a float32 tie; float64 alone would lose the hair.
    a, c = 1.0 + 2.0**-23, -(2.0**-60)
    b = 1.0 + 2.0**-1
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    twice = np.float32(np.float64(a) * np.float64(b) + np.float64(c))
    assert Fraction(float(fma32(a, b, c))) == nearest_single(exact)
    assert Fraction(float(twice)) != nearest_single(exact)


def test_shift_left_wraps() -> None:
    q, shift = quantize_multiplier(4.0)
    assert int(multiply_by_quantized_multiplier(np.int64(1 << 30), q, shift)[0]) == 0


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("none", (-128, 127)), ("relu", (-10, 127)), ("relu6", (-10, 50)), ("relu_n1_to_1", (-20, 0))],
)
def test_activation_limits(activation: str, expected: tuple[int, int]) -> None:
    assert activation_limits(activation, 0.1, -10, -128, 127) == expected


@pytest.mark.parametrize("formula", sorted(set(BINARY_FORMULAS) - {"codes_sum", "table"}))
def test_binary_close_to_the_real_function(formula: str) -> None:
    a, b, out = (
        Codes(dtype="int8", scale=s, zero_point=z) for s, z in ((0.1, 3), (0.07, -9), (0.2, 5))
    )
    table = binary_table(BinaryArithmetic(formula=formula, a=a, b=b, out=out, low=-128, high=127))
    codes = np.arange(256, dtype=np.uint8).view(np.int8).astype(float)
    x, y = 0.1 * (codes - 3)[:, None], 0.07 * (codes + 9)[None, :]
    real = {"add": x + y, "sub": x - y, "mul": x * y}[formula.split("_")[1]]
    exact = np.clip(real / 0.2 + 5, -128, 127)
    # Half a code, and what TFLite's second rounding adds.
    assert np.abs(table - exact).max() < 0.55


@pytest.mark.parametrize("formula", ["tflite_mul", "tflm_mul", "xnnpack_mul"])
def test_requantizer_of_products(formula: str) -> None:
    """All pairs of codes: products through the requantizer are the multiplication."""
    codes = np.arange(-128, 128)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scales = rng.choice([0.5, 0.25, 0.75, 0.03], 3) * [1, 1, 2.0 ** rng.integers(0, 8)]
        a, b, out = (
            Codes(dtype="int8", scale=float(np.float32(s)), zero_point=int(z))
            for s, z in zip(scales, rng.integers(-128, 128, 3), strict=True)
        )
        k = BinaryArithmetic(formula=formula, a=a, b=b, out=out, low=-100, high=127)
        requant = product_requant(k)
        assert requant is not None
        products = (codes[:, None] - a.zero_point) * (codes - b.zero_point)
        wanted = binary_codes(codes[:, None], codes, k)
        np.testing.assert_array_equal(requantize_codes(products, requant), wanted)


def test_rows_name_formulas_that_exist() -> None:
    moves = {"max", "copy", "dequantize", "table"}
    tables = (REQUANT_FORMULAS, BINARY_FORMULAS, LUT_FORMULAS, SOFTMAX_FORMULAS, QUANTIZE_FORMULAS)
    known = moves.union(*tables)
    for profile in PROFILES.values():
        for operator, row in profile.rows.items():
            assert row.formula in known, (profile.name, operator)
            assert not row.scale or row.scale in SCALE_RULES, (profile.name, operator)


def test_unknown_profile() -> None:
    with pytest.raises(SpecError, match="^profile must be one of .*, not 'torch'$"):
        get_profile("torch")
