"""float32 to codes and back, in integers, as `QuantizeForm` says; per tensor or per channel.

A float32 number is its 32 bits in an int64. Scales, inverses and zero points are integers or arrays
that broadcast against the numbers, so that the last axis can be the channel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.float32 import INFINITY, add, divide, multiply
from systolith.golden.rounding import Int64Array, bit_length, shift_half_away, shift_half_even, wrap
from systolith.spec.quantize import QuantizeForm, scale_fault, zero_fault

__all__ = ["dequantize_codes", "dynamic_quantize", "inverse_scale", "quantize_codes"]

Rounding: TypeAlias = Callable[[Int64Array, ArrayLike], Int64Array]
_MAGNITUDE = 0x7FFFFFFF
_BIAS = 150
"""Exponent field e and significand m, of 24 bits, stand for ``m * 2**(e - 150)``."""
_DIGITS = 36
"""Bits of a quotient's significand behind the point: more than enough to round by."""
_RANGE = 0x437F0000
"""255, the range of uint8 codes."""
_HUGE = np.int64(1 << 40)
"""An integer that stands for all that are beyond 32 bits."""


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """Numbers ``m * 2**e``; m is not negative, `negative` is their sign."""

    m: Int64Array
    e: Int64Array
    negative: NDArray[np.bool_]


