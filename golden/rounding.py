"""Integer shifts with rounding, two's complement wraps and bit lengths, on numpy arrays."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.spec.requant import ResidualRounding

__all__ = [
    "ROUNDINGS",
    "Int64Array",
    "bit_length",
    "shift_floor",
    "shift_half_away",
    "shift_half_even",
    "shift_near_even",
    "wrap",
]

Int64Array = NDArray[np.int64]


def wrap(value: Int64Array, bits: int) -> Int64Array:
    """Keep the low ``bits`` of an int64 array as a two's complement number (1 <= bits <= 64)."""
    spare = np.int64(64 - bits)
    return (value << spare) >> spare


def bit_length(value: Int64Array) -> Int64Array:
    """Return the number of significant bits of each non-negative int64 (0 for 0)."""
    rest = value.copy()
    length = np.zeros(value.shape, np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        jump = (rest >> np.int64(step) != 0).astype(np.int64) * np.int64(step)
        length += jump
        rest >>= jump
    return length + rest


def shift_floor(value: Int64Array, shift: ArrayLike) -> Int64Array:
    """Return ``floor(value / 2**shift)``."""
    return value >> np.asarray(shift, np.int64)


def shift_half_away(value: Int64Array, shift: ArrayLike) -> Int64Array:
    """Return ``value / 2**shift`` rounded to the nearest integer, ties away from zero.

    ``sign(v) * ((abs(v) + 2**(shift-1)) >> shift)``, and ``v`` where shift is 0.
    Defined for abs(value) < 2**62, shift in [0, 62].
    """
    n = np.asarray(shift, np.int64)
    half = (np.int64(1) << n) >> np.int64(1)
    return np.sign(value) * ((np.abs(value) + half) >> n)


def shift_half_even(value: Int64Array, shift: ArrayLike) -> Int64Array:
    """Return ``value / 2**shift`` rounded to the nearest integer, ties to even.

    With ``q = v >> shift`` and ``rest = v - (q << shift)``, in [0, 2**shift) for either sign, the
    result is ``q + (2*rest + (q & 1) > 2**shift)``: above half always, at half when q is odd.
    Defined for abs(value) < 2**61, shift in [0, 61].
    """
    n = np.asarray(shift, np.int64)
    quotient = value >> n
    rest = value - (quotient << n)
    return quotient + (2 * rest + (quotient & 1) > (np.int64(1) << n))


def shift_near_even(value: Int64Array, shift: ArrayLike) -> Int64Array:
    """Return `shift_half_even` of ``value`` without its bits more than 16 below the unit.

    Defined for abs(value) < 2**61, shift in [0, 61].
    """
    n = np.asarray(shift, np.int64)
    seen = np.minimum(n, 16)
    return shift_half_even(value >> (n - seen), seen)


ROUNDINGS: Mapping[ResidualRounding, Callable[[Int64Array, ArrayLike], Int64Array]] = {
    ResidualRounding.FLOOR: shift_floor,
    ResidualRounding.HALF_AWAY: shift_half_away,
    ResidualRounding.HALF_EVEN: shift_half_even,
    ResidualRounding.NEAR_EVEN: shift_near_even,
}
"""How each rounding of the spec divides by a power of two."""
