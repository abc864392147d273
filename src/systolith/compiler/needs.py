"""What a core would need for a formula: widths of its requantizer, channel by channel."""

from collections.abc import Mapping

import numpy as np

from systolith.compiler.fit_fixed import Needs, fit_needs
from systolith.compiler.problem import Problem
from systolith.spec.accelerator import PostSpec
from systolith.spec.requant import FULL_WIDTHS, RequantMode, RequantWidths

__all__ = ["FITTED", "explain", "problem_needs"]

FITTED = (RequantMode.FIXED, RequantMode.MAGNITUDE)
"""Modes whose parameters are searched, the cheapest first."""


def problem_needs(problem: Problem, mode: RequantMode, accumulator: int = 32) -> Needs:
    """Return the least widths with which a mode of `FITTED` equals each channel's formula."""
    count = len(problem.bias)
    try:
        return fit_needs(
            problem.formula,
            problem.lo,
            problem.hi,
            low=problem.low,
            high=problem.high,
            mode=mode,
            accumulator=accumulator,
        )
    except ValueError:
        # The formula decreases somewhere: no mode does.
        return Needs(multiplier=np.zeros(count, np.int64), accumulator=np.full(count, 32))


def explain(problem: Problem, post: PostSpec, direct: RequantMode | None) -> tuple[str, str]:
    """Return why no mode of ``post`` computes a formula, and the least change that helps."""
    needs = {mode: problem_needs(problem, mode) for mode in FITTED}
    built = ", ".join(sorted(m.name.lower() for m in post.modes))
    reason = f"formula {problem.requant.formula!r} is not proven equal to any of the modes {built}"
    able = {mode: need for mode, need in needs.items() if bool(np.all(need.multiplier > 0))}
    here = {mode: need for mode, need in able.items() if mode in post.modes}
    if here:
        return _widen(reason, here, post)
    for mode in post.modes.intersection(needs):
        channel = int(np.argmin(needs[mode].multiplier > 0))
        reason += f"; channel {channel} equals {mode.name.lower()} at no width"
    if direct is not None and _fits(direct, post.widths):
        return reason, f"add {direct.name.lower()!r} to post.modes"
    if able:
        mode = min(able, key=lambda m: int(able[m].multiplier.max()))
        bits = int(able[mode].multiplier.max())
        return reason, f"add {mode.name.lower()!r} to post.modes{_at_least(bits, post)}"
    if direct is not None:
        bits = FULL_WIDTHS.least(direct)[0]
        return reason, f"add {direct.name.lower()!r} to post.modes{_at_least(bits, post)}"
    return reason, "use another profile, or give the layer other scales"


def _fits(mode: RequantMode, widths: RequantWidths) -> bool:
    multiplier, accumulator = widths.least(mode)
    return widths.multiplier >= multiplier and widths.accumulator >= accumulator


def _at_least(bits: int, post: PostSpec) -> str:
    """Return the condition on the multiplier's width if ``post`` does not meet it."""
    if bits <= post.multiplier_bits:
        return ""
    return f" and set post.multiplier_bits to at least {bits}"


def _widen(reason: str, able: Mapping[RequantMode, Needs], post: PostSpec) -> tuple[str, str]:
    """Name the channel that needs most of a mode that would do if it were wider."""
    mode = min(able, key=lambda m: int(able[m].multiplier.max()))
    needs, name = able[mode], mode.name.lower()
    channel = int(np.argmax(needs.multiplier))
    bits = int(needs.multiplier[channel])
    if bits > post.multiplier_bits:
        need = f"a multiplier of {bits} bits in mode {name}, not {post.multiplier_bits}"
        remedy = f"set post.multiplier_bits to at least {bits}"
    else:
        channel = int(np.argmax(needs.accumulator))
        bits = int(needs.accumulator[channel])
        need = f"an accumulator of {bits} bits in mode {name}, not {post.accumulator_bits}"
        remedy = f"set post.accumulator_bits to at least {bits}"
    return f"{reason}; channel {channel} needs {need}", remedy
