"""The search for parameters of FIXED and MAGNITUDE that equal a formula, and for least widths."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.compiler.fit import Formula, Steps, agrees, mode_formula, steps
from systolith.compiler.fit_line import FixedParameters, Line, Side
from systolith.spec.requant import FULL_WIDTHS, RequantMode, RequantWidths

__all__ = ["FixedParameters", "Needs", "fit_fixed", "fit_fixed_channels", "fit_needs"]

Int64Array = NDArray[np.int64]


def fit_fixed(
    f: Formula,
    lo: int,
    hi: int,
    *,
    low: int,
    high: int,
    mode: RequantMode = RequantMode.FIXED,
    widths: RequantWidths = FULL_WIDTHS,
) -> FixedParameters | None:
    """Find parameters of FIXED or MAGNITUDE which agree with one channel's formula, or None.

    See :func:`fit_fixed_channels`.
    """
    return fit_fixed_channels(f, lo, hi, low=low, high=high, mode=mode, widths=widths)[0]


def fit_fixed_channels(
    f: Formula,
    lo: ArrayLike,
    hi: ArrayLike,
    *,
    low: int,
    high: int,
    mode: RequantMode = RequantMode.FIXED,
    widths: RequantWidths = FULL_WIDTHS,
) -> list[FixedParameters | None]:
    """Find for each channel parameters of FIXED or MAGNITUDE which agree with its formula.

    The mode equals ``f(a)`` for every a in [lo, hi], proven with the golden requantizer at every
    threshold. None where no multiplier of that width separates f's steps; multipliers are never
    negative.

    Parameters
    ----------
    f: the formula; its codes are inside of [low, high].
    lo, hi: inclusive ranges of the accumulators with bias, one per channel.
    low, high: the clamp without zero point (``low - zero_point`` of the command).
    mode, widths: what is built.

    Raises
    ------
    ValueError: if a range is empty, f decreases, or f exceeds the clamp.
    """
    own = steps(f, lo, hi)
    fits = [
        line.fit(widths.multiplier - 1, widths.sum) if line else None
        for line in _lines(f, own, (low, high), mode, widths.accumulator)
    ]
    rows = [(t.multiplier, t.shift, t.offset) if t else (0, 0, 0) for t in fits]
    multiplier, shift, offset = np.array(rows, np.int64).T
    proof = mode_formula(
        mode, multiplier=multiplier, shift=shift, offset=offset, low=low, high=high, widths=widths
    )
    proven = _equals(f, own, proof)
    return [fit if fine else None for fit, fine in zip(fits, proven.tolist(), strict=True)]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Needs:
    """The least widths with which a mode equals C formulas, see `RequantWidths`.

    Parameters
    ----------
    multiplier: int64[C], 0 where no width will do.
    accumulator: int64[C].
    """

    multiplier: Int64Array
    accumulator: Int64Array


def fit_needs(
    f: Formula,
    lo: ArrayLike,
    hi: ArrayLike,
    *,
    low: int,
    high: int,
    mode: RequantMode = RequantMode.FIXED,
    accumulator: int = 32,
) -> Needs:
    """Find the least widths with which FIXED or MAGNITUDE can equal each channel's formula.

    Parameters are those of :func:`fit_fixed_channels`; the multipliers' widths are those for
    accumulators saturated to ``accumulator`` bits.

    Raises
    ------
    ValueError: as :func:`fit_fixed_channels`.
    """
    own = steps(f, lo, hi)
    found = [
        None if line is None else line.bits()
        for line in _lines(f, own, (low, high), mode, accumulator)
    ]
    multiplier = [0 if bits is None or bits > 31 else bits + 1 for bits in found]
    return Needs(multiplier=np.array(multiplier, np.int64), accumulator=_accumulator_bits(own))


def _real_steps(own: Steps) -> NDArray[np.bool_]:
    """Which thresholds are steps inside of the range; bool[levels, C]."""
    return (own.thresholds > own.lo) & (own.thresholds <= own.hi)


def _accumulator_bits(own: Steps) -> Int64Array:
    """Widths to which accumulators can be saturated without losing a step; int64[C]."""
    real = _real_steps(own)
    # Both sides of a step, T - 1 and T, must stay apart, their magnitudes too.
    reach = np.where(real, np.maximum(np.abs(own.thresholds), np.abs(own.thresholds - 1)), 0)
    most = reach.max(axis=0, initial=0)
    return np.array([int(v).bit_length() + 1 for v in most], np.int64)


def _lines(
    f: Formula, own: Steps, clamp: tuple[int, int], mode: RequantMode, accumulator: int
) -> list[Line | None]:
    """Return each channel's line, None where saturating the accumulator loses a step."""
    if own.base.min() < clamp[0] or own.top.max() > clamp[1]:
        raise ValueError(
            f"f must be in [{clamp[0]}, {clamp[1]}],"
            f" not {int(own.base.min())!r} to {int(own.top.max())!r}"
        )
    rail = 1 << (accumulator - 1)
    lo, hi = np.clip(own.lo, -rail, rail - 1), np.clip(own.hi, -rail, rail - 1)
    zero, minus = (f(np.clip(v, own.lo, own.hi)[None])[0] for v in (0, -1))
    needed, real = _accumulator_bits(own), _real_steps(own)
    result: list[Line | None] = []
    for c in range(len(lo)):
        if needed[c] > accumulator:
            result.append(None)
            continue
        at = own.thresholds[real[:, c], c]
        steps_c = np.stack([at, np.flatnonzero(real[:, c]) + own.first], axis=1)
        ends, codes = (int(lo[c]), int(hi[c])), (int(own.base[c]), int(own.top[c]))
        if mode is RequantMode.FIXED:
            result.append(Line(Side(domain=ends, codes=codes, thresholds=steps_c, clamp=clamp)))
        else:
            near = int(zero[c]), int(minus[c])
            result.append(Line(*_sides(ends, codes, near, steps_c, clamp, rail - 1)))
    return result


