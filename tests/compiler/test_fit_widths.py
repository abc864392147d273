"""compiler.fit_fixed: MAGNITUDE, saturated accumulators and least widths, against exhaustion."""

import numpy as np
import pytest

from systolith.compiler.fit import equal_on_range, mode_formula
from systolith.compiler.fit_fixed import fit_fixed, fit_fixed_channels, fit_needs
from systolith.profiles.multipliers import quantize_multiplier
from systolith.spec.requant import RequantMode, RequantWidths

FIXED, MAGNITUDE = RequantMode.FIXED, RequantMode.MAGNITUDE


def double_formula(scales, low=-128, high=127):
    """TFLite's two roundings, which no single line of steps has on both sides of 0."""
    multiplier, shift = quantize_multiplier(scales)
    return mode_formula(RequantMode.DOUBLE, multiplier=multiplier, shift=shift, low=low, high=high)


def assert_equal(f, fit, lo, hi, mode, widths, low=-128, high=127):
    """Compare on all integers of the range."""
    a = np.arange(lo, hi + 1)[:, None]
    own = mode_formula(
        mode,
        multiplier=fit.multiplier,
        shift=fit.shift,
        offset=fit.offset,
        low=low,
        high=high,
        widths=widths,
    )
    assert np.array_equal(f(a), own(a))


@pytest.mark.parametrize("seed", range(4))
def test_magnitude_equals_double_rounding_where_fixed_cannot(seed):
    rng = np.random.default_rng(seed)
    scales = np.exp2(rng.uniform(-11, -4, 20))
    hi, lo = rng.integers(20_000, 90_000, 20), -rng.integers(20_000, 90_000, 20)
    f = double_formula(scales)
    fits = fit_fixed_channels(f, lo, hi, low=-128, high=127, mode=MAGNITUDE)
    for c, fit in enumerate(fits):
        assert fit is not None
        one = double_formula(scales[c : c + 1])
        assert_equal(one, fit, int(lo[c]), int(hi[c]), MAGNITUDE, RequantWidths())
    fixed = fit_fixed_channels(f, lo, hi, low=-128, high=127)
    assert sum(fit is not None for fit in fixed) < 4


@pytest.mark.parametrize("mode", [FIXED, MAGNITUDE])
@pytest.mark.parametrize(
    ("lo", "hi"), [(-9000, 9000), (3, 9000), (0, 9000), (-9000, -2), (-9000, 0), (-1, 1), (7, 7)]
)
def test_ranges_on_either_side_of_zero(mode, lo, hi):
    """FIXED fits where one sign is reachable or clamped away, MAGNITUDE everywhere."""
    f = double_formula([0.0173])
    widths = RequantWidths(multiplier=24, accumulator=24)
    fit = fit_fixed(f, lo, hi, low=-128, high=127, mode=mode, widths=widths)
    if fit is None:
        assert mode is FIXED and lo < -1000 and hi > 1000
    else:
        assert_equal(f, fit, lo, hi, mode, widths)


def brute_force(f, lo, hi, bits, mode, widths, low, high):
    """Whether any parameters with a multiplier below 2**bits agree on the whole range."""
    a = np.arange(lo, hi + 1)[:, None]
    wanted = f(a)[:, 0]
    # The parameters of all channels at once; offsets that matter are within a code of the line.
    for shift in range(8):
        multiplier = np.arange(1 << bits)
        for offset in range(-(3 << shift), 4 << shift, 1):
            own = mode_formula(
                mode,
                multiplier=multiplier,
                shift=shift,
                offset=offset,
                low=low,
                high=high,
                widths=widths,
            )
            if (own(np.broadcast_to(a, (len(a), len(multiplier)))) == wanted[:, None]).all(0).any():
                return True
    return False


@pytest.mark.parametrize("mode", [FIXED, MAGNITUDE])
@pytest.mark.parametrize("seed", range(3))
def test_least_widths_are_least(mode, seed):
    """One bit fewer, and no multiplier, shift and offset whatever does it."""
    rng = np.random.default_rng(seed)
    scale = float(rng.uniform(0.1, 0.4))
    f = double_formula([scale], -3, 3)
    needs = fit_needs(f, -25, 25, low=-3, high=3, mode=mode)
    bits = int(needs.multiplier[0])
    if not bits:
        assert mode is FIXED
        return
    wide, narrow = RequantWidths(multiplier=bits), RequantWidths(multiplier=bits - 1)
    fit = fit_fixed(f, -25, 25, low=-3, high=3, mode=mode, widths=wide)
    assert fit is not None and fit.multiplier < 1 << (bits - 1)
    assert fit_fixed(f, -25, 25, low=-3, high=3, mode=mode, widths=narrow) is None
    assert not brute_force(f, -25, 25, bits - 2, mode, RequantWidths(), -3, 3)


@pytest.mark.parametrize("mode", [FIXED, MAGNITUDE])
def test_accumulators_saturate_where_no_step_is_left(mode):
    f = double_formula([0.013], 0, 255)
    lo, hi = -400_000, 400_000
    needs = fit_needs(f, lo, hi, low=0, high=255, mode=mode)
    # The last step is at 254.5 / 0.013 = 19 577, which takes 16 bits.
    assert needs.accumulator.tolist() == [16]
    narrow = RequantWidths(multiplier=24, accumulator=16)
    fit = fit_fixed(f, lo, hi, low=0, high=255, mode=mode, widths=narrow)
    assert fit is not None
    assert_equal(f, fit, lo, hi, mode, narrow, 0, 255)
    less = RequantWidths(multiplier=24, accumulator=15)
    assert fit_fixed(f, lo, hi, low=0, high=255, mode=mode, widths=less) is None


def test_proofs_see_the_sign_of_zero():
    """A formula that steps between -1 and 0 is no magnitude's unless its sides agree."""
    lo, hi = np.array([-50]), np.array([50])

    def f(a):
        return np.where(a < 0, -1, 1) * ((np.abs(a) + 8) >> 3)

    fit = fit_fixed(f, -50, 50, low=-128, high=127, mode=MAGNITUDE)
    assert fit is not None and fit.offset >> fit.shift >= 0
    assert_equal(f, fit, -50, 50, MAGNITUDE, RequantWidths())
    own = mode_formula(MAGNITUDE, multiplier=1, shift=3, offset=8, low=-128, high=127)
    assert equal_on_range(f, own, lo, hi).tolist() == [True]
    skew = fit_fixed(lambda a: f(a) + (a < -20), -50, 50, low=-128, high=127, mode=MAGNITUDE)
    assert skew is None
