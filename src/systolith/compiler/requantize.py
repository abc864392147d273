"""Which requantizer mode computes a layer's formula, and with which parameters."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.arithmetic import PoolArithmetic
from systolith.compiler.average import OPEN_SUMS, candidates, open_sums
from systolith.compiler.constants import ChannelParameters
from systolith.compiler.errors import layer_error
from systolith.compiler.fit import equal_on_range, mode_formula
from systolith.compiler.fit_fixed import fit_fixed_channels
from systolith.compiler.fit_line import FixedParameters
from systolith.compiler.nearest import nearest_requantizer
from systolith.compiler.needs import FITTED, explain
from systolith.compiler.problem import Problem, Proof, Requantizer, multiplier_width
from systolith.graph import Node
from systolith.profiles.formulas import wrap32
from systolith.profiles.multipliers import quantize_multiplier
from systolith.spec.accelerator import PostSpec
from systolith.spec.requant import RequantMode, RequantWidths

__all__ = [
    "average_problems",
    "average_requantizer",
    "choose_requantizer",
    "find_requantizer",
    "identity_requantizer",
]

Int64Array = NDArray[np.int64]
_Candidate = tuple[RequantMode, Int64Array, Int64Array, Int64Array]


def _full(value: NDArray[Any], count: int) -> Int64Array:
    return np.broadcast_to(np.asarray(value, np.int64), (count,)).copy()


def _double(multiplier: NDArray[Any], shift: NDArray[Any], count: int) -> _Candidate | None:
    """Parameters of the mode DOUBLE if they are in its domain."""
    inside = (multiplier >= 0) & (multiplier < 1 << 31) & (np.abs(shift) <= 31)
    if not np.all(inside):
        return None
    zeros = np.zeros(count, np.int64)
    return RequantMode.DOUBLE, _full(multiplier, count), _full(shift, count), zeros


def _float32(scale: NDArray[Any], count: int) -> _Candidate | None:
    """Parameters of the mode FLOAT32: a 24-bit significand and an exponent."""
    fraction, exponent = np.frexp(np.asarray(scale, np.float64))
    multiplier = np.ldexp(fraction, 24).astype(np.int64)
    shift = exponent.astype(np.int64) - 24
    if np.any(np.ldexp(fraction, 24) != multiplier):
        return None
    if np.any((multiplier < 1 << 23) | (shift < -128) | (shift > 127)):
        return None
    zeros = np.zeros(count, np.int64)
    return RequantMode.FLOAT32, _full(multiplier, count), _full(shift, count), zeros


def _fit(
    problem: Problem, lo: ArrayLike, hi: ArrayLike, mode: RequantMode, widths: RequantWidths
) -> list[FixedParameters] | None:
    """Fit every channel on its range, or None if one of them has no fit."""
    clamp = {"low": problem.low, "high": problem.high}
    try:
        fits = fit_fixed_channels(problem.formula, lo, hi, **clamp, mode=mode, widths=widths)
    except ValueError:
        return None  # not monotone on this range
    found = [fit for fit in fits if fit is not None]
    return found if len(found) == len(fits) else None


def _fixed(problem: Problem, mode: RequantMode, widths: RequantWidths) -> _Candidate | None:
    """Proven parameters of the mode FIXED or MAGNITUDE for every channel."""
    count = len(problem.bias)
    fits = None
    if problem.requant.channels == 1:
        # All channels have one formula: one proof over the union of their ranges serves all.
        fits = _fit(problem, problem.lo.min(), problem.hi.max(), mode, widths)
    fits = fits * count if fits else _fit(problem, problem.lo, problem.hi, mode, widths)
    if fits is None:
        return None
    rows = [(f.multiplier, f.shift, f.offset) for f in fits]
    multiplier, shift, offset = np.array(rows, np.int64).reshape(-1, 3).T
    return mode, multiplier.copy(), shift.copy(), offset.copy()


def _proves(problem: Problem, candidate: _Candidate) -> bool:
    """Whether a candidate agrees with the formula on every reachable accumulator."""
    mode, multiplier, shift, offset = candidate
    own = mode_formula(
        mode,
        multiplier=multiplier,
        shift=shift,
        offset=offset,
        low=problem.low,
        high=problem.high,
    )
    try:
        return bool(np.all(equal_on_range(problem.formula, own, problem.lo, problem.hi)))
    except ValueError:
        return False


def direct_mode(problem: Problem) -> RequantMode | None:
    """Return the mode that is the formula itself, if there is one."""
    direct = _direct(problem)
    return direct[0] if direct else None


def _direct(problem: Problem) -> _Candidate | None:
    """The mode that is the formula itself."""
    requant, count = problem.requant, len(problem.bias)
    if problem.function is not None:
        return None
    if requant.formula == "double":
        return _double(requant.multiplier, requant.shift, count)
    if requant.formula == "float32":
        return _float32(requant.scale, count)
    if requant.formula == "byte":
        # The shift to the left drops what lies above the byte; 2**7 brings it to the code's place.
        return _double(np.array([1 << 7]), 24 - requant.shift, count)
    return None


def _relative(problem: Problem, modes: frozenset[RequantMode]) -> _Candidate | None:
    """Another mode with the nearest parameters, if it is proven to agree."""
    scale, count = problem.requant.scale, len(problem.bias)
    candidates: list[_Candidate | None] = []
    if RequantMode.DOUBLE in modes:
        q, shift = quantize_multiplier(np.asarray(scale, np.float64))
        candidates.append(_double(q, shift, count))
    if RequantMode.FLOAT32 in modes:
        candidates.append(_float32(np.asarray(scale, np.float32), count))
    return next((c for c in candidates if c is not None and _proves(problem, c)), None)


def find_requantizer(
    problem: Problem, post: PostSpec, *, narrow: bool = False
) -> Requantizer | None:
    """Find the cheapest mode of ``post`` that computes the formula: itself, or proven equal.

    Formulas that the runtime itself does not always keep to may have the nearest line instead.
    If ``narrow``, parameters without an offset come first: they take half the external memory.
    """
    direct = _direct(problem)
    if direct is not None and direct[0] in post.modes:
        return _requantizer(problem, direct, proven=False)
    chosen = _relative(problem, post.modes) if narrow else None
    for mode in FITTED:
        if chosen is None and mode in post.modes:
            chosen = _fixed(problem, mode, post.widths)
    if chosen is None and not narrow:
        chosen = _relative(problem, post.modes)
    if chosen is None:
        return nearest_requantizer(problem, post)
    return _requantizer(problem, chosen, proven=True)


def _requantizer(problem: Problem, candidate: _Candidate, *, proven: bool) -> Requantizer:
    """Return a candidate with what is known of it."""
    mode, multiplier, shift, offset = candidate
    channels = ChannelParameters(
        bias=wrap32(problem.bias), multiplier=multiplier, offset=offset, shift=shift
    )
    requant = problem.requant
    proof = Proof(
        formula=requant.formula,
        mode=mode.name.lower(),
        bits=multiplier_width(mode, multiplier),
        channels=len(problem.bias),
        accumulators=problem.accumulators if proven else 0,
    )
    return Requantizer(
        mode=mode,
        channels=channels,
        zero=requant.zero_point,
        low=requant.low,
        high=requant.high,
        note=proof.text,
        proof=proof,
    )


def choose_requantizer(
    node: Node, problem: Problem, post: PostSpec, *, narrow: bool = False
) -> Requantizer:
    """Find a mode of ``post`` as :func:`find_requantizer` does.

    Raises
    ------
    CompileError: no mode there is can be proven equal; it names a channel and what would do.
    """
    found = find_requantizer(problem, post, narrow=narrow)
    if found is None:
        raise layer_error(node, *explain(problem, post, direct_mode(problem)))
    return found


_IDENTITY = {
    RequantMode.FIXED: (1, 0),
    RequantMode.MAGNITUDE: (1, 0),
    RequantMode.DOUBLE: (1 << 30, 1),
    RequantMode.FLOAT32: (1 << 23, -23),
}
"""Multiplier and shift with which a mode returns small accumulators unchanged."""


def identity_requantizer(count: int, low: int, high: int, post: PostSpec) -> Requantizer:
    """Return the stored value itself, clamped: ``(2*a*2**30 + 2**30) >> 31 == a`` for DOUBLE."""
    mode = next(m for m in _IDENTITY if m in post.modes)
    multiplier, shift = _IDENTITY[mode]
    zeros = np.zeros(count, np.int64)
    channels = ChannelParameters(
        bias=zeros, multiplier=zeros + multiplier, offset=zeros, shift=zeros + shift
    )
    return Requantizer(mode=mode, channels=channels, zero=0, low=low, high=high, note="direct")


def average_problems(
    node: Node, arithmetic: PoolArithmetic, count: int, channels: int
) -> tuple[list[Problem], str]:
    """Return what computes an average over ``count`` codes, any of it, and how near it comes.

    Raises
    ------
    CompileError: the order of the runtime's additions decides too many sums.
    """
    source, _ = arithmetic.source
    requant, zero = arithmetic.requants[count], arithmetic.input_zero_point
    lo, hi = ((v - zero) * count for v in (source.low, source.high))
    full = np.full(channels, 0, np.int64)
    problem = Problem(requant=requant, bias=full - zero * count, lo=full + lo, hi=full + hi)
    if requant.formula not in ("ort_average", "ort_mean"):
        return [problem], ""
    undecided, total = open_sums(arithmetic, count)
    if undecided > OPEN_SUMS * total:
        raise layer_error(
            node,
            f"the order of the runtime's float32 additions decides {undecided} of {total} sums",
            "use another profile, or end the network there",
        )
    problems = []
    for codes in candidates(arithmetic, count):
        table = codes - requant.zero_point

        def function(a: Int64Array, table: Int64Array = table) -> Int64Array:
            return table[np.clip(a - lo, 0, len(table) - 1)]

        problems.append(replace(problem, function=function))
    note = f"within one code on {undecided} of {total} sums: the runtime's float order decides"
    return problems, note if undecided else ""


def average_requantizer(
    node: Node, arithmetic: PoolArithmetic, count: int, channels: int, post: PostSpec
) -> Requantizer:
    """Find parameters for an average over ``count`` codes, the same for all channels.

    Raises
    ------
    CompileError: no mode there is can be proven equal.
    """
    problems, note = average_problems(node, arithmetic, count, channels)
    found = (find_requantizer(problem, post) for problem in problems)
    chosen = next((requantizer for requantizer in found if requantizer is not None), None)
    if chosen is None:
        return choose_requantizer(node, problems[0], post)
    return replace(chosen, note=f"{chosen.note}; {note}") if note else chosen