def _sides(
    ends: tuple[int, int],
    codes: tuple[int, int],
    near: tuple[int, int],
    steps_c: Int64Array,
    clamp: tuple[int, int],
    most: int,
) -> list[Side]:
    """Return the steps of a formula over its argument's magnitude, for either sign it has.

    Parameters
    ----------
    ends, codes: range of the argument, and codes there.
    near: codes at 0 and at -1, if they are in the range.
    steps_c: thresholds and codes.
    clamp: inclusive range of codes.
    most: the greatest magnitude.
    """
    at = steps_c[:, 0]
    sides = []
    if ends[1] >= 0:
        domain = max(ends[0], 0), min(ends[1], most)
        start = near[0] if ends[0] < 0 else codes[0]
        rows = steps_c[at > domain[0]]
        sides.append(Side(domain=domain, codes=(start, codes[1]), thresholds=rows, clamp=clamp))
    if ends[0] < 0:
        # Minus the formula, over minus the argument: from k - 1 to k at T is from -k to 1 - k.
        domain = max(-ends[1], 1), min(-ends[0], most)
        start = -near[1] if ends[1] >= 0 else -codes[1]
        rows = 1 - steps_c[at <= -domain[0]]
        mirrored = (-clamp[1], -clamp[0])
        sides.append(Side(domain=domain, codes=(start, -codes[0]), thresholds=rows, clamp=mirrored))
    return sides


def _equals(f: Formula, own: Steps, g: Formula) -> NDArray[np.bool_]:
    """Whether g, monotone below 0 and from 0 on, equals f, whose steps are ``own``; bool[C]."""
    equal = agrees(own, g)
    for end in (own.lo, own.hi, np.clip(0, own.lo, own.hi), np.clip(-1, own.lo, own.hi)):
        equal &= f(end[None])[0] == g(end[None])[0]
    return equal
