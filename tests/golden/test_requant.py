"""golden.requant against Python integers, exact rationals and IEEE float32."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest

from systolith.golden.requant import MODES, requantize
from systolith.spec.requant import RequantMode, RequantWidths

INT32 = (-(1 << 31), (1 << 31) - 1)
RAILS = np.array([INT32[0], INT32[0] + 1, -(1 << 24) - 1, -1, 0, 1, (1 << 24) + 1, INT32[1]])


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


def half_away(x: Fraction) -> int:
    return half_up(x) if x >= 0 else -half_up(-x)


def wrap(value: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def exact_double(a: int, multiplier: int, shift: int, offset: int) -> int:
    x = wrap(a << max(shift, 0), 32)
    return half_away(Fraction(half_up(Fraction(x * multiplier, 1 << 31)), 1 << max(-shift, 0)))


def round24(x: Fraction) -> Fraction:
    """Round to 24 significant bits, half to even."""
    if x == 0:
        return x
    exponent = 0
    while abs(x) >= 1 << 24:
        x, exponent = x / 2, exponent + 1
    while abs(x) < 1 << 23:
        x, exponent = x * 2, exponent - 1
    return round(x) * Fraction(2) ** exponent


def exact_float32(a: int, multiplier: int, shift: int, offset: int) -> int:
    return round(round24(round24(Fraction(a)) * multiplier * Fraction(2) ** shift))


def exact_fixed(a: int, multiplier: int, shift: int, offset: int) -> int:
    return wrap(a * multiplier + offset, 64) >> shift


def exact_magnitude(a: int, multiplier: int, shift: int, offset: int) -> int:
    x = min(abs(a), (1 << 31) - 1)
    return (-1 if a < 0 else 1) * (wrap(x * multiplier + offset, 64) >> shift)


EXACT = {
    RequantMode.DOUBLE: exact_double,
    RequantMode.FLOAT32: exact_float32,
    RequantMode.FIXED: exact_fixed,
    RequantMode.MAGNITUDE: exact_magnitude,
}


def draw(mode: RequantMode, rng: np.random.Generator, channels: int) -> dict[str, np.ndarray]:
    """Parameters over the whole domain of a mode, the usual range more often."""
    usual = rng.random(channels) < 0.6
    if mode is RequantMode.DOUBLE:
        multiplier = rng.integers(0, 1 << 31, channels) | (usual.astype(np.int64) << 30)
        shift = np.where(usual, rng.integers(-16, 2, channels), rng.integers(-31, 32, channels))
    elif mode is RequantMode.FLOAT32:
        multiplier = rng.integers(1 << 23, 1 << 24, channels)
        shift = np.where(usual, rng.integers(-44, -23, channels), rng.integers(-128, 128, channels))
    else:
        multiplier = rng.integers(INT32[0], INT32[1] + 1, channels)
        shift = np.where(usual, rng.integers(28, 50, channels), rng.integers(0, 64, channels))
    narrow = rng.integers(-(1 << 40), 1 << 40, channels)
    offset = np.where(usual, narrow, rng.integers(-(1 << 63), (1 << 63) - 1, channels))
    bias = rng.integers(INT32[0], INT32[1] + 1, channels) >> rng.integers(0, 32, channels)
    return {"multiplier": multiplier, "shift": shift, "offset": offset, "bias": bias}


def draw_acc(rng: np.random.Generator, rows: int, channels: int) -> np.ndarray:
    wide = rng.integers(INT32[0], INT32[1] + 1, (rows, channels))
    acc = wide >> rng.integers(0, 32, (rows, channels))
    acc[: len(RAILS)] = RAILS[:, None]
    return acc.astype(np.int32)


def test_table_is_complete():
    assert set(MODES) == set(RequantMode) == set(EXACT)


@pytest.mark.parametrize("mode", RequantMode)
@pytest.mark.parametrize(
    ("zero_point", "low", "high"),
    [(3, -128, 127), (-128, -128, 127), (255, 0, 255), (-256, -256, 255)],
)
def test_against_exact(mode, zero_point, low, high):
    rng = np.random.default_rng(seed := 300 + zero_point)
    parameters = draw(mode, rng, 50)
    acc = draw_acc(rng, 60, 50)
    got = requantize(acc, mode=mode, zero_point=zero_point, low=low, high=high, **parameters)
    assert got.dtype == np.int64
    for c in range(50):
        m, s, o, b = (int(parameters[k][c]) for k in ("multiplier", "shift", "offset", "bias"))
        want = [EXACT[mode](wrap(int(v) + b, 32), m, s, o) + zero_point for v in acc[:, c]]
        assert got[:, c].tolist() == [min(max(v, low), high) for v in want], (seed, c, m, s)


@pytest.mark.parametrize("mode", RequantMode)
def test_codes_are_hit_everywhere(mode):
    """The draws above reach the unsaturated range, ties included, and not only the clamps."""
    acc = np.arange(-700, 700, dtype=np.int32)
    multiplier, shift = {
        RequantMode.DOUBLE: (1 << 30, -1),
        RequantMode.FLOAT32: (1 << 23, -25),
        RequantMode.FIXED: (1 << 20, 22),
        RequantMode.MAGNITUDE: (1 << 20, 22),
    }[mode]
    got = requantize(
        acc, mode=mode, bias=0, multiplier=multiplier, shift=shift, zero_point=0, low=-128, high=127
    )
    want = [min(max(EXACT[mode](int(v), multiplier, shift, 0), -128), 127) for v in acc]
    assert got.tolist() == want
    assert len(set(want)) == 256


@pytest.mark.parametrize(("multiplier", "accumulator"), [(16, 16), (18, 32), (32, 20), (24, 25)])
def test_widths(multiplier, accumulator):
    """Saturated accumulators, and sums that wrap at the widths' sum."""
    rng = np.random.default_rng(seed := 100 * multiplier + accumulator)
    widths = RequantWidths(multiplier=multiplier, accumulator=accumulator)
    parameters = draw(RequantMode.FIXED, rng, 30)
    for name, bits in (("multiplier", multiplier), ("offset", widths.sum)):
        parameters[name] >>= 64 - bits if name == "offset" else 32 - bits
    parameters["shift"] = np.maximum(parameters["shift"] - 64 + widths.sum, 0)
    acc = draw_acc(rng, 60, 30)
    rail = 1 << (accumulator - 1)
    for mode in (RequantMode.FIXED, RequantMode.MAGNITUDE):
        clamp = {"zero_point": 0, "low": -256, "high": 255}
        got = requantize(acc, mode=mode, **clamp, **parameters, widths=widths)
        for c in range(30):
            m, s, o, b = (int(parameters[k][c]) for k in ("multiplier", "shift", "offset", "bias"))
            for v, code in zip(acc[:, c], got[:, c].tolist(), strict=True):
                a = wrap(int(v) + b, 32)
                magnitude = mode is RequantMode.MAGNITUDE
                x = min(abs(a), rail - 1) if magnitude else max(-rail, min(rail - 1, a))
                y = wrap(x * m + o, widths.sum) >> s
                y = -y if magnitude and a < 0 else y
                assert code == max(-256, min(255, y)), (seed, mode, c, a, m, s, o)


