"""Tables of 256 bytes: every unary operator on codes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes
from systolith.profiles import unary
from systolith.profiles.binary import code_values
from systolith.profiles.formulas import high_mul, wrap32
from systolith.profiles.formulas import multiply_by_quantized_multiplier as mbqm
from systolith.profiles.libm import expf, sigmoidf, tanhf
from systolith.profiles.multipliers import half_away, quantize_multiplier

__all__ = ["LUT_FORMULAS", "build_lut", "prelu_lut"]

Int = NDArray[np.int64]
_F = np.float32
LutFormula = Callable[[Int, Codes, Codes, float], Int]
_FAR = 2.0**30
"""Beyond every clamp."""
_XNNPACK_FACTORS = (2.0**-8, 2.0**7)
"""Ratios of scales that XNNPACK's leaky ReLU takes."""


def _real(x: Int, source: Codes) -> NDArray[np.float32]:
    return (x - source.zero_point).astype(_F) * _F(source.scale)


def _tflite_float(function: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> LutFormula:
    """LiteRT's LUTPopulate: ``half_away(f(x) * float32(1 / scale)) + zero_point``."""

    def formula(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
        value = function(_real(x, source)) * (_F(1) / _F(out.scale))
        bounded = half_away(np.clip(value, -_FAR, _FAR))
        return bounded.astype(np.int64) + out.zero_point

    return formula


def _xnnpack_float(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> LutFormula:
    """XNNPACK's tables: the function in float64, half to even with the zero point inside."""

    def formula(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
        value = function(_real(x, source).astype(np.float64))
        return np.rint(value / float(_F(out.scale)) + out.zero_point).astype(np.int64)

    return formula


def _onnxruntime_float(
    function: Callable[[NDArray[np.float32], float], NDArray[np.float32]],
) -> LutFormula:
    """onnxruntime's tables: quantize(f(dequantize(x))), clamped before the zero point."""

    def formula(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
        value = function(_real(x, source), alpha) / _F(out.scale)
        answer: Int = np.rint(value).astype(np.int64) + out.zero_point
        return answer

    return formula


def _sigmoid_symmetric(value: NDArray[np.float32], _: float) -> NDArray[np.float32]:
    """``exp(-|x|) / (1 + exp(-|x|))``, mirrored: onnxruntime's stable sigmoid."""
    small = expf(-np.abs(value))
    low = small / (_F(1) + small)
    return np.where(value < 0, low, _F(1) - low).astype(_F)


def _leaky(value: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    return np.where(value >= 0, value, value * _F(alpha)).astype(_F)


def _tflite_requantize(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """M1 by ``source.scale / out.scale`` (QUANTIZE of codes, RELU)."""
    factor = quantize_multiplier(float(_F(source.scale)) / float(_F(out.scale)))
    return mbqm(x - source.zero_point, *factor) + out.zero_point


def _upward_requantize(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """M1 whose second rounding is half up: vectors of LiteRT's optimised kernels."""
    q, shift = quantize_multiplier(float(_F(source.scale)) / float(_F(out.scale)))
    product = high_mul(wrap32((x - source.zero_point) << np.maximum(shift, 0)), q)
    right = np.asarray(np.maximum(-shift, 0), np.int64)
    half = np.asarray((1 << right) >> 1, np.int64)
    answer: Int = np.asarray((product + half) >> right, np.int64) + out.zero_point
    return answer


def _xnnpack_requantize(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """8-bit multiplier, half up (XNNPACK's convert)."""
    factor = int(np.rint(_F(256) * (_F(source.scale) / _F(out.scale))))
    offset = (out.zero_point << 8) - factor * source.zero_point + 128
    return (offset + x * factor) >> 8


def _onnxruntime_requantize(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """``quantize(dequantize(x))`` (QLinearConcat's inputs, DequantizeLinear + QuantizeLinear)."""
    answer: Int = np.rint(_real(x, source) / _F(out.scale)).astype(np.int64) + out.zero_point
    return answer


def _tflite_leaky(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """M1 with one multiplier for each sign."""
    ratio = float(_F(source.scale)), float(_F(out.scale))
    value = x - source.zero_point
    rising = mbqm(value, *quantize_multiplier(ratio[0] / ratio[1]))
    slope = float(_F(alpha))
    falling = mbqm(value, *quantize_multiplier(ratio[0] * slope / ratio[1]))
    return np.where(value >= 0, rising, falling) + out.zero_point


def _xnnpack_leaky(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """8-bit multipliers, half up; LiteRT's own kernel where XNNPACK does not take the scales."""
    rising = _F(source.scale) / _F(out.scale)
    falling = rising * _F(alpha)
    least, most = _XNNPACK_FACTORS
    if not (least <= rising <= most and abs(falling) >= least and -most < falling <= most):
        return _tflite_leaky(x, source, out, alpha)
    factors = [int(np.rint(_F(256) * factor)) for factor in (rising, falling)]
    value = x - source.zero_point
    scaled = np.where(value >= 0, value * factors[0], value * factors[1])
    return ((out.zero_point << 8) + scaled + 128) >> 8


LUT_FORMULAS: Mapping[str, LutFormula] = MappingProxyType(
    {
        "tflite_logistic": _tflite_float(sigmoidf),
        "tflite_tanh": _tflite_float(tanhf),
        "tflite_requantize": _tflite_requantize,
        "tflite_upward_requantize": _upward_requantize,
        "tflite_leaky_relu": _tflite_leaky,
        "tflite_gelu": _tflite_float(unary.gelu),
        "tflite_gelu_tanh": _tflite_float(unary.gelu_tanh),
        "tflite_exp": _tflite_float(expf),
        "tflite_elu": _tflite_float(unary.elu),
        "tflite_log": _tflite_float(unary.log_bounded),
        "tflite_sqrt": unary.tflite_sqrt,
        "tflite_rsqrt": unary.tflite_rsqrt,
        "tflite_abs": unary.tflite_abs,
        "tflite_neg": unary.tflite_neg,
        "tflite_hard_swish": unary.tflite_hard_swish,
        "tflm_relu6": unary.tflm_relu6,
        "xnnpack_logistic": _xnnpack_float(lambda x: 1.0 / (1.0 + np.exp(-x))),
        "xnnpack_tanh": _xnnpack_float(np.tanh),
        "xnnpack_elu": _xnnpack_float(lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x)),
        "xnnpack_requantize": _xnnpack_requantize,
        "xnnpack_leaky_relu": _xnnpack_leaky,
        "onnxruntime_sigmoid": _onnxruntime_float(_sigmoid_symmetric),
        "onnxruntime_leaky_relu": _onnxruntime_float(_leaky),
        "onnxruntime_requantize": _onnxruntime_requantize,
    }
)
"""``f(x, source, out, alpha)``: int64 codes before the clamp."""


def prelu_lut(source: Codes, slope: Codes, code: int, out: Codes) -> NDArray[np.uint8]:
    """Return the table of TFLite's PRELU with one slope: M1 of ``x``, or of ``x * slope``.

    Parameters
    ----------
    source, slope, out: codes of input, slope and output.
    code: the slope's.
    """
    x = code_values(source) - source.zero_point
    ratio = float(_F(source.scale)) / float(_F(out.scale))
    rising = mbqm(x, *quantize_multiplier(ratio))
    steep = float(_F(source.scale)) * float(_F(slope.scale)) / float(_F(out.scale))
    falling = mbqm(x * (code - slope.zero_point), *quantize_multiplier(steep))
    result = np.clip(np.where(x >= 0, rising, falling) + out.zero_point, out.low, out.high)
    return (result & 255).astype(np.uint8)


def build_lut(
    formula: str,
    source: Codes,
    out: Codes,
    *,
    alpha: float = 0.0,
    low: int | None = None,
    high: int | None = None,
) -> NDArray[np.uint8]:
    """Return the 256-byte table of a unary operator, indexed by the stored byte.

    Parameters
    ----------
    formula: key of `LUT_FORMULAS`.
    source, out: codes of input and output.
    alpha: slope of the leaky ReLU.
    low, high: clamp of the result; the dtype's range if None.
    """
    result = LUT_FORMULAS[formula](code_values(source), source, out, alpha)
    result = np.clip(result, out.low if low is None else low, out.high if high is None else high)
    return (result & 255).astype(np.uint8)
