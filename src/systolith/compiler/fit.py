"""Proofs that two requantizers agree.

A requantizer is a non-decreasing step function of its accumulator with at most 511 steps, so it is
determined by its thresholds: where it first reaches each code. Bisection finds them, and comparing
them decides equality on every integer of a range, however wide. A *formula* below is a callable
which maps int64 arrays element by element, channels in the last axis, to int64 codes without zero
point; it must be non-decreasing in each channel.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.requant import requantize
from systolith.spec.requant import FULL_WIDTHS, RequantMode, RequantWidths

__all__ = [
    "Formula",
    "Steps",
    "accumulator_range",
    "agrees",
    "equal_on_range",
    "mode_formula",
    "steps",
]

Int64Array = NDArray[np.int64]
Formula = Callable[[Int64Array], Int64Array]

_INT32 = (-(1 << 31), (1 << 31) - 1)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Steps:
    """The thresholds of C formulas on their ranges.

    Parameters
    ----------
    lo, hi: inclusive ranges of the accumulators, int64[C].
    base, top: codes at both ends, int64[C].
    first: the code which row 0 of ``thresholds`` belongs to.
    thresholds: int64[levels, C]; row i has the smallest accumulator whose code is at least
        ``first + i``: ``lo`` if all are, ``hi + 1`` if none is.
    """

    lo: Int64Array
    hi: Int64Array
    base: Int64Array
    top: Int64Array
    first: int
    thresholds: Int64Array

    def channel(self, index: int) -> tuple[Int64Array, Int64Array]:
        """Return the codes which channel ``index`` steps up to, and their thresholds."""
        codes = np.arange(self.base[index] + 1, self.top[index] + 1)
        return codes, self.thresholds[codes - self.first, index]


def mode_formula(
    mode: RequantMode,
    *,
    multiplier: ArrayLike,
    shift: ArrayLike,
    offset: ArrayLike = 0,
    low: int,
    high: int,
    widths: RequantWidths = FULL_WIDTHS,
) -> Formula:
    """Return what the hardware computes from ``acc + bias`` in a mode, before the zero point.

    Parameters
    ----------
    mode, multiplier, shift, offset: as :func:`systolith.golden.requant.requantize` takes them.
    low, high: the clamp without zero point.
    widths: of the multiplication.
    """

    def code(a: Int64Array) -> Int64Array:
        return requantize(
            a,
            mode=mode,
            bias=0,
            multiplier=multiplier,
            shift=shift,
            offset=offset,
            zero_point=0,
            low=low,
            high=high,
            widths=widths,
        )

    return code


def steps(f: Formula, lo: ArrayLike, hi: ArrayLike) -> Steps:
    """Find every threshold of every channel at once by bisection.

    Parameters
    ----------
    f: the formula.
    lo, hi: inclusive ranges, one per channel or one number for a single channel.

    Raises
    ------
    ValueError: if a range is empty, or f decreases between its ends.
    """
    low, high = (np.atleast_1d(np.asarray(v, np.int64)) for v in (lo, hi))
    if np.any(low > high):
        raise ValueError(f"lo must be at most hi = {high.tolist()!r}, not {low.tolist()!r}")
    base, top = f(low[None])[0], f(high[None])[0]
    if np.any(base > top):
        raise ValueError(
            f"f must be non-decreasing, not {int(base.max())!r} at lo and {int(top.min())!r} at hi"
        )
    first = int(base.min()) + 1
    levels = np.arange(first, int(top.max()) + 1)[:, None]
    # Invariant: f(below) < level <= f(above), where f is -inf below lo and +inf above hi.
    below = np.broadcast_to(low - 1, (len(levels), len(low))).copy()
    above = np.broadcast_to(high + 1, below.shape).copy()
    for _ in range(int((high - low + 2).max()).bit_length()):
        middle = (below + above) >> 1
        reached = f(np.clip(middle, low, high)) >= levels
        # Where the interval is closed the middle is `below`, outside of the range or decided.
        closed = middle == below
        above = np.where(reached & ~closed, middle, above)
        below = np.where(reached, below, middle)
    return Steps(lo=low, hi=high, base=base, top=top, first=first, thresholds=above)


def equal_on_range(f: Formula, g: Formula, lo: ArrayLike, hi: ArrayLike) -> NDArray[np.bool_]:
    """Decide for each channel whether f and g agree on every integer in [lo, hi]; bool[C]."""
    own = steps(f, lo, hi)
    ends = (own.base == g(own.lo[None])[0]) & (own.top == g(own.hi[None])[0])
    return ends & agrees(own, g)


def agrees(own: Steps, g: Formula) -> NDArray[np.bool_]:
    """Whether g steps where ``own`` does: two evaluations a threshold, no second bisection."""
    levels = own.first + np.arange(len(own.thresholds))[:, None]
    at = np.minimum(own.thresholds, own.hi)
    before = np.maximum(own.thresholds - 1, own.lo)
    reached = (g(at) >= levels) | (own.thresholds > own.hi)
    missed = (g(before) < levels) | (own.thresholds <= own.lo)
    return np.all(reached & missed, axis=0)


def accumulator_range(
    weights: ArrayLike, x_low: int, x_high: int, x_zero: int, bias: ArrayLike
) -> tuple[Int64Array, Int64Array]:
    """Return the least and largest ``sum((x - x_zero) * w) + bias`` of each channel.

    Worst case over independent inputs x in [x_low, x_high]; two int64[C]. A channel whose sum can
    leave int32 gets the whole of int32, as the wrapped sum may be anything.

    Parameters
    ----------
    weights: integers [..., C] without their zero point.
    x_low, x_high, x_zero: range and zero point of the input codes.
    bias: integers, one per channel.
    """
    w = np.asarray(weights, np.int64)
    w = w.reshape(-1, w.shape[-1])
    ends = w * np.int64(x_low - x_zero), w * np.int64(x_high - x_zero)
    lo = np.minimum(*ends).sum(axis=0) + np.asarray(bias, np.int64)
    hi = np.maximum(*ends).sum(axis=0) + np.asarray(bias, np.int64)
    wraps = (lo < _INT32[0]) | (hi > _INT32[1])
    return np.where(wraps, _INT32[0], lo), np.where(wraps, _INT32[1], hi)