@pytest.mark.parametrize(
    ("mode", "name", "value", "text"),
    [
        (RequantMode.FIXED, "multiplier", 1 << 17, "multiplier must be in [-131072, 131071]"),
        (RequantMode.MAGNITUDE, "multiplier", -(1 << 17) - 1, "multiplier must be in [-131072"),
        (RequantMode.FIXED, "offset", 1 << 37, "offset must be in [-137438953472, 137438953471]"),
    ],
)
def test_parameters_must_fit_in_their_widths(mode, name, value, text):
    parameters = {"multiplier": 1, "shift": 0, "offset": 0} | {name: value}
    widths = RequantWidths(multiplier=18, accumulator=20)
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        requantize([1], mode=mode, bias=0, zero_point=0, low=0, high=1, **parameters, widths=widths)


def test_float32_is_ieee():
    rng = np.random.default_rng(11)
    acc = draw_acc(rng, 20_000, 16)
    scale = np.exp2(rng.uniform(-20, -1, 16)).astype(np.float32)
    scale[:4] = [2.0**-3, 2.0**-7, 0.375, 1.5 * 2.0**-12]
    acc[::3, :4] = rng.integers(-4000, 4000, acc[::3, :4].shape)
    mantissa, exponent = np.frexp(scale)
    got = requantize(
        acc,
        mode=RequantMode.FLOAT32,
        bias=0,
        multiplier=(mantissa * (1 << 24)).astype(np.int64),
        shift=exponent.astype(np.int64) - 24,
        zero_point=5,
        low=-128,
        high=127,
    )
    want = np.clip(np.rint(acc.astype(np.float32) * scale), -133, 122).astype(np.int64) + 5
    assert np.array_equal(got, want)


def test_double_is_the_reference_kernels_formula():
    """gemmlowp's SaturatingRoundingDoublingHighMul truncates after a signed nudge: same value."""
    rng = np.random.default_rng(5)
    for a, q in zip(rng.integers(*INT32, 5000), rng.integers(0, 1 << 31, 5000), strict=True):
        product = int(a) * int(q)
        nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
        truncated = abs(nudged) >> 31
        want = truncated if nudged >= 0 else -truncated
        assert exact_double(int(a), int(q), 0, 0) == want


def test_shapes_and_chunks():
    rng = np.random.default_rng(3)
    parameters = draw(RequantMode.FIXED, rng, 8)
    clamp = {"mode": RequantMode.FIXED, "zero_point": 0, "low": -128, "high": 127}
    acc = rng.integers(-(1 << 20), 1 << 20, (3, 5000, 8))
    got = requantize(acc, **parameters, **clamp)
    assert got.shape == acc.shape
    for row in (0, 4095, 4096, 4999):
        assert np.array_equal(got[2, row], requantize(acc[2, row], **parameters, **clamp))
    assert requantize(np.zeros((0, 8), np.int32), **parameters, **clamp).shape == (0, 8)
    assert requantize(np.int32(5), bias=1, multiplier=2, shift=0, **clamp).shape == ()


GOOD = {
    "mode": RequantMode.DOUBLE,
    "bias": 0,
    "multiplier": 1 << 30,
    "shift": 0,
    "zero_point": 0,
    "low": -128,
    "high": 127,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiplier": -1}, "multiplier must be in [0, 2147483647], not -1"),
        ({"shift": -32}, "shift must be in [-31, 31], not -32"),
        (
            {"mode": RequantMode.FLOAT32, "multiplier": 5},
            "multiplier must be in [8388608, 16777215], not 5",
        ),
        ({"mode": RequantMode.FIXED, "shift": 64}, "shift must be in [0, 63], not 64"),
        ({"bias": 1 << 31}, "bias must be in [-2147483648, 2147483647], not 2147483648"),
        ({"bias": 0.5}, "bias must be an integer array, not 'float64'"),
        ({"zero_point": 256}, "zero_point must be in [-256, 255], not 256"),
        ({"low": 10, "high": 9}, "low must be at most high = 9, not 10"),
    ],
)
def test_domain(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        requantize(np.zeros(4, np.int32), **(GOOD | change))


def test_float_accumulators_are_rejected():
    message = "acc must be an integer array, not 'float32'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        requantize(np.zeros(4, np.float32), **GOOD)
