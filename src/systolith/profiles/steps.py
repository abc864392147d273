"""QONNX's float arithmetic, and the integer thresholds that a chain of it amounts to."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import (
    FloatQuantizeArithmetic,
)
from systolith.float_steps import (
    FloatOutputArithmetic,
    FloatStep,
    FloatSums,
    Quantizer,
)

__all__ = [
    "affine",
    "apply_steps",
    "fall_with",
    "float_outputs",
    "monotone_thresholds",
    "quantize_floats",
    "quantizer_codes",
    "round_to_integer",
    "sum_values",
]

Int = NDArray[np.int64]
Float = NDArray[np.float32]

_STEPS: Mapping[str, Callable[[Float, Float], Any]] = MappingProxyType(
    {
        "mul": lambda x, c: x * c,
        "add": lambda x, c: x + c,
        "sub": lambda x, c: x - c,
        "rsub": lambda x, c: c - x,
        "div": lambda x, c: x / c,
        "least": lambda x, c: np.maximum(x, c),
        "most": lambda x, c: np.minimum(x, c),
        "rint": lambda x, c: np.rint(x),
    }
)

_ROUNDINGS: Mapping[str, Callable[[Float], Any]] = MappingProxyType(
    {
        "ROUND": np.rint,
        "HALF_EVEN": np.rint,
        "CEIL": np.ceil,
        "FLOOR": np.floor,
        "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
        "DOWN": np.trunc,
        # The sum is rounded to float32 before the floor, as in the runtime.
        "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)),
        "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)),
        "BIPOLAR": lambda x: np.where(x >= 0, np.float32(1), np.float32(-1)),
        "SIGN": np.sign,
    }
)

_FAR = 1 << 40
"""Beyond every sum: the threshold of a code that is always, or never, reached."""


def apply_steps(value: NDArray[Any], steps: Sequence[FloatStep]) -> Float:
    """Return float32 `value` (channels in the last axis) after elementwise steps."""
    result = np.asarray(value, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in steps:
            result = _STEPS[step.op](result, step.operand)
    return result


def round_to_integer(value: Float, rounding: str) -> Float:
    """Return float32 `value` rounded by a mode of QONNX, by its name."""
    answer: Float = _ROUNDINGS[rounding](np.asarray(value, np.float32))
    return answer


def quantizer_codes(value: NDArray[Any], quantizer: Quantizer) -> Int:
    """Return the codes of float32 `value`, channels in the last axis; NaN has the least code."""
    real = apply_steps(value, quantizer.steps)
    if quantizer.rounding == "THRESHOLDS":
        reached = real[..., None] >= quantizer.thresholds
        count = np.count_nonzero(reached, axis=-1).astype(np.int64)
        return quantizer.first + quantizer.unit * count
    if quantizer.rounding not in ("BIPOLAR", "SIGN"):
        real = np.where(np.isnan(real), np.float32(quantizer.low), real)
        real = np.clip(real, np.float32(quantizer.low), np.float32(quantizer.high))
    return round_to_integer(real, quantizer.rounding).astype(np.int64)


def quantize_floats(value: NDArray[Any], arithmetic: FloatQuantizeArithmetic) -> Int:
    """Return the codes of a float32 input."""
    return quantizer_codes(apply_steps(value, arithmetic.steps), arithmetic.quantizer)


def sum_values(sums: NDArray[Any], base: FloatSums, side: int = 0) -> Float:
    """Return what integer sums are worth; `side` -1 and 1 are the least and greatest it may be."""
    real = np.asarray(sums, np.int64).astype(np.float64) * base.unit
    return (real + side * base.noise).astype(np.float32)


def float_outputs(
    codes: Sequence[NDArray[Any]], arithmetic: FloatOutputArithmetic, side: int = 0
) -> Float:
    """Return a float32 output of one tensor of codes, or of high and low bytes of sums.

    Parameters
    ----------
    codes: canonical; the high bytes' first channels belong to the low ones.
    side: as in `sum_values`.
    """
    total = codes[-1].astype(np.int64)
    if len(codes) > 1:
        total = total + 256 * codes[0][..., : total.shape[-1]].astype(np.int64)
    sums = sum_values(total - arithmetic.offset, arithmetic.sums, side)
    return apply_steps(sums, arithmetic.steps)


def affine(
    steps: Sequence[FloatStep], unit: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factor and constant of a chain on ``unit * sum``, its bounds and roundings left out.

    Parameters
    ----------
    unit: float64 per channel.
    """
    slope, offset = unit.astype(np.float64), np.zeros_like(unit, np.float64)
    for step in steps:
        c = step.operand.astype(np.float64)
        if step.op in ("mul", "div"):
            gain = c if step.op == "mul" else 1 / c
            slope, offset = slope * gain, offset * gain
        elif step.op == "rsub":
            slope, offset = -slope, c - offset
        elif step.op in ("add", "sub"):
            offset = offset + (c if step.op == "add" else -c)
    return slope, offset


def fall_with(steps: Sequence[FloatStep], channels: int) -> NDArray[np.bool_]:
    """Say for each channel whether a chain falls where its input rises (0 falls nowhere)."""
    falls = np.zeros(channels, bool)
    for step in steps:
        if step.op in ("mul", "div"):
            falls ^= np.broadcast_to(step.operand, (channels,)) < 0
        elif step.op == "rsub":
            falls = ~falls
    return falls


def monotone_thresholds(
    function: Callable[[Int], Int], lo: Int, hi: Int, codes: tuple[int, int]
) -> Int:
    """Return the least sum that reaches each code above the least one, int64 [codes, channels].

    Parameters
    ----------
    function: codes of sums [N, channels]; must not decrease. A composition of float32 operations
        that are each monotone is: rounding is monotone as well.
    lo, hi: reachable sums of each channel, inclusive.
    codes: least and greatest code. Codes that `function` leaves out share the next one's
        threshold; those always reached have a threshold below all sums, and those never, above.

    Raises
    ------
    ValueError: the function decreases, or leaves the codes.
    """
    first, last = function(lo[None])[0], function(hi[None])[0]
    if np.any(first > last):
        raise ValueError("the function must not decrease")
    if first.min() < codes[0] or last.max() > codes[1]:
        raise ValueError(f"codes must be {codes[0]} to {codes[1]}, not {first.min()}, {last.max()}")
    levels = np.arange(codes[0] + 1, codes[1] + 1, dtype=np.int64)[:, None]
    # Invariant: function(below) < level <= function(above), minus and plus infinity outside.
    below = np.broadcast_to(lo - 1, (len(levels), len(lo))).copy()
    above = np.broadcast_to(hi + 1, below.shape).copy()
    while np.any(above - below > 1):
        middle = (below + above) >> 1
        open_ = above - below > 1
        reached = function(np.clip(middle, lo, hi)) >= levels
        above = np.where(open_ & reached, middle, above)
        below = np.where(open_ & ~reached, middle, below)
    return np.where(above <= lo, -_FAR, np.where(above > hi, _FAR, above))
