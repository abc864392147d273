"""Average pooling that is not one function of the integer sum, and the runtimes' mean."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.arithmetic import Codes, PoolArithmetic, Requant
from systolith.profiles.multipliers import quantize_multiplier

__all__ = [
    "average_pool_bounds",
    "average_window",
    "mean_double",
    "mean_xnnpack",
]

_F = np.float32
Int = NDArray[np.int64]


def average_window(codes: NDArray[Any], arithmetic: PoolArithmetic) -> Int:
    """Return onnxruntime's QLinearAveragePool of windows: float32 sum, one code after the other.

    Parameters
    ----------
    codes: ``[..., n]`` the valid codes of each window, row by row.
    arithmetic: of formula ``ort_average``.
    """
    source, _ = arithmetic.source
    requant = arithmetic.requants[codes.shape[-1]]
    values = (codes.astype(np.int64) - source.zero_point).astype(_F) * _F(source.scale)
    total = np.zeros(codes.shape[:-1], _F)
    for index in range(codes.shape[-1]):
        total = total + values[..., index]
    return _finish(total, requant)


def _finish(total: NDArray[np.float32], requant: Requant) -> Int:
    """Monotone in `total`: divide, quantize, clamp."""
    scaled = (total / _F(requant.divisor)) / _F(requant.output_scale)
    if requant.formula == "ort_mean":
        result = np.rint(scaled) + requant.zero_point
    else:
        result = np.rint(scaled + _F(requant.offset))
    answer: Int = np.clip(result, requant.low, requant.high).astype(np.int64)
    return answer


def average_pool_bounds(acc: ArrayLike, arithmetic: PoolArithmetic, count: int) -> tuple[Int, Int]:
    """Return the least and greatest code that any window of that sum can give.

    onnxruntime adds float32 values one by one, so the order of the codes may decide a tie. The
    sum's error is at most ``((1 + u)**(n + 1) - 1) * sum|x|``, u = 2**-24, in whatever order; all
    that follows is monotone. Two roundings more are for a division that multiplies by 1 / n.

    Parameters
    ----------
    acc: sums of ``x - zero_point``.
    arithmetic: of formula ``ort_average`` or ``ort_mean``.
    count: valid codes per window.
    """
    source, _ = arithmetic.source
    total = np.asarray(acc, np.float64)
    least = float(source.low - source.zero_point)
    spread = float(source.high - source.low)
    negatives = count - (total - count * least) / spread
    magnitude = np.abs(total - 2.0 * negatives * least)
    requant = arithmetic.requants[count]
    steps = count + (3 if requant.formula == "ort_mean" else 1)
    error = magnitude * source.scale * ((1.0 + 2.0**-24) ** steps - 1.0) * (1.0 + 2.0**-20)
    exact = total * source.scale
    low, high = (exact - error).astype(_F), (exact + error).astype(_F)
    return _finish(low, requant), _finish(high, requant)


def mean_double(source: Codes, out: Codes, count: int) -> Requant:
    """Return TFLite's reference MEAN over `count` codes: M1 with the multiplier divided by count.

    ``s = min(floor(log2 n), 32, 31 + shift); q' = (q << s) // n; shift' = shift - s``.
    """
    factor = np.float64(_F(source.scale)) / np.float64(_F(out.scale))
    q, shift = quantize_multiplier(factor)
    extra = np.minimum(min(count.bit_length() - 1, 32), 31 + shift)
    return Requant(
        formula="double",
        zero_point=out.zero_point,
        low=out.low,
        high=out.high,
        scale=np.atleast_1d(factor) / count,
        multiplier=(q << extra) // count,
        shift=shift - extra,
    )


def mean_xnnpack(source: Codes, out: Codes, count: int) -> Requant:
    """Return XNNPACK's MEAN over `count` codes; acc is the plain sum of codes."""
    scale = (_F(source.scale) / _F(out.scale)) * (_F(1) / _F(count))
    offset = _F(out.zero_point) - (_F(count) * _F(source.zero_point)) * scale
    return Requant(
        formula="xnn_mean",
        zero_point=0,
        low=out.low,
        high=out.high,
        scale=np.atleast_1d(scale),
        offset=float(offset),
    )
