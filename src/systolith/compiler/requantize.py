"""Which requantizer mode computes a layer's formula, and with which parameters."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.arithmetic import PoolArithmetic, Requant
from systolith.compiler.average import OPEN_SUMS, candidates, open_sums
from systolith.compiler.constants import ChannelParameters
from systolith.compiler.errors import layer_error
from systolith.compiler.fit import equal_on_range, fit_fixed_channels, mode_formula
from systolith.compiler.fit_line import FixedParameters
from systolith.errors import CompileError
from systolith.graph import Node
from systolith.profiles.formulas import requantize, wrap32
from systolith.profiles.multipliers import quantize_multiplier
from systolith.spec.requant import RequantMode

__all__ = [
    "Problem",
    "Requantizer",
    "average_requantizer",
    "choose_requantizer",
    "identity_requantizer",
]

Int64Array = NDArray[np.int64]
_Candidate = tuple[RequantMode, Int64Array, Int64Array, Int64Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantizer:
    """A mode with its parameters.

    Parameters
    ----------
    mode: the command's mode.
    channels: parameters per output channel.
    zero, low, high: the command's fields.
    note: how we know that it is the runtime's formula.
    """

    mode: RequantMode
    channels: ChannelParameters
    zero: int
    low: int
    high: int
    note: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What the requantizer of N channels must compute.

    Parameters
    ----------
    requant: the runtime's formula, clamp and zero point.
    bias: int64[N], zero point of the input folded in, int32 values.
    lo, hi: int64[N], reachable accumulators with bias.
    function: the formula, if it is not that of `requant` alone; without zero point.
    """

    requant: Requant
    bias: Int64Array
    lo: Int64Array
    hi: Int64Array
    function: Callable[[Int64Array], Int64Array] | None = None

    @property
    def low(self) -> int:
        """Lower clamp without zero point."""
        return self.requant.low - self.requant.zero_point

    @property
    def high(self) -> int:
        """Upper clamp without zero point."""
        return self.requant.high - self.requant.zero_point

    @property
    def accumulators(self) -> int:
        """Number of (channel, accumulator) cases."""
        return int((self.hi - self.lo + 1).sum())

    def formula(self, a: Int64Array) -> Int64Array:
        """The runtime's codes without zero point."""
        raw = self.function(a) if self.function else requantize(a, self.requant)
        return np.clip(raw, self.low, self.high)


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


def _fit(problem: Problem, lo: ArrayLike, hi: ArrayLike) -> list[FixedParameters] | None:
    """Fit every channel on its range, or None if one of them has no fit."""
    try:
        fits = fit_fixed_channels(problem.formula, lo, hi, low=problem.low, high=problem.high)
    except ValueError:
        return None  # not monotone on this range
    found = [fit for fit in fits if fit is not None]
    return found if len(found) == len(fits) else None


def _fixed(problem: Problem) -> _Candidate | None:
    """Proven parameters of the mode FIXED for every channel."""
    count = len(problem.bias)
    fits = None
    if problem.requant.channels == 1:
        # All channels have one formula: one proof over the union of their ranges serves all.
        fits = _fit(problem, problem.lo.min(), problem.hi.max())
    fits = fits * count if fits else _fit(problem, problem.lo, problem.hi)
    if fits is None:
        return None
    rows = [(f.multiplier, f.shift, f.offset) for f in fits]
    multiplier, shift, offset = np.array(rows, np.int64).reshape(-1, 3).T
    return RequantMode.FIXED, multiplier.copy(), shift.copy(), offset.copy()


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


def _direct(problem: Problem) -> _Candidate | None:
    """The mode that is the formula itself."""
    requant, count = problem.requant, len(problem.bias)
    if problem.function is not None:
        return None
    if requant.formula == "double":
        return _double(requant.multiplier, requant.shift, count)
    if requant.formula == "float32":
        return _float32(requant.scale, count)
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


