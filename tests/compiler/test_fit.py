"""compiler.fit: thresholds by exhaustion, fits against the runtimes' formulas."""

import re
from fractions import Fraction

import numpy as np
import pytest

from systolith.compiler.fit import accumulator_range, equal_on_range, mode_formula, steps
from systolith.compiler.fit_fixed import FixedParameters, fit_fixed, fit_fixed_channels
from systolith.spec.requant import RequantMode, RequantWidths


def float32_formula(scales, low=-128, high=127):
    """rint(float32(a) * scale): ONNX Runtime and XNNPACK."""
    s = np.asarray(scales, np.float32)
    return lambda a: np.clip(np.rint(a.astype(np.float32) * s), low, high).astype(np.int64)


def float64_formula(scales, low=-128, high=127):
    """Half away from zero of float64(a) * scale: LiteRT's reference fully connected layer."""

    def code(a):
        product = a.astype(np.float64) * scales
        rounded = np.trunc(product + np.copysign(0.5, product))
        return np.clip(rounded, low, high).astype(np.int64)

    return code


def average_formula(count, low=-128, high=127):
    """Integer division by the window, half away from zero: average pooling."""

    def code(a):
        magnitude = (np.abs(a) + count // 2) // count
        return np.clip(np.sign(a) * magnitude, low, high)

    return code


def q31(scale):
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    return np.rint(mantissa * (1 << 31)).astype(np.int64), exponent.astype(np.int64)


def double_formula(scales, low=-128, high=127):
    multiplier, shift = q31(scales)
    return mode_formula(RequantMode.DOUBLE, multiplier=multiplier, shift=shift, low=low, high=high)


def single_formula(scales, low=-128, high=127):
    """One rounding, half up: equals the others but for ties."""
    multiplier, shift = q31(scales)
    half = np.int64(1) << (30 - shift)
    return mode_formula(
        RequantMode.FIXED,
        multiplier=multiplier >> 1,
        shift=30 - shift,
        offset=half >> 1,
        low=low,
        high=high,
    )


def fixed(fit: FixedParameters, low=-128, high=127):
    return mode_formula(
        RequantMode.FIXED,
        multiplier=fit.multiplier,
        shift=fit.shift,
        offset=fit.offset,
        low=low,
        high=high,
    )


def staircase(edges):
    """The number of edges at or below the accumulator."""
    return lambda a: np.searchsorted(edges, a, side="right").astype(np.int64)


def assert_fits(f, fit, lo, hi, low=-128, high=127):
    """Compare on all integers of a short range, or a million samples and both ends of a long."""
    if hi - lo < 2_000_000:
        a = np.arange(lo, hi + 1)
    else:
        a = np.random.default_rng(1).integers(lo, hi + 1, 1_000_000)
        a[:2] = lo, hi
    assert np.array_equal(f(a[:, None]), fixed(fit, low, high)(a[:, None]))


def test_steps_exhaustively():
    scales = np.array([0.37, 0.01, 3.0, 0.0625])
    lo, hi = np.array([-500, -9000, -80, 5]), np.array([300, 20000, 90, 5])
    f = float32_formula(scales)
    got = steps(f, lo, hi)
    for c in range(4):
        a = np.arange(lo[c], hi[c] + 1)
        y = np.asarray([f(np.full((1, 4), v))[0, c] for v in a])
        codes, thresholds = got.channel(c)
        assert (int(got.base[c]), int(got.top[c])) == (y[0], y[-1])
        assert codes.tolist() == list(range(y[0] + 1, y[-1] + 1))
        assert thresholds.tolist() == [int(a[np.argmax(y >= k)]) for k in codes]


def test_steps_on_the_whole_of_int32():
    got = steps(float64_formula(2.0**-24), -(1 << 31), (1 << 31) - 1)
    codes, thresholds = got.channel(0)
    half = 1 << 23
    # Ties away from zero: positive codes start at the tie, negative ones end with it.
    want = [2 * half * k - half + (k <= 0) for k in range(-127, 128)]
    assert (codes.tolist(), thresholds.tolist()) == (list(range(-127, 128)), want)


def test_steps_reject_bad_formulas():
    with pytest.raises(ValueError, match=r"^f must be non-decreasing, not 9 at lo and -9 at hi$"):
        steps(lambda a: -a, -9, 9)
    with pytest.raises(ValueError, match=re.escape("lo must be at most hi = [0], not [1]")):
        steps(lambda a: a, 1, 0)


def test_equal_on_range_sees_a_single_difference():
    multiplier, shift = q31(np.full(4, 0.01))
    f = double_formula(np.full(4, 0.01))
    moved = f.__call__

    def g(a):
        # Channel 2 steps one accumulator later somewhere, and channel 3 at its last value only.
        a = a.copy()
        threshold = int(steps(f, np.full(4, -5000), np.full(4, 5000)).thresholds[40, 2])
        a[..., 2] -= a[..., 2] == threshold
        y = moved(a)
        y[..., 3] += a[..., 3] == 5000
        return y

    got = equal_on_range(f, g, np.full(4, -5000), np.full(4, 5000))
    assert got.tolist() == [True, True, False, False]


@pytest.mark.parametrize("seed", range(8))
def test_equal_on_range_agrees_with_exhaustion(seed):
    rng = np.random.default_rng(seed)
    scales = np.exp2(rng.uniform(-9, -3, 40))
    scales[:12] = 2.0 ** -np.arange(3, 15)
    hi = rng.integers(20, 3000, 40)
    lo = -rng.integers(0, 3000, 40)
    f, g = float32_formula(scales), single_formula(scales)
    a = np.arange(-3000, 3001)[:, None]
    inside = (a >= lo) & (a <= hi)
    wide = np.broadcast_to(a, inside.shape)
    want = np.all((f(wide) == g(wide)) | ~inside, axis=0)
    assert np.array_equal(equal_on_range(f, g, lo, hi), want)
    assert 0 < want.sum() < 40


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("formula", [float64_formula, double_formula, float32_formula])
def test_fit_is_exact_where_it_succeeds(formula, seed):
    rng = np.random.default_rng(seed)
    scales = np.exp2(rng.uniform(-14, -2, 30))
    hi = rng.integers(100, 400_000, 30)
    lo = -rng.integers(100, 400_000, 30)
    low, high = (-128, 127) if seed % 2 else (0, 255)
    fits = fit_fixed_channels(formula(scales, low, high), lo, hi, low=low, high=high)
    for c, fit in enumerate(fits):
        if fit is not None:
            f = formula(scales[c : c + 1], low, high)
            assert_fits(f, fit, int(lo[c]), int(hi[c]), low, high)
    found = sum(fit is not None for fit in fits)
    # Double rounding moves steps off any line in nearly all channels; the others mostly fit.
    assert found >= {float64_formula: 30, float32_formula: 28, double_formula: 0}[formula]


@pytest.mark.parametrize("count", [1, 2, 3, 9, 16, 49, 64, 125, 255])
def test_fit_of_average_pools(count):
    f = average_formula(count)
    fit = fit_fixed(f, -128 * count, 127 * count, low=-128, high=127)
    assert fit is not None
    assert_fits(f, fit, -128 * count, 127 * count)


@pytest.mark.parametrize("scale", [1e-6, 3.0**-19, 2.0**-8, 1.0, 3.7, 200.0])
def test_fit_on_the_whole_of_int32(scale):
    f = float64_formula(scale)
    lo, hi = -(1 << 31), (1 << 31) - 1
    fit = fit_fixed(f, lo, hi, low=-128, high=127)
    assert fit is not None
    assert_fits(f, fit, lo, hi)
    assert bool(equal_on_range(f, fixed(fit), lo, hi)[0])


def test_ties_to_both_sides_of_int32_need_more_than_31_bits():
    """Ties away from zero at 2**-24 leave slopes between 1 and 1 + 2**-31 times 2**-24."""
    f = float64_formula(2.0**-24)
    lo, hi = -(1 << 31), (1 << 31) - 1
    assert fit_fixed(f, lo, hi, low=-128, high=127) is None
    # On the positive side alone all ties round up, which any half offset does.
    fit = fit_fixed(f, 0, hi, low=-128, high=127)
    assert fit is not None
    assert_fits(f, fit, 0, hi)


@pytest.mark.parametrize(("lo", "hi"), [(0, 0), (-7, -7), (0, 1), (100, 140), (10**6, 10**6 + 5)])
def test_fit_of_short_ranges(lo, hi):
    f = float64_formula(0.0371)
    fit = fit_fixed(f, lo, hi, low=-128, high=127)
    assert fit is not None
    assert_fits(f, fit, lo, hi)


def test_no_fit_exists():
    """Steps 10, 11, 20 wide are on no line; the same steps with the odd one clamped away are."""
    f = staircase(np.array([0, 10, 21, 41, 51]))
    assert fit_fixed(f, -5, 60, low=0, high=255) is None
    assert fit_fixed(lambda a: np.minimum(f(a), 3), -5, 60, low=0, high=3) is not None


@pytest.mark.parametrize("seed", range(4))
def test_fit_finds_a_line_exactly_when_one_exists(seed):
    """Small random staircases against a search of every rational slope and every offset."""
    rng = np.random.default_rng(seed)
    slopes = sorted({Fraction(p, q) for q in range(1, 24) for p in range(1, 2 * q)})
    found = 0
    for _ in range(40):
        edges = np.cumsum(rng.integers(2, 5, 4))
        f = staircase(edges)
        hi = int(edges[-1]) + int(rng.integers(0, 4))
        fit = fit_fixed(f, 0, hi, low=-10, high=10)
        y = f(np.arange(hi + 1))
        exists = any(
            max(Fraction(int(k)) - x * a for a, k in enumerate(y))
            < min(Fraction(int(k) + 1) - x * a for a, k in enumerate(y))
            for x in slopes
        )
        assert (fit is not None) == exists, (edges, hi)
        found += exists
    assert 0 < found < 40


def test_fit_respects_widths():
    f = float64_formula(0.3)
    fit = fit_fixed(
        f, -300, 300, low=-128, high=127, widths=RequantWidths(multiplier=16, accumulator=16)
    )
    assert fit is not None
    assert fit.multiplier < 1 << 15
    assert abs(fit.offset) < 1 << 31
    assert_fits(f, fit, -300, 300)
    widths = RequantWidths(multiplier=4)
    assert fit_fixed(f, -300, 300, low=-128, high=127, widths=widths) is None


def test_fit_rejects_codes_outside_of_the_clamp():
    with pytest.raises(ValueError, match=re.escape("f must be in [-8, 7], not -9 to 9")):
        fit_fixed(lambda a: a, -9, 9, low=-8, high=7)


def test_accumulator_range():
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, (3, 3, 4, 6))
    bias = rng.integers(-1000, 1000, 6)
    lo, hi = accumulator_range(weights, -128, 127, -5, bias)
    flat = weights.reshape(-1, 6)
    extreme = np.where(flat > 0, 127, -128)
    assert hi.tolist() == (((extreme + 5) * flat).sum(axis=0) + bias).tolist()
    opposite = np.where(flat > 0, -128, 127)
    assert lo.tolist() == (((opposite + 5) * flat).sum(axis=0) + bias).tolist()


def test_accumulator_range_of_a_wrapping_channel_is_int32():
    lo, hi = accumulator_range([[1, 1]], 0, 255, 0, [(1 << 31) - 100, (1 << 31) - 256])
    assert (lo[0], hi[0]) == (-(1 << 31), (1 << 31) - 1)
    assert (lo[1], hi[1]) == ((1 << 31) - 256, (1 << 31) - 1)