def _split(bits: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return (m, e) of positive numbers."""
    field = bits >> 23
    normal = np.minimum(field, 1)
    return (bits & 0x7FFFFF) | normal << 23, field + (1 - normal) - _BIAS


def _float24(m: Int64Array) -> Int64Array:
    """Return m rounded to 24 significant bits, ties to even."""
    cut = np.maximum(bit_length(m) - 24, 0)
    half_less = (np.int64(1) << cut >> 1) - 1
    odd = m >> cut & 1
    return m + np.where(cut > 0, half_less + odd, 0) >> cut << cut


def _signed(x: _Numbers, whole: Int64Array) -> Int64Array:
    return np.where(x.negative, -whole, whole)


def _integers(x: _Numbers, m: Int64Array, e: Int64Array, rounding: Rounding) -> Int64Array:
    """Return the integer next to ``m * 2**e``, with x's sign; m is below 2**48."""
    return _signed(x, rounding(m << np.clip(e, 0, 12), np.clip(-e, 0, 61)))


def _divided(x: _Numbers, scale: Int64Array, rounding: Rounding) -> Int64Array:
    """Round F(x / s)."""
    n, f = _split(scale)
    digits, rest = np.divmod(x.m << _DIGITS, n)
    m, e = _float24(digits << 1 | (rest != 0)), x.e - f - (_DIGITS + 1)
    return _integers(x, m, e, rounding)


def _multiplied(x: _Numbers, inverse: Int64Array) -> Int64Array:
    """Round F(x * r), ties to even."""
    n, f = _split(inverse)
    return _integers(x, _float24(x.m * n), x.e + f, shift_half_even)


def _fused(x: _Numbers, inverse: Int64Array, zero: Int64Array) -> Int64Array:
    """Return ``half_even(F(x * r + zero)) - zero``."""
    n, f = _split(inverse)
    product, e = x.m * n, x.e + f
    # A product below 2**-2 cannot move the rounded sum: 50 places hold every other one's last bit.
    small, large = e < -50, (e > -36) & (product > 0)
    e = np.clip(e, -50, -36)
    total = _signed(x, product) + (zero << -e)
    whole = shift_half_even(_float24(np.abs(total)), -e)
    whole = np.where(total < 0, -whole, whole) - zero
    return np.where(small, 0, np.where(large, _signed(x, np.full_like(e, _HUGE)), whole))


def _add_zero(form: QuantizeForm, whole: Int64Array, zero: Int64Array) -> Int64Array:
    """Add the zero point, in 64 bits, or in x86's 32 where -2**31 stands for what is beyond."""
    if form is not QuantizeForm.DIVIDE_AWAY:
        return whole + zero
    limit = np.int64(1 << 31)
    return wrap(np.where(np.abs(whole) < limit, whole, -limit) + zero, 32)


_FORMS: Mapping[
    QuantizeForm, Callable[[_Numbers, Int64Array, Int64Array, Int64Array], Int64Array]
] = {
    QuantizeForm.DIVIDE_EVEN: lambda x, s, r, z: _divided(x, s, shift_half_even),
    QuantizeForm.DIVIDE_AWAY: lambda x, s, r, z: _divided(x, s, shift_half_away),
    QuantizeForm.MULTIPLY_EVEN: lambda x, s, r, z: _multiplied(x, r),
    QuantizeForm.FUSED_EVEN: lambda x, s, r, z: _fused(x, r, z),
}
"""``f(x, scale, inverse, zero)``: integers before zero point and clamp, for x that are not far."""


def inverse_scale(scale: ArrayLike) -> Int64Array:
    """Return the bits of F(1 / s)."""
    bits = np.asarray(scale, np.int64)
    return divide(np.full_like(bits, 127 << 23), bits)


def quantize_codes(
    bits: ArrayLike,
    form: QuantizeForm,
    scale: ArrayLike,
    zero: ArrayLike,
    *,
    low: int,
    high: int,
) -> Int64Array:
    """Return the codes of float32 numbers.

    Parameters
    ----------
    bits: the numbers' 32 bits, not negative.
    form: how.
    scale: bits of the scale, one or one a channel.
    zero: zero point, of scale's shape.
    low, high: of the codes.

    Raises
    ------
    ValueError: a scale or zero point that no runtime takes.
    """
    scales, zeros = _parameters(scale, zero, low, high)
    numbers = np.asarray(bits, np.int64)
    magnitude = numbers & _MAGNITUDE
    # Most numbers are far smaller or larger than any whose code is in doubt.
    apart = np.where(magnitude < INFINITY, (magnitude >> 23) - (scales >> 23), 255)
    whole = np.where(apart < 0, 0, np.where(numbers > _MAGNITUDE, -_HUGE, _HUGE))
    near = (apart >= -3) & (apart <= 34)
    if near.any():

        def chosen(array: Int64Array) -> Int64Array:
            return np.broadcast_to(array, near.shape)[near] if array.ndim else array

        m, e = _split(chosen(magnitude))
        x = _Numbers(m=m, e=e, negative=chosen(numbers) > _MAGNITUDE)
        near_scales = chosen(scales)
        whole[near] = _FORMS[form](x, near_scales, inverse_scale(near_scales), chosen(zeros))
    codes = np.clip(_add_zero(form, whole, zeros), low, high)
    return np.where(magnitude > INFINITY, _nan(form, zeros, low, high), codes)


def _nan(form: QuantizeForm, zero: Int64Array, low: int, high: int) -> Int64Array:
    """Return the code of NaN."""
    if form is QuantizeForm.DIVIDE_AWAY:
        return np.clip(_add_zero(form, np.full_like(zero, _HUGE), zero), low, high)
    return np.full_like(zero, low if form is QuantizeForm.DIVIDE_EVEN else high)


def dequantize_codes(codes: ArrayLike, scale: ArrayLike, zero: ArrayLike) -> Int64Array:
    """Return the bits of ``F(F(code - zero) * s)``; infinity where that is too large.

    Raises
    ------
    ValueError: a scale that no runtime takes, or codes more than 511 from the zero point.
    """
    scales, _ = _parameters(scale, 0, 0, 0)
    offset = np.asarray(codes, np.int64) - np.asarray(zero, np.int64)
    if offset.size and np.abs(offset).max() > 511:
        raise ValueError(f"codes must be at most 511 from the zero point, not {offset.max()}")
    magnitude = np.abs(offset)
    length = bit_length(np.maximum(magnitude, 1))
    # The significand's leading bit counts as one step of the exponent field.
    integer = np.where(magnitude == 0, 0, (length + 125 << 23) + (magnitude << 24 - length))
    return multiply(integer, scales) | np.where(offset < 0, np.int64(1 << 31), 0)


def _parameters(
    scale: ArrayLike, zero: ArrayLike, low: int, high: int
) -> tuple[Int64Array, Int64Array]:
    """Check scales and zero points."""
    scales, zeros = np.asarray(scale, np.int64), np.asarray(zero, np.int64)
    faults = [scale_fault(int(s)) for s in np.unique(scales)]
    faults += [zero_fault(int(z), low, high) for z in np.unique(zeros)]
    fault = next(filter(None, faults), None)
    if fault is not None:
        raise ValueError(fault)
    return scales, zeros


def dynamic_quantize(bits: ArrayLike) -> tuple[Int64Array, int, int]:
    """Return uint8 codes, bits of the scale and zero point, as ONNX's DynamicQuantizeLinear.

    Raises
    ------
    ValueError: infinities or NaN, or a range whose scale is infinite or subnormal.
    """
    numbers = np.asarray(bits, np.int64)
    magnitude = numbers & _MAGNITUDE
    if magnitude.size and magnitude.max() >= INFINITY:
        raise ValueError("numbers must be finite")
    negative = numbers > _MAGNITUDE
    largest, least = (np.array([magnitude[side].max(initial=0)]) for side in (~negative, negative))
    reach = add(largest, least)
    if reach[0] >= INFINITY:
        raise ValueError("the numbers' range must be finite")
    scale = divide(reach, np.array([_RANGE])) if reach[0] else np.array([127 << 23])
    m, e = _split(divide(least, scale))
    zero = min(int(shift_half_even(m, np.clip(-e, 0, 61))[0]), 255)
    codes = quantize_codes(numbers, QuantizeForm.DIVIDE_EVEN, scale, zero, low=0, high=255)
    return codes, int(scale[0]), zero
