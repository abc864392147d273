"""TFLite's integer kernels of unary operators, and the functions behind its float tables."""

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes
from systolith.profiles.formulas import multiply_by_quantized_multiplier as mbqm
from systolith.profiles.formulas import rounding_divide_by_pot
from systolith.profiles.libm import erfcf, expm1f, logf, tanhf
from systolith.profiles.multipliers import half_away, quantize_multiplier

__all__ = [
    "elu",
    "gelu",
    "gelu_tanh",
    "log_bounded",
    "tflite_abs",
    "tflite_hard_swish",
    "tflite_neg",
    "tflite_rsqrt",
    "tflite_sqrt",
    "tflm_relu6",
]

Int = NDArray[np.int64]
Float = NDArray[np.float32]
_F = np.float32
_INT16 = (1 << 15) - 1


def gelu(value: Float) -> Float:
    """``0.5 * x * erfc(-x / sqrt(2))`` in float32 steps."""
    return _F(0.5) * value * erfcf(value * _F(-np.sqrt(0.5)))


def gelu_tanh(value: Float) -> Float:
    """``0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))`` in float32 steps."""
    inner = _F(np.sqrt(2 / np.pi)) * (value + _F(0.044715) * value * value * value)
    return _F(0.5) * value * (_F(1) + tanhf(inner))


def elu(value: Float) -> Float:
    """``x``, or ``exp(x) - 1`` below 0."""
    return np.where(value < 0, expm1f(np.minimum(value, 0)), value).astype(_F)


def log_bounded(value: Float) -> Float:
    """``log(x)``, and minus infinity for what has none: the clamp makes it the least code."""
    inside = value > 0
    return np.where(inside, logf(np.where(inside, value, 1)), _F(-np.inf)).astype(_F)


def tflite_abs(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """M1 of the magnitude, unless the scales are equal."""
    magnitude = np.abs(x - source.zero_point)
    if _F(source.scale) != _F(out.scale):
        factor = float(_F(source.scale)) / float(_F(out.scale))
        magnitude = mbqm(magnitude, *quantize_multiplier(factor))
    return magnitude + out.zero_point


def tflite_neg(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """The code itself is negated in int8, whatever scales and zero points say."""
    return ((128 - x) & 255) - 128


def tflite_sqrt(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """``trunc(sqrt(x) / scale) + zero_point``; the runtime refuses negative values."""
    value = np.maximum((x - source.zero_point).astype(_F) * _F(source.scale), 0)
    return np.trunc(np.sqrt(value) / _F(out.scale)).astype(np.int64) + out.zero_point


def _rounding_high_mul(a: Int, b: int, bits: int) -> Int:
    """``a * b / 2**bits`` rounded to nearest, halves towards plus infinity but for ties below 0.

    gemmlowp's SaturatingRoundingDoublingHighMul of operands whose product is in range.
    """
    product = a * b
    nudged = product + np.where(product >= 0, 1 << (bits - 1), 1 - (1 << (bits - 1)))
    return _truncating_shift(nudged, bits)


def _truncating_shift(value: Int, bits: int) -> Int:
    """``value / 2**bits`` rounded towards zero."""
    answer: Int = np.sign(value) * (np.abs(value) >> bits)
    return answer


def _int16_multiplier(factor: float) -> tuple[int, int]:
    """The 32-bit multiplier of `factor` rounded to 16 bits, and its exponent."""
    q, shift = (int(np.ravel(each)[0]) for each in quantize_multiplier(factor))
    return min((q + (1 << 15)) >> 16, _INT16), shift


def tflite_hard_swish(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """``x * relu6(x + 3) / 6`` in 16-bit fixed point."""
    fine_scale = _F(1 / 128) * _F(source.scale)
    q, shift = _int16_multiplier(float(fine_scale / _F(out.scale)))
    relu_q, relu_shift = _int16_multiplier(float(fine_scale / _F(3 / 32768)))
    fine = (x - source.zero_point) << 7
    scaled = _rounding_high_mul(fine, q, 15)
    gate = fine
    if relu_shift > 0:
        gate = np.clip(gate << (relu_shift - 1), -_INT16 - 1, _INT16)
    gate = _rounding_high_mul(gate, relu_q, 15)
    if relu_shift > 0:
        gate = np.clip(gate << 1, -_INT16 - 1, _INT16)
    elif relu_shift < 0:
        gate = rounding_divide_by_pot(gate, -relu_shift)
    product = _truncating_shift(((gate + (1 << 15)) >> 1) * scaled, 15)
    return rounding_divide_by_pot(product, -shift) + out.zero_point


def _times(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul of int32, away from its one overflow."""
    return int(_rounding_high_mul(np.array(a, np.int64), b, 31))


def _inverse_sqrt(value: int) -> tuple[int, int]:
    """Multiplier (Q31) and right shift of ``1 / sqrt(value)``: five steps of Newton's method."""
    if value <= 1:
        return (1 << 31) - 1, 0
    pairs = (31 - value.bit_length()) // 2 - 1
    shift = 11 - pairs
    half = ((value << (2 * pairs) >> 1) + 1) >> 1
    root = 1 << 28
    for _ in range(5):
        cube = _times(_times(root, root), root) << 6
        root = (_times((1 << 28) + (1 << 27), root) - _times(half, cube)) << 3
    root = _times(root, 1518500250)
    return (root << -shift, 0) if shift < 0 else (root, shift)


def tflite_rsqrt(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """Two M1 multiplications; 0 has the greatest code, and the runtime refuses negative values."""
    factor = 1.0 / float(np.sqrt(_F(source.scale)) * _F(out.scale))
    q, shift = quantize_multiplier(factor)
    result = np.full(x.shape, out.high, np.int64)
    for index, value in enumerate((x - source.zero_point).tolist()):
        if value > 0:
            root, right = _inverse_sqrt(value)
            inverse = mbqm(np.ones(1, np.int64), root, 20 - right)
            result[index] = mbqm(inverse, q, np.asarray(shift) - 20)[0] + out.zero_point
    return result


def tflm_relu6(x: Int, source: Codes, out: Codes, alpha: float) -> Int:
    """The codes clamped to 0..6 of the input's scale, whatever the output's says."""
    six = source.zero_point + int(half_away(np.asarray(_F(6) / _F(source.scale))))
    return np.clip(x, source.zero_point, min(six, source.high))
