"""The runtimes' functions of two codes (add, sub, mul), evaluated over all 65 536 pairs."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.arithmetic import BinaryArithmetic, Codes, Requant
from systolith.profiles.formulas import multiply_by_quantized_multiplier as mbqm
from systolith.profiles.formulas import rounding_divide_by_pot
from systolith.profiles.multipliers import quantize_multiplier

__all__ = [
    "BINARY_FORMULAS",
    "binary_codes",
    "binary_table",
    "code_values",
    "fma32",
    "product_requant",
]

Int = NDArray[np.int64]
_F = np.float32


def code_values(codes: Codes) -> Int:
    """Return the integer value of each stored byte 0..255 under the codes' dtype."""
    stored = np.arange(256, dtype=np.uint8)
    return (stored.view(np.int8) if codes.dtype == "int8" else stored).astype(np.int64)


def fma32(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> NDArray[np.float32]:
    """Return ``float32(a * b + c)`` of float32 values with one rounding.

    The product of two float32 is exact in float64; the sum is rounded to odd there, which keeps a
    sticky bit, so that the last rounding (53 >= 2 * 24 + 2 bits) is the only one that counts.
    Defined for results away from float32's underflow and overflow.
    """
    product, addend = np.broadcast_arrays(
        np.asarray(a, np.float64) * np.asarray(b, np.float64), np.asarray(c, np.float64)
    )
    total = product + addend
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)
    bits = np.array(total).view(np.int64)
    sticky = (error != 0) & ((bits & 1) == 0)
    outward = (error > 0) == (total > 0)
    odd = bits + np.where(sticky, np.where(outward, 1, -1), 0)
    result: NDArray[np.float32] = np.asarray(odd).view(np.float64).astype(np.float32)
    return result


def _tflite_sum(x: Int, y: Int, k: BinaryArithmetic, sign: int) -> Int:
    """Three M1 multiplications after a shift left by 20: LiteRT's reference and TFLM's add, sub."""
    a, b, out = (float(_F(codes.scale)) for codes in (k.a, k.b, k.out))
    twice = 2.0 * max(a, b)
    left = mbqm((x - k.a.zero_point) << 20, *quantize_multiplier(a / twice))
    right = mbqm((y - k.b.zero_point) << 20, *quantize_multiplier(b / twice))
    total = left + sign * right
    return mbqm(total, *quantize_multiplier(twice / ((1 << 20) * out))) + k.out.zero_point


def _xnnpack_sum(x: Int, y: Int, k: BinaryArithmetic, sign: int) -> Int:
    """XNNPACK's add, sub: 21-bit integer multipliers, one shift, half up."""
    a, b = _F(k.a.scale) / _F(k.out.scale), _F(k.b.scale) / _F(k.out.scale)
    exponent = int(np.frexp(max(a, b))[1]) - 1
    shift = 20 - exponent
    ma, mb = (int(np.rint(np.ldexp(np.float64(r), shift))) for r in (a, b))
    total = (x - k.a.zero_point) * ma + sign * (y - k.b.zero_point) * mb
    return ((total + (1 << shift >> 1)) >> shift) + k.out.zero_point


def _onnxruntime_add(x: Int, y: Int, k: BinaryArithmetic, sign: int) -> Int:
    """onnxruntime on x86 with FMA: the zero points are folded into one float32 constant."""
    if sign < 0:
        raise ValueError("onnxruntime must add, it has no quantized subtraction")
    a, b = _F(k.a.scale) / _F(k.out.scale), _F(k.b.scale) / _F(k.out.scale)
    za, zb, zc = _F(k.a.zero_point), _F(k.b.zero_point), _F(k.out.zero_point)
    fixed = zc - fma32(a, za, b * zb)
    value = fma32(x.astype(_F), a, fma32(y.astype(_F), b, fixed))
    return np.rint(value).astype(np.int64)


def _factor(k: BinaryArithmetic) -> np.float32:
    """What runtimes multiply a product of codes by, computed in float32."""
    return _F(_F(_F(k.a.scale) * _F(k.b.scale)) / _F(k.out.scale))


def _double_factor(k: BinaryArithmetic) -> float:
    """The same, computed in float64."""
    a, b, out = (float(_F(codes.scale)) for codes in (k.a, k.b, k.out))
    return a * b / out


def _tflite_mul(x: Int, y: Int, k: BinaryArithmetic, sign: int) -> Int:
    """M1, in LiteRT's reference kernels by a float32 factor."""
    product = (x - k.a.zero_point) * (y - k.b.zero_point)
    return mbqm(product, *quantize_multiplier(float(_factor(k)))) + k.out.zero_point


def _tflm_mul(x: Int, y: Int, k: BinaryArithmetic, sign: int) -> Int:
    """M1, in TFLM by a float64 factor."""
    product = (x - k.a.zero_point) * (y - k.b.zero_point)
    return mbqm(product, *quantize_multiplier(_double_factor(k))) + k.out.zero_point


def _xnnpack_mul(x: Int, y: Int, k: BinaryArithmetic, sign: int) -> Int:
    product = ((x - k.a.zero_point) * (y - k.b.zero_point)).astype(_F)
    answer: Int = np.rint(product * _factor(k)).astype(np.int64) + k.out.zero_point
    return answer


def _onnxruntime_mul(x: Int, y: Int, k: BinaryArithmetic, sign: int) -> Int:
    product = ((x - k.a.zero_point) * (y - k.b.zero_point)).astype(_F)
    answer: Int = np.rint(product * _factor(k) + _F(k.out.zero_point)).astype(np.int64)
    return answer


