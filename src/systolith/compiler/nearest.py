"""The nearest line to a requantizer that no line equals, and how often it differs.

PyTorch adds a float32 bias to the accumulator before it multiplies, and rounds at each step. Where
a rounding moves a threshold past an integer, no line with an integer accumulator follows. The line
through the most thresholds then misses the others by one accumulator, of the hundreds of thousands
between the first and the last code. This is for profiles with a `bound` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.compiler.constants import ChannelParameters
from systolith.compiler.fit import Formula, Steps, mode_formula, steps
from systolith.compiler.fit_line import FixedParameters
from systolith.compiler.problem import Problem, Requantizer
from systolith.profiles.formulas import wrap32
from systolith.spec.accelerator import PostSpec
from systolith.spec.requant import FULL_WIDTHS, RequantMode, RequantWidths

__all__ = ["APPROXIMATED", "Nearest", "nearest_fixed", "nearest_requantizer"]

APPROXIMATED = {"torch_fbgemm": 1e-5, "torch_float": 1e-5}
"""Formulas of which the nearest line is enough, and the share of accumulators that may differ:
PyTorch itself differs by as much between processors, and between orders of float additions."""

Int64Array = NDArray[np.int64]

_SLOPES = (0.0, 1.0, -1.0, 2.0, -2.0, 4.0, -4.0)
"""Relative changes of the slope that are tried, in units of 2**-26."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Nearest:
    """Parameters of the mode FIXED for every channel, and where they differ from the formula.

    Parameters
    ----------
    channels: the parameters.
    wrong: accumulators, of all channels, whose code is a neighbour of the formula's.
    between: accumulators between the first and the last step of the formula.
    """

    channels: Sequence[FixedParameters]
    wrong: int
    between: int


def nearest_requantizer(problem: Problem, post: PostSpec) -> Requantizer | None:
    """Return the nearest lines for a formula of `APPROXIMATED`, with a note of where they differ.

    None for other formulas, or if more accumulators than its share would differ, or by more than
    one code.
    """
    requant = problem.requant
    share = APPROXIMATED.get(requant.formula)
    if share is None or RequantMode.FIXED not in post.modes:
        return None
    slopes = requant.scale.astype(np.float64)
    if requant.formula == "torch_float":
        slopes = slopes / requant.output_scale
    clamp = {"low": problem.low, "high": problem.high}
    bounds = problem.lo, problem.hi
    near = nearest_fixed(problem.formula, *bounds, slopes, **clamp, widths=post.widths)
    if near is None or near.wrong > max(1, near.between * share):
        return None
    rows = np.array([(p.multiplier, p.shift, p.offset) for p in near.channels], np.int64).T.copy()
    return Requantizer(
        mode=RequantMode.FIXED,
        channels=ChannelParameters(
            bias=wrap32(problem.bias), multiplier=rows[0], shift=rows[1], offset=rows[2]
        ),
        zero=requant.zero_point,
        low=requant.low,
        high=requant.high,
        note=f"nearest: one code off on {near.wrong} of {near.between} accumulators between the "
        "rails",
    )


def nearest_fixed(
    f: Formula,
    lo: ArrayLike,
    hi: ArrayLike,
    slopes: ArrayLike,
    *,
    low: int,
    high: int,
    widths: RequantWidths = FULL_WIDTHS,
) -> Nearest | None:
    """Find lines that differ from a formula on as few accumulators as possible, by one code.

    Parameters
    ----------
    f: the formula, non-decreasing in each channel; its codes are inside of [low, high].
    lo, hi: inclusive ranges of the accumulators, one per channel.
    slopes: codes per accumulator, float64 per channel.
    low, high: the clamp without zero point.
    widths: of the multiplication.

    Returns
    -------
    None where the best line differs by more than one code.
    """
    own, bits = steps(f, lo, hi), widths.multiplier - 2
    slope = np.broadcast_to(np.asarray(slopes, np.float64), own.lo.shape)
    best: list[FixedParameters | None] = [None] * len(slope)
    least = np.full(len(slope), np.iinfo(np.int64).max)
    for change in _SLOPES:
        tried = [
            _line(*own.channel(index), each * (1.0 + change * 2.0**-26), int(own.base[index]), bits)
            for index, each in enumerate(slope)
        ]
        wrong = _wrong(own, tried, (low, high), widths)
        for index in np.flatnonzero(wrong < least):
            best[index], least[index] = tried[index], wrong[index]
    found = [each for each in best if each is not None]
    if len(found) != len(best):
        return None
    ends = [own.channel(index)[1] for index in range(len(slope))]
    between = sum(int(each[-1] - each[0]) for each in ends if len(each))
    return Nearest(channels=found, wrong=int(least.sum()), between=max(between, 1))


def _line(
    codes: Int64Array, thresholds: Int64Array, slope: float, base: int, bits: int
) -> FixedParameters:
    """Return the line of a slope that steps where the most thresholds are."""
    if not len(codes):
        return FixedParameters(multiplier=0, offset=base, shift=0)
    shift = min(bits - int(np.frexp(slope)[1]), bits + 22)
    multiplier = int(np.rint(np.ldexp(slope, shift)))
    # The offsets, in units of 2**-shift, with which the line first reaches code k at T: Python
    # integers would be exact beyond 64 bits, but the terms stay below 2**62 here.
    most = (codes << shift) - (thresholds - 1) * multiplier - 1
    first = (codes << shift) - thresholds * multiplier
    events = np.concatenate([first, most + 1])
    change = np.concatenate([np.ones(len(first), np.int64), -np.ones(len(most), np.int64)])
    order = np.lexsort((-change, events))
    covered = np.cumsum(change[order])
    place = int(np.argmax(covered))
    start = int(events[order][place])
    end = int(events[order][min(place + 1, len(order) - 1)])
    return FixedParameters(
        multiplier=multiplier, offset=(start + max(end - 1, start)) // 2, shift=shift
    )


def _wrong(
    own: Steps, lines: Sequence[FixedParameters], clamp: tuple[int, int], widths: RequantWidths
) -> Int64Array:
    """Return the accumulators per channel that differ by one code; a huge number if by more."""
    rows = np.array([(p.multiplier, p.shift, p.offset) for p in lines], np.int64).T
    g = mode_formula(
        RequantMode.FIXED,
        multiplier=rows[0],
        shift=rows[1],
        offset=rows[2],
        low=clamp[0],
        high=clamp[1],
        widths=widths,
    )
    try:
        other = steps(g, own.lo, own.hi)
    except ValueError:  # an offset beyond its width, or a sum that wraps
        return np.full(len(lines), np.iinfo(np.int64).max)
    codes = np.arange(min(own.first, other.first), max(map(_last, (own, other))) + 1)[:, None]
    a, b = _reached(codes, own), _reached(codes, other)
    total = np.abs(a - b).sum(axis=0)
    # Neighbours only: no accumulator is counted for two codes.
    both = np.maximum(a, b)[:-1] > np.minimum(a, b)[1:]
    answer: Int64Array = np.where(both.any(axis=0), np.iinfo(np.int64).max, total)
    return answer


def _last(found: Steps) -> int:
    """Return the last code that steps have a row for."""
    return int(found.first + len(found.thresholds) - 1)


def _reached(codes: Int64Array, found: Steps) -> Int64Array:
    """Return where each code is first reached: lo if it always is, hi + 1 if never."""
    rows = codes[:, 0] - found.first
    inside = (rows >= 0) & (rows < len(found.thresholds))
    result: Int64Array = np.where(codes <= found.base, found.lo, found.hi + 1)
    result[inside] = found.thresholds[rows[inside]]
    return result
