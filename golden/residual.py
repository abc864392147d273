"""A requantized value plus another tensor's, each on its own scale, or times another's."""

import numpy as np
from numpy.typing import ArrayLike

from systolith.golden.rounding import ROUNDINGS, Int64Array, wrap
from systolith.spec.requant import ResidualRounding

__all__ = ["SUM_BITS", "residual_add", "residual_product"]

SUM_BITS = 48
"""Width of the weighted sum, which wraps."""


def residual_add(
    y: ArrayLike,
    r: ArrayLike,
    *,
    multiplier_y: int,
    multiplier_r: int,
    offset: int,
    shift: int,
    rounding: ResidualRounding,
    zero: int,
    low: int,
    high: int,
) -> Int64Array:
    """Add two quantized tensors as the hardware does.

    ``v = wrap48(y * multiplier_y + r * multiplier_r + offset)``;
    ``clamp(round(v, shift, rounding) + zero, low, high)``; int64, y and r broadcast.

    Parameters
    ----------
    y, r: integers of 9 bits (what int8 or uint8 codes stand for).
    multiplier_y, multiplier_r: int32.
    offset: 48-bit integer.
    shift: 0 to 47.
    rounding: how the shift rounds.
    zero, low, high: integers of 9 bits.

    Raises
    ------
    ValueError: if a parameter is outside of its range.
    """
    limits = {
        "multiplier_y": (multiplier_y, 32),
        "multiplier_r": (multiplier_r, 32),
        "offset": (offset, SUM_BITS),
        "zero": (zero, 9),
        "low": (low, 9),
        "high": (high, 9),
    }
    for name, (value, bits) in limits.items():
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise ValueError(f"{name} must be an integer of {bits} bits, not {value!r}")
    if not 0 <= shift < SUM_BITS:
        raise ValueError(f"shift must be in [0, {SUM_BITS - 1}], not {shift!r}")
    if low > high:
        raise ValueError(f"low must be at most high = {high!r}, not {low!r}")
    left = np.atleast_1d(np.asarray(y, np.int64)) * np.int64(multiplier_y)
    right = np.atleast_1d(np.asarray(r, np.int64)) * np.int64(multiplier_r)
    total = wrap(left + right + np.int64(offset), SUM_BITS)
    result = np.clip(ROUNDINGS[rounding](total, shift) + zero, low, high)
    return result.reshape(np.broadcast_shapes(np.shape(y), np.shape(r)))


def residual_product(
    y: ArrayLike,
    r: ArrayLike,
    *,
    zero_r: int,
    multiplier_y: int,
    multiplier_r: int,
    offset: int,
    shift: int,
    rounding: ResidualRounding,
    zero: int,
    low: int,
    high: int,
) -> Int64Array:
    """Multiply two quantized tensors as the hardware does.

    ``p = y * (r - zero_r)``; ``v = wrap48(p * multiplier_y + (p < 0) * multiplier_r + offset)``;
    then as `residual_add`; int64, y and r broadcast.

    Parameters
    ----------
    y: integers of 9 bits: a code without its zero point.
    r: integers of 9 bits.
    zero_r: zero point of ``r``, an integer of 9 bits.
    multiplier_y, multiplier_r, offset, shift, rounding, zero, low, high: as of `residual_add`.

    Raises
    ------
    ValueError: if a parameter is outside of its range.
    """
    if not -256 <= zero_r < 256:
        raise ValueError(f"zero_r must be an integer of 9 bits, not {zero_r!r}")
    product = np.asarray(y, np.int64) * (np.asarray(r, np.int64) - zero_r)
    return residual_add(
        product,
        product < 0,
        multiplier_y=multiplier_y,
        multiplier_r=multiplier_r,
        offset=offset,
        shift=shift,
        rounding=rounding,
        zero=zero,
        low=low,
        high=high,
    )
