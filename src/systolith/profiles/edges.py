"""float32 to codes and back, where a network begins and ends."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes, DequantizeArithmetic, QuantizeArithmetic
from systolith.profiles.binary import fma32
from systolith.profiles.multipliers import half_away

__all__ = ["QUANTIZE_FORMULAS", "dequantize_codes", "quantize_codes"]

Int = NDArray[np.int64]
_F = np.float32


def _bounded(value: NDArray[np.float32], out: Codes, nan: int) -> Int:
    """Round half to even inside the dtype's range; NaN becomes the code `nan`."""
    low, high = out.low - out.zero_point, out.high - out.zero_point
    value = np.where(np.isnan(value), _F(nan - out.zero_point), value)
    return np.rint(np.clip(value, low, high)).astype(np.int64) + out.zero_point


def _onnxruntime(value: NDArray[np.float32], out: Codes) -> Int:
    """True division, clamp, half to even, zero point."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _bounded(value / _F(out.scale), out, out.low)


def _tflite_reference(value: NDArray[np.float32], out: Codes) -> Int:
    """``half_away(float32(x / s)) + zero_point``; beyond int32 it is INT32_MIN (x86's cast)."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = half_away(value / _F(out.scale))
    inside = np.abs(rounded) < 2.0**31
    whole = np.where(inside, rounded, -(2.0**31)).astype(np.int64)
    wrapped = ((whole + out.zero_point + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    answer: Int = np.clip(wrapped, out.low, out.high)
    return answer


def _xnnpack(value: NDArray[np.float32], out: Codes) -> Int:
    """``rint(float32(x * float32(1 / s)))``, clamped, zero point; NaN as x86's minimum has it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _bounded(value * (_F(1) / _F(out.scale)), out, out.high)


def _torch(value: NDArray[np.float32], out: Codes) -> Int:
    """``rint(fma(x, float32(1 / s), zero_point))``, clamped; beyond int32, and NaN, the least."""
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = _F(1) / _F(out.scale)
        near = np.clip(np.where(np.isnan(value), _F(0), value), -1e30, 1e30).astype(_F)
        rounded = np.rint(fma32(near, inverse, _F(out.zero_point)))
        outside = np.isnan(value) | (np.abs(rounded) >= 2.0**31)
    answer: Int = np.clip(np.where(outside, out.low, rounded), out.low, out.high).astype(np.int64)
    return answer


QUANTIZE_FORMULAS: Mapping[str, Callable[[NDArray[np.float32], Codes], Int]] = MappingProxyType(
    {
        "onnxruntime": _onnxruntime,
        "tflite_reference": _tflite_reference,
        "xnnpack": _xnnpack,
        "torch": _torch,
    }
)
"""``f(x, codes)``: the runtime's codes, int64."""


def quantize_codes(value: NDArray[Any], arithmetic: QuantizeArithmetic) -> Int:
    """Return the runtime's codes for float32 `value`."""
    array = np.asarray(value, np.float32)
    return QUANTIZE_FORMULAS[arithmetic.formula](array, arithmetic.out)


def dequantize_codes(codes: NDArray[Any], arithmetic: DequantizeArithmetic) -> NDArray[np.float32]:
    """Return ``float32(float32(code - zero_point) * scale)``."""
    offset = (np.asarray(codes, np.int64) - arithmetic.codes.zero_point).astype(np.float32)
    return offset * _F(arithmetic.codes.scale)