def _torch_parts(x: Int, codes: Codes) -> NDArray[np.float32]:
    """Dequantize as PyTorch's vectors do: the zero point's part is rounded first."""
    scale = _F(codes.scale)
    return fma32(x.astype(_F), scale, -(_F(codes.zero_point) * scale))


def _torch_add(x: Int, y: Int, k: BinaryArithmetic) -> Int:
    """PyTorch's own kernels (engines x86, fbgemm, onednn)."""
    total = _torch_parts(x, k.a) + _torch_parts(y, k.b)
    answer: Int = np.rint(total * (_F(1) / _F(k.out.scale))).astype(np.int64) + k.out.zero_point
    return answer


def _torch_mul(x: Int, y: Int, k: BinaryArithmetic) -> Int:
    """PyTorch's own kernels, whatever the engine."""
    product = ((x - k.a.zero_point) * (y - k.b.zero_point)).astype(_F)
    factor = _F(_F(k.a.scale) * _F(k.b.scale)) * (_F(1) / _F(k.out.scale))
    answer: Int = np.rint(product * factor).astype(np.int64) + k.out.zero_point
    return answer


def _qnnpack_add(x: Int, y: Int, k: BinaryArithmetic) -> Int:
    """QNNPACK's add: 22-bit integer multipliers, one shift, half away from zero."""
    a, b = _F(k.a.scale) / _F(k.out.scale), _F(k.b.scale) / _F(k.out.scale)
    shift = 22 - int(np.frexp(max(a, b))[1])
    ma, mb = (int(np.rint(np.ldexp(np.float64(r), shift))) for r in (a, b))
    total = (x - k.a.zero_point) * ma + (y - k.b.zero_point) * mb
    return rounding_divide_by_pot(total, shift) + k.out.zero_point


def _float_add(x: Int, y: Int, k: BinaryArithmetic) -> Int:
    """float32 between dequantize and quantize: PyTorch's exported graphs."""
    total = _plain_real(x, k.a) + _plain_real(y, k.b)
    answer: Int = np.rint(total * (_F(1) / _F(k.out.scale))).astype(np.int64) + k.out.zero_point
    return answer


def _float_mul(x: Int, y: Int, k: BinaryArithmetic) -> Int:
    """float32 between dequantize and quantize."""
    total = _plain_real(x, k.a) * _plain_real(y, k.b)
    answer: Int = np.rint(total * (_F(1) / _F(k.out.scale))).astype(np.int64) + k.out.zero_point
    return answer


def _plain_real(x: Int, codes: Codes) -> NDArray[np.float32]:
    return (x - codes.zero_point).astype(_F) * _F(codes.scale)


def product_requant(k: BinaryArithmetic) -> Requant | None:
    """Return the requantizer that is a multiplication's formula, if products of codes go into it.

    None where no requantizer is: onnxruntime adds the zero point before it rounds.
    """
    if k.formula not in ("tflite_mul", "tflm_mul", "xnnpack_mul"):
        return None
    single = Requant(
        formula="float32",
        zero_point=k.out.zero_point,
        low=k.low,
        high=k.high,
        scale=np.atleast_1d(_factor(k)),
    )
    if k.formula == "xnnpack_mul":
        return single
    factor = _double_factor(k) if k.formula == "tflm_mul" else float(_factor(k))
    scale = np.array([factor])
    multiplier, shift = quantize_multiplier(scale)
    return replace(single, formula="double", scale=scale, multiplier=multiplier, shift=shift)


def _signed(
    function: Callable[[Int, Int, BinaryArithmetic, int], Int], sign: int
) -> Callable[[Int, Int, BinaryArithmetic], Int]:
    return lambda x, y, k: function(x, y, k, sign)


def _looked_up(x: Int, y: Int, k: BinaryArithmetic) -> Int:
    assert k.table is not None
    answer: Int = k.table[x & 255, y & 255]
    return answer


BINARY_FORMULAS: Mapping[str, Callable[[Int, Int, BinaryArithmetic], Int]] = MappingProxyType(
    {
        "tflite_add": _signed(_tflite_sum, 1),
        "tflite_sub": _signed(_tflite_sum, -1),
        "tflite_mul": _signed(_tflite_mul, 1),
        "tflm_mul": _signed(_tflm_mul, 1),
        "xnnpack_add": _signed(_xnnpack_sum, 1),
        "xnnpack_sub": _signed(_xnnpack_sum, -1),
        "xnnpack_mul": _signed(_xnnpack_mul, 1),
        "onnxruntime_add": _signed(_onnxruntime_add, 1),
        "onnxruntime_mul": _signed(_onnxruntime_mul, 1),
        "torch_add": _torch_add,
        "torch_mul": _torch_mul,
        "qnnpack_add": _qnnpack_add,
        "float_add": _float_add,
        "float_mul": _float_mul,
        "table": _looked_up,
        "codes_sum": lambda x, y, k: x + y - k.out.zero_point,
    }
)
"""``f(x, y, arithmetic)``: int64 with the output zero point, before the clamp."""


def binary_codes(x: NDArray[Any], y: NDArray[Any], arithmetic: BinaryArithmetic) -> Int:
    """Return the runtime's output codes for operands' codes `x` and `y` (broadcast)."""
    x, y = np.broadcast_arrays(np.asarray(x, np.int64), np.asarray(y, np.int64))
    result = BINARY_FORMULAS[arithmetic.formula](x, y, arithmetic)
    return np.clip(result, arithmetic.low, arithmetic.high)


def binary_table(arithmetic: BinaryArithmetic) -> Int:
    """Return output codes of all pairs: int64 [256, 256], indexed by stored bytes."""
    x, y = code_values(arithmetic.a), code_values(arithmetic.b)
    return binary_codes(x[:, None], y[None, :], arithmetic)
