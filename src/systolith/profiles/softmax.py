"""Softmax over the last axis as each runtime computes it, on codes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import SoftmaxArithmetic
from systolith.profiles.formulas import high_mul, rounding_divide_by_pot
from systolith.profiles.libm import expf
from systolith.profiles.multipliers import half_away, quantize_multiplier

__all__ = ["SOFTMAX_FORMULAS", "exponentials", "softmax_codes"]

Int = NDArray[np.int64]
_F = np.float32
_ONE = (1 << 31) - 1
_EXP_BARREL = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""``exp(-2**k)`` in Q31 for k = -2 .. 4 (gemmlowp)."""


def _exp_small(a: Int) -> Int:
    """gemmlowp's exp on [-1/4, 0), Q31 in and out."""
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4 = rounding_divide_by_pot(high_mul(x2, x2), 2)
    inner = rounding_divide_by_pot(high_mul(x4 + x3, 715827883) + x2, 1)
    return 1895147668 + high_mul(x + inner, 1895147668)


def _exp_negative(a: Int) -> Int:
    """gemmlowp's exp_on_negative_values for 5 integer bits: Q26 in, Q31 out."""
    quarter = 1 << 24
    fraction = (a & (quarter - 1)) - quarter
    result = _exp_small(fraction << 5)
    remainder = fraction - a
    for position, factor in enumerate(_EXP_BARREL):
        chosen = (remainder >> (24 + position)) & 1
        result = np.where(chosen != 0, high_mul(result, factor), result)
    return np.where(a == 0, _ONE, result)


def _saturate(value: Int) -> Int:
    return np.clip(value, -(1 << 31), _ONE)


def _one_over_one_plus(a: Int) -> Int:
    """gemmlowp's ``1 / (1 + x)`` for x in [0, 1): three Newton steps, Q31 in and out."""
    total = a + _ONE
    half = np.sign(total) * ((np.abs(total) + 1) >> 1)
    x = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        error = (1 << 29) - high_mul(half, x)
        x = x + _saturate(high_mul(x, error) << 2)
    return _saturate(x << 1)


def _fixed_table(k: SoftmaxArithmetic) -> Int:
    """gemmlowp's exponential of each difference, Q31; 0 where the kernels leave a code out."""
    real = min(k.beta * float(_F(k.codes.scale)) * (1 << 26), 2.0**31 - 1.0)
    q, shift = (int(v[0]) for v in quantize_multiplier(real))
    diff_min = -int(np.floor(31.0 * (1 << 26) / 2.0**shift))
    difference = -np.arange(256)
    kept = difference >= diff_min
    scaled = high_mul(np.where(kept, difference, 0) << shift, q)
    return np.where(kept, _exp_negative(scaled), 0)


def _tflite_reference(codes: Int, k: SoftmaxArithmetic) -> Int:
    """gemmlowp fixed point: LiteRT's reference kernels and TFLite Micro."""
    exponential = _fixed_table(k)[codes.max(axis=-1, keepdims=True) - codes]
    total = rounding_divide_by_pot(exponential, 12).sum(axis=-1, keepdims=True)
    digits = np.frexp(total.astype(np.float64))[1].astype(np.int64)
    reciprocal = _one_over_one_plus((total << (32 - digits)) - (1 << 31))
    over_unit = 12 - (32 - digits)
    value = rounding_divide_by_pot(high_mul(exponential, reciprocal), over_unit + 31 - 8)
    answer: Int = np.clip(value + k.out.low, k.out.low, k.out.high)
    return answer


def _sequential_sum(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 sum of the last axis from left to right, kept as an axis of one."""
    total = np.zeros(values.shape[:-1], _F)
    for index in range(values.shape[-1]):
        total = total + values[..., index]
    return total[..., None]


def _inverse_table(k: SoftmaxArithmetic) -> NDArray[np.float32]:
    """``exp(-scale * beta * d)`` of each difference d."""
    step = -_F(k.codes.scale) * _F(k.beta)
    return expf(step * np.arange(256, dtype=_F))


def _tflite_table(codes: Int, k: SoftmaxArithmetic) -> Int:
    """float32 table: LiteRT's optimised kernels (XNNPACK's profile)."""
    values = _inverse_table(k)[codes.max(axis=-1, keepdims=True) - codes]
    inverse = _F(1) / (_sequential_sum(values) * _F(k.out.scale))
    result = half_away(values * inverse).astype(np.int64) + k.out.zero_point
    return np.clip(result, k.out.low, k.out.high)


def _quotient_tables(k: SoftmaxArithmetic, count: int) -> NDArray[np.float32]:
    """The exponential of each difference, raised so that the sum cannot overflow, and its unit."""
    scale = float(_F(k.codes.scale))
    raised = max(0.0, np.log(float(np.finfo(_F).max) / count) - 5.0) / scale
    table = np.exp((raised - np.arange(256)) * scale).astype(_F)
    unit = _F(np.floor(_F(1) / _F(k.out.scale)))
    return np.stack([table, table * unit])


def _onnxruntime(codes: Int, k: SoftmaxArithmetic) -> Int:
    """QLinearSoftmax: a float32 table, a division for every code."""
    tables = _quotient_tables(k, codes.shape[-1])
    values, scaled = tables[:, codes.max(axis=-1, keepdims=True) - codes]
    result = np.rint(scaled / _sequential_sum(values)).astype(np.int64)
    answer: Int = np.clip(result + k.out.zero_point, k.out.low, k.out.high)
    return answer


SOFTMAX_FORMULAS: Mapping[str, Callable[[Int, SoftmaxArithmetic], Int]] = MappingProxyType(
    {
        "tflite_reference": _tflite_reference,
        "tflite_table": _tflite_table,
        "onnxruntime": _onnxruntime,
    }
)
"""``f(codes, arithmetic)``: the runtime's output codes, int64."""


def exponentials(arithmetic: SoftmaxArithmetic, count: int) -> NDArray[np.uint32]:
    """Return the tables by difference of a formula, [1 or 2, 256]: Q31, or the bits of float32.

    Parameters
    ----------
    count: codes of a row.
    """
    if arithmetic.formula == "tflite_reference":
        return _fixed_table(arithmetic).astype(np.uint32)[None]
    if arithmetic.formula == "tflite_table":
        return _inverse_table(arithmetic)[None].view(np.uint32)
    return _quotient_tables(arithmetic, count).view(np.uint32)


def softmax_codes(codes: NDArray[Any], arithmetic: SoftmaxArithmetic) -> Int:
    """Return the runtime's softmax of `codes` over the last axis: int64 codes."""
    return SOFTMAX_FORMULAS[arithmetic.formula](np.asarray(codes, np.int64), arithmetic)
