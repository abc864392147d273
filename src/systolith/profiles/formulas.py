"""The runtimes' requantization formulas, exact and vectorised: accumulator to integer.

Equation numbers M1, M2, M4 are those of docs/arithmetic.md. Nothing here is shared with the
golden model: that the hardware's modes equal these functions is proven, not assumed.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.arithmetic import Requant
from systolith.profiles.multipliers import half_away

__all__ = [
    "REQUANT_FORMULAS",
    "high_mul",
    "multiply_by_quantized_multiplier",
    "requantize",
    "requantize_codes",
    "rounding_divide_by_pot",
    "wrap32",
]

Int = NDArray[np.int64]


def wrap32(value: ArrayLike) -> Int:
    """Wrap to int32 in two's complement (result in int64)."""
    half = 1 << 31
    return ((np.asarray(value, np.int64) + half) & 0xFFFFFFFF) - half


def rounding_divide_by_pot(value: Int, exponent: ArrayLike) -> Int:
    """``value / 2**exponent`` rounded half away from zero; exponent in 0..31."""
    exponent = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (value < 0)
    answer: Int = (value >> exponent) + ((value & mask) > threshold)
    return answer


def high_mul(a: Int, b: ArrayLike) -> Int:
    """Saturating rounding doubling high multiplication of int32: ``a * b / 2**31``, half up."""
    b = np.asarray(b, np.int64)
    product = (a * b + (1 << 30)) >> 31
    answer: Int = np.minimum(product, (1 << 31) - 1)
    return answer


def multiply_by_quantized_multiplier(value: Int, q: ArrayLike, shift: ArrayLike) -> Int:
    """M1: ``value * q * 2**(shift - 31)`` with the two roundings of TFLite's reference kernels."""
    shift = np.asarray(shift, np.int64)
    shifted = wrap32(np.asarray(value, np.int64) << np.maximum(shift, 0))
    return rounding_divide_by_pot(high_mul(shifted, q), np.maximum(-shift, 0))


def _integers(value: NDArray[np.floating[Any]]) -> Int:
    """Convert integral floats, saturated far outside every clamp."""
    answer: Int = np.clip(value, -(2.0**40), 2.0**40).astype(np.int64)
    return answer


def _double(acc: Int, r: Requant) -> Int:
    return multiply_by_quantized_multiplier(acc, r.multiplier, r.shift)


def _upward(acc: Int, r: Requant) -> Int:
    right: Int = np.asarray(np.maximum(-r.shift, 0), np.int64)
    half: Int = np.asarray((np.int64(1) << right) >> 1, np.int64)
    high = high_mul(wrap32(acc << np.maximum(r.shift, 0)), r.multiplier)
    answer: Int = (high + half) >> right
    return answer


def _float32(acc: Int, r: Requant) -> Int:
    with np.errstate(over="ignore"):
        product = acc.astype(np.float32) * np.asarray(r.scale, np.float32)
    return _integers(np.rint(product))


def _f64away(acc: Int, r: Requant) -> Int:
    return _integers(half_away(acc.astype(np.float64) * np.asarray(r.scale, np.float64)))


def _divide(acc: Int, r: Requant) -> Int:
    answer: Int = np.sign(acc) * ((np.abs(acc) + r.divisor // 2) // r.divisor)
    return answer


def _xnn_mean(acc: Int, r: Requant) -> Int:
    product = acc.astype(np.float32) * np.asarray(r.scale, np.float32)
    return _integers(np.rint(product + np.float32(r.offset)))


def _ort_average(acc: Int, r: Requant) -> Int:
    total = (acc.astype(np.float64) * r.scale.astype(np.float64)).astype(np.float32)
    mean = total / np.float32(r.divisor)
    return _integers(np.rint(mean / np.float32(r.output_scale) + np.float32(r.offset)))


def _ort_mean(acc: Int, r: Requant) -> Int:
    total = (acc.astype(np.float64) * r.scale.astype(np.float64)).astype(np.float32)
    mean = total / np.float32(r.divisor)
    return _integers(np.rint(mean / np.float32(r.output_scale)))


def _torch_fbgemm(acc: Int, r: Requant) -> Int:
    biased = (acc - r.whole).astype(np.float32) + r.addend
    return _integers(np.rint(biased * np.asarray(r.scale, np.float32)))


def _torch_float(acc: Int, r: Requant) -> Int:
    value = (acc - r.whole).astype(np.float32) * np.asarray(r.scale, np.float32) + r.addend
    return _integers(np.rint(value * (np.float32(1) / np.float32(r.output_scale))))


def _byte(acc: Int, r: Requant) -> Int:
    half = np.int64(128) << r.shift
    low = ((acc + half) & (2 * half - 1)) - half
    answer: Int = (low + ((np.int64(1) << r.shift) >> 1)) >> r.shift
    return answer


def _thresholds(acc: Int, r: Requant) -> Int:
    steps = np.asarray(r.thresholds, np.int64)
    if len(steps) <= 16:
        answer: Int = r.low + (acc[..., None, :] >= steps).sum(axis=-2, dtype=np.int64)
        return answer
    flat = acc.reshape(-1, acc.shape[-1])
    columns = np.broadcast_to(steps, (len(steps), flat.shape[1]))
    counts = [np.searchsorted(columns[:, i], flat[:, i], "right") for i in range(flat.shape[1])]
    return r.low + np.stack(counts, axis=-1).reshape(acc.shape)


REQUANT_FORMULAS: Mapping[str, Callable[[Int, Requant], Int]] = MappingProxyType(
    {
        "double": _double,
        "upward": _upward,
        "float32": _float32,
        "f64away": _f64away,
        "divide": _divide,
        "xnn_mean": _xnn_mean,
        "ort_average": _ort_average,
        "ort_mean": _ort_mean,
        "torch_fbgemm": _torch_fbgemm,
        "torch_float": _torch_float,
        "byte": _byte,
        "thresholds": _thresholds,
    }
)
"""``f(acc, requant)``: int64 before zero point and clamp; the last axis of acc is the channel."""


def requantize(acc: ArrayLike, requant: Requant) -> Int:
    """Return ``formula(wrap32(acc))``: int64, before zero point and clamp.

    Parameters
    ----------
    acc: integers; the last axis is the output channel unless the requantizer has one channel.
    requant: formula and parameters.
    """
    return REQUANT_FORMULAS[requant.formula](wrap32(acc), requant)


def requantize_codes(acc: ArrayLike, requant: Requant) -> Int:
    """Return ``clamp(requantize(acc) + zero_point, low, high)``: the runtime's output codes."""
    return np.clip(requantize(acc, requant) + requant.zero_point, requant.low, requant.high)
