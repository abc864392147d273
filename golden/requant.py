"""The requantizer: int32 accumulators to 8-bit codes, in the modes of the spec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from systolith.golden.rounding import (
    Int64Array,
    bit_length,
    shift_half_even,
    wrap,
)
from systolith.spec.requant import FULL_WIDTHS, RequantMode, RequantWidths

__all__ = ["MODES", "requantize"]

_CHUNK = 1 << 15
"""Values computed at a time: the int64 temporaries of a chunk stay in the level 2 cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parameters:
    """Per-channel parameters as int64 arrays which broadcast over the last axis, and widths."""

    multiplier: Int64Array
    shift: Int64Array
    offset: Int64Array
    widths: RequantWidths


def _double(a: Int64Array, p: _Parameters) -> Int64Array:
    """Rounding high half (half up), then a rounding shift (half away from zero)."""
    x = wrap(a << np.maximum(p.shift, 0), 32)
    high = (x * p.multiplier + (1 << 30)) >> np.int64(31)
    right = np.maximum(-p.shift, 0)
    mask = (np.int64(1) << right) - 1
    return (high >> right) + ((high & mask) > (mask >> np.int64(1)) + (high < 0))


def _float32(a: Int64Array, p: _Parameters) -> Int64Array:
    """``rint(float32(a) * scale)``: three roundings half to even, none of them in floating point.

    The last shift is clipped to [-15, 40]: a left shift makes at least 2**24, which every clamp
    saturates, and a product of 25 bits shifted right by 40 is 0, as by any larger number.
    """
    magnitude = np.abs(a)
    exponent = p.shift
    if magnitude.size and int(magnitude.max()) >> 24:
        surplus = np.maximum(bit_length(magnitude) - 24, 0)
        magnitude = shift_half_even(magnitude, surplus)
        exponent = exponent + surplus
    product = magnitude * p.multiplier
    surplus = np.maximum(bit_length(product) - 24, 0)
    product = shift_half_even(product, surplus)
    right = np.clip(-(exponent + surplus), -15, 40)
    rounded = shift_half_even(product << np.maximum(-right, 0), np.maximum(right, 0))
    return np.where(a < 0, -rounded, rounded)


def _fixed(a: Int64Array, p: _Parameters) -> Int64Array:
    """``(a * multiplier + offset) >> shift`` of the saturated a; the sum wraps at its width."""
    rail = 1 << (p.widths.accumulator - 1)
    x = np.clip(a, -rail, rail - 1) if p.widths.accumulator < 32 else a
    # At 64 bits int64 arrays wrap by themselves.
    return wrap(x * p.multiplier + p.offset, p.widths.sum) >> p.shift


def _magnitude(a: Int64Array, p: _Parameters) -> Int64Array:
    """FIXED on the saturated magnitude, with the sign of a."""
    x = np.minimum(np.abs(a), (1 << (p.widths.accumulator - 1)) - 1)
    y = wrap(x * p.multiplier + p.offset, p.widths.sum) >> p.shift
    # A sum of 64 bits with a shift of 0 may be -2**63, which has no opposite; it saturates, too.
    return np.where(a < 0, -np.maximum(y, -(1 << 62)), y)


MODES: Mapping[RequantMode, Callable[[Int64Array, _Parameters], Int64Array]] = {
    RequantMode.DOUBLE: _double,
    RequantMode.FLOAT32: _float32,
    RequantMode.FIXED: _fixed,
    RequantMode.MAGNITUDE: _magnitude,
}
"""What each mode computes before the zero point and the clamp."""

_DOMAINS: Mapping[RequantMode, tuple[tuple[int, int], tuple[int, int]]] = {
    RequantMode.DOUBLE: ((0, (1 << 31) - 1), (-31, 31)),
    RequantMode.FLOAT32: ((1 << 23, (1 << 24) - 1), (-128, 127)),
    RequantMode.FIXED: ((-(1 << 31), (1 << 31) - 1), (0, 63)),
    RequantMode.MAGNITUDE: ((-(1 << 31), (1 << 31) - 1), (0, 63)),
}
"""Inclusive ranges of multiplier and shift; `RequantWidths` may narrow the multiplier further."""


def requantize(
    acc: ArrayLike,
    *,
    mode: RequantMode,
    bias: ArrayLike,
    multiplier: ArrayLike,
    shift: ArrayLike,
    offset: ArrayLike = 0,
    zero_point: int,
    low: int,
    high: int,
    widths: RequantWidths = FULL_WIDTHS,
) -> Int64Array:
    """Turn accumulators into codes, exactly as the hardware does.

    ``clamp(y + zero_point, low, high)`` with y from ``a = wrap32(acc + bias)`` by the formula of
    :class:`~systolith.spec.requant.RequantMode`; int64, in the shape of ``acc``.

    Parameters
    ----------
    acc: integers of int32 range; channels are the last axis.
    mode: the formula.
    bias, multiplier, shift, offset: integers per channel, or one for all channels.
    zero_point, low, high: integers of 9 bits.
    widths: of the multiplication.

    Raises
    ------
    ValueError: if a parameter is outside of the mode's domain or does not fit in its width.
    """
    values = np.asarray(acc)
    if values.dtype.kind not in "iu":
        raise ValueError(f"acc must be an integer array, not {values.dtype.name!r}")
    _check_clamp(zero_point, low, high)
    rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    biases = _field("bias", bias, (-(1 << 31), (1 << 31) - 1))
    (least, most), shift_range = _DOMAINS[mode]
    half, rail = 1 << (widths.multiplier - 1), 1 << (widths.sum - 1)
    if mode in (RequantMode.DOUBLE, RequantMode.FLOAT32):
        rail = 1 << 63  # they use no offset
    parameters = _Parameters(
        multiplier=_field("multiplier", multiplier, (max(least, -half), min(most, half - 1))),
        shift=_field("shift", shift, shift_range),
        offset=_field("offset", offset, (-rail, rail - 1)),
        widths=widths,
    )
    result = np.empty(rows.shape, np.int64)
    step = max(1, _CHUNK // max(1, rows.shape[1]))
    for start in range(0, rows.shape[0], step):
        part = slice(start, start + step)
        y = MODES[mode](wrap(rows[part].astype(np.int64) + biases, 32), parameters)
        # Clamping first keeps `y + zero_point` inside int64 for every y.
        np.clip(y, low - zero_point, high - zero_point, out=result[part])
    result += zero_point
    return result.reshape(values.shape)


def _field(name: str, value: ArrayLike, limits: tuple[int, int]) -> Int64Array:
    """Check a per-channel parameter and return it as an int64 array of at least one axis."""
    array = np.atleast_1d(np.asarray(value))
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be an integer array, not {array.dtype.name!r}")
    if array.size and not limits[0] <= int(array.min()) <= int(array.max()) <= limits[1]:
        worst = int(array.min()) if int(array.min()) < limits[0] else int(array.max())
        raise ValueError(f"{name} must be in [{limits[0]}, {limits[1]}], not {worst!r}")
    return array.astype(np.int64)


def _check_clamp(zero_point: int, low: int, high: int) -> None:
    """Reject a zero point or clamp which is not of 9 bits, or an empty clamp."""
    for name, value in (("zero_point", zero_point), ("low", low), ("high", high)):
        if not -256 <= value <= 255:
            raise ValueError(f"{name} must be in [-256, 255], not {value!r}")
    if low > high:
        raise ValueError(f"low must be at most high = {high!r}, not {low!r}")
