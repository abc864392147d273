"""How each runtime turns float32 scales into the factor of its requantizer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SCALE_RULES", "activation_limits", "half_away", "quantize_multiplier"]

ScaleRule = Callable[[ArrayLike, ArrayLike, ArrayLike], NDArray[np.floating[Any]]]


def half_away(value: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Round to the nearest integer, ties away from zero, exactly (C's ``round``)."""
    whole = np.trunc(value)
    answer: NDArray[np.floating[Any]] = whole + np.sign(value) * (np.abs(value - whole) >= 0.5)
    return answer


def quantize_multiplier(factor: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``(q, shift)`` with ``factor ~= q * 2**(shift - 31)``, q in [2**30, 2**31) or 0.

    TFLite's QuantizeMultiplier: q is rounded half away from zero; a factor below 2**-32 is 0.

    Parameters
    ----------
    factor: real; any shape. A negative one has a negative q.
    """
    fraction, exponent = np.frexp(np.atleast_1d(np.asarray(factor, np.float64)))
    q = half_away(fraction * 2.0**31).astype(np.int64)
    shift = exponent.astype(np.int64)
    carry = q == 1 << 31
    q, shift = np.where(carry, q >> 1, q), shift + carry
    tiny, huge = (shift < -31) | (q == 0), shift > 30
    q = np.where(tiny, 0, np.where(huge, (1 << 31) - 1, q))
    return q, np.where(tiny, 0, np.where(huge, 30, shift))


def _double_product(x: ArrayLike, w: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """``double(x) * double(w) / double(y)``."""
    product = np.atleast_1d(np.asarray(x, np.float64) * np.asarray(w, np.float64))
    return product / np.asarray(y, np.float64)


def _single_product(x: ArrayLike, w: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """``double(float32(x * w)) / double(y)``."""
    product = np.atleast_1d(np.asarray(x, np.float32) * np.asarray(w, np.float32))
    return product.astype(np.float64) / np.asarray(y, np.float64)


def _single(x: ArrayLike, w: ArrayLike, y: ArrayLike) -> NDArray[np.float32]:
    """``float32(float32(x * w) / y)``."""
    product = np.atleast_1d(np.asarray(x, np.float32) * np.asarray(w, np.float32))
    return (product / np.asarray(y, np.float32)).astype(np.float32)


def _single_inverse(x: ArrayLike, w: ArrayLike, y: ArrayLike) -> NDArray[np.float32]:
    """``float32(float32(x * w) * float32(1 / y))``."""
    product = np.atleast_1d(np.asarray(x, np.float32) * np.asarray(w, np.float32))
    return (product * (np.float32(1) / np.asarray(y, np.float32))).astype(np.float32)


SCALE_RULES: Mapping[str, ScaleRule] = MappingProxyType(
    {
        "double_product": _double_product,
        "single_product": _single_product,
        "single": _single,
        "single_inverse": _single_inverse,
    }
)
"""Effective scale from the scales of input, weights (per channel) and output, by rule."""


_BOUNDS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "none": (),
        "relu": (0.0,),
        "relu6": (0.0, 6.0),
        "relu_n1_to_1": (-1.0, 1.0),
        "relu_0_to_1": (0.0, 1.0),
    }
)


def activation_limits(
    activation: str, scale: float, zero_point: int, low: int, high: int
) -> tuple[int, int]:
    """Return a fused activation's clamp: ``zero_point + half_away(float32(v / scale))``.

    Parameters
    ----------
    activation: none, relu, relu6, relu_n1_to_1 or relu_0_to_1.
    scale, zero_point: of the output.
    low, high: the dtype's range.
    """
    codes = [
        zero_point + int(half_away(np.asarray(np.float32(bound) / np.float32(scale))))
        for bound in _BOUNDS[activation]
    ]
    if codes:
        low = max(low, codes[0])
    if len(codes) > 1:
        high = min(high, codes[1])
    return low, high
