"""IEEE 754 binary32 arithmetic on bit patterns, in integers: numbers that are finite, not negative.

A number is its 32 bits in an int64. Every operation is exact, then rounded once to nearest, ties to
even; subnormal numbers are kept, results too large become infinity, which no operation takes.
"""

from collections.abc import Callable

import numpy as np

from systolith.golden.rounding import Int64Array, bit_length, shift_half_even

__all__ = ["INFINITY", "add", "divide", "multiply", "to_integer"]

INFINITY = 0xFF << 23
"""The bits of infinity; those of a number are less."""

_LEAST = -149
"""Exponent of the last bit of subnormal numbers."""
_SPARE = 31
"""Bits that an addition keeps below the larger operand: more than enough to round by."""


def _parts(bits: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return (m, e) with value m * 2**e."""
    field, fraction = bits >> 23, bits & 0x7FFFFF
    return np.where(field == 0, fraction, fraction | 1 << 23), np.maximum(field, 1) + (_LEAST - 1)


def _pack(m: Int64Array, e: Int64Array) -> Int64Array:
    """Return m * 2**e rounded, for m in [0, 2**61)."""
    cut = np.maximum(bit_length(m) - 24, _LEAST - e)
    kept = shift_half_even(m, np.clip(cut, 0, 61)) << np.clip(-cut, 0, 24)
    # The leading bit of m counts as one exponent step, also where rounding made it a power of two.
    bits = ((e + cut - _LEAST) << 23) + kept
    return np.where(m == 0, 0, np.minimum(bits, INFINITY))


def add(a: Int64Array, b: Int64Array) -> Int64Array:
    """Return a + b."""
    large, small = np.maximum(a, b), np.minimum(a, b)
    (m, e), (n, f) = _parts(large), _parts(small)
    wide = n << _SPARE
    apart = np.minimum(e - f, 62)
    shifted = wide >> apart
    # What the shift lost lies below every bit that rounding looks at: one bit stands for it.
    lost = (shifted << apart != wide).astype(np.int64)
    return _pack((m << _SPARE) + (shifted | lost), e - _SPARE)


def multiply(a: Int64Array, b: Int64Array) -> Int64Array:
    """Return a * b."""
    (m, e), (n, f) = _parts(a), _parts(b)
    return _pack(m * n, e + f)


def divide(a: Int64Array, b: Int64Array) -> Int64Array:
    """Return a / b, for b > 0."""
    (m, e), (n, f) = _parts(a), _parts(b)
    lift, drop = 24 - bit_length(m), 24 - bit_length(n)
    quotient, rest = np.divmod(m << (lift + 36), n << drop)
    return _pack(quotient | (rest != 0), e - lift - 36 - f + drop)


def to_integer(
    a: Int64Array, rounding: Callable[[Int64Array, Int64Array], Int64Array]
) -> Int64Array:
    """Return a rounded to an integer by a shift of `golden.rounding`; at least 2**30 if larger."""
    m, e = _parts(a)
    return rounding(m << np.clip(e, 0, 31), np.clip(-e, 0, 61))