def choose_requantizer(
    node: Node, problem: Problem, modes: frozenset[RequantMode], *, narrow: bool = False
) -> Requantizer:
    """Find a mode of ``modes`` that computes the formula: itself, or proven equal.

    If ``narrow``, parameters without an offset come first: they take half the external memory.

    Raises
    ------
    CompileError: no mode there is can be proven equal.
    """
    direct = _direct(problem)
    chosen, note = None, "direct"
    if direct is not None and direct[0] in modes:
        chosen = direct
    else:
        note = f"proven ({problem.accumulators} accumulators)"
        if narrow:
            chosen = _relative(problem, modes)
        if chosen is None and RequantMode.FIXED in modes:
            chosen = _fixed(problem)
        if chosen is None and not narrow:
            chosen = _relative(problem, modes)
    if chosen is None:
        built = ", ".join(sorted(m.name.lower() for m in modes))
        wanted = direct[0].name.lower() if direct else "fixed"
        raise layer_error(
            node,
            f"formula {problem.requant.formula!r} is not proven equal to any of the modes {built}",
            f"add {wanted!r} to post.modes"
            if RequantMode[wanted.upper()] not in modes
            else "use another profile, or give the layer other scales",
        )
    mode, multiplier, shift, offset = chosen
    channels = ChannelParameters(
        bias=wrap32(problem.bias), multiplier=multiplier, offset=offset, shift=shift
    )
    requant = problem.requant
    return Requantizer(
        mode=mode,
        channels=channels,
        zero=requant.zero_point,
        low=requant.low,
        high=requant.high,
        note=note,
    )


_IDENTITY = {
    RequantMode.FIXED: (1, 0),
    RequantMode.DOUBLE: (1 << 30, 1),
    RequantMode.FLOAT32: (1 << 23, -23),
}
"""Multiplier and shift with which a mode returns small accumulators unchanged."""


def identity_requantizer(
    count: int, low: int, high: int, modes: frozenset[RequantMode]
) -> Requantizer:
    """Return the stored value itself, clamped: ``(2*a*2**30 + 2**30) >> 31 == a`` for DOUBLE."""
    mode = next(m for m in _IDENTITY if m in modes)
    multiplier, shift = _IDENTITY[mode]
    zeros = np.zeros(count, np.int64)
    channels = ChannelParameters(
        bias=zeros, multiplier=zeros + multiplier, offset=zeros, shift=zeros + shift
    )
    return Requantizer(mode=mode, channels=channels, zero=0, low=low, high=high, note="direct")


def average_requantizer(
    node: Node,
    arithmetic: PoolArithmetic,
    count: int,
    channels: int,
    modes: frozenset[RequantMode],
) -> Requantizer:
    """Find parameters for an average over ``count`` codes, the same for all channels.

    Raises
    ------
    CompileError: no mode there is can be proven equal.
    """
    source, _ = arithmetic.source
    requant, zero = arithmetic.requants[count], arithmetic.input_zero_point
    lo, hi = ((v - zero) * count for v in (source.low, source.high))
    full = np.full(channels, 0, np.int64)
    problem = Problem(requant=requant, bias=full - zero * count, lo=full + lo, hi=full + hi)
    if requant.formula not in ("ort_average", "ort_mean"):
        return choose_requantizer(node, problem, modes)
    undecided, total = open_sums(arithmetic, count)
    if undecided > OPEN_SUMS * total:
        raise layer_error(
            node,
            f"the order of the runtime's float32 additions decides {undecided} of {total} sums",
            "use another profile, or end the network there",
        )
    failure: CompileError | None = None
    for codes in candidates(arithmetic, count):
        table = codes - requant.zero_point

        def function(a: Int64Array, table: Int64Array = table) -> Int64Array:
            return table[np.clip(a - lo, 0, len(table) - 1)]

        try:
            found = choose_requantizer(node, replace(problem, function=function), modes)
        except CompileError as error:
            failure = failure or error
            continue
        if not undecided:
            return found
        note = f"within one code on {undecided} of {total} sums: the runtime's float order decides"
        return replace(found, note=f"{found.note}; {note}")
    assert failure is not None
    raise failure
