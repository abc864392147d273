"""Quantize and dequantize: float32 to codes of 8 or 4 bits and back, exactly as runtimes do.

``F()`` rounds to float32, ties to even; subnormal numbers are kept. A code is ``clamp(integer +
zero point, low, high)``. Scales are positive, finite and normal: see `scale_fault`.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum

__all__ = ["CodeFormat", "QuantizeForm", "scale_fault", "zero_fault"]

_INFINITY = 0xFF << 23


class CodeFormat(StrEnum):
    """What a code is."""

    INT8 = "int8"
    UINT8 = "uint8"
    INT4 = "int4"
    UINT4 = "uint4"

    @property
    def bits(self) -> int:
        """Width of a code."""
        return 8 if self.value.endswith("8") else 4

    @property
    def signed(self) -> bool:
        """Whether codes are two's complement numbers."""
        return self.value.startswith("int")

    @property
    def low(self) -> int:
        """Least code."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """Greatest code."""
        return self.low + (1 << self.bits) - 1


class QuantizeForm(IntEnum):
    """How a float32 number x becomes an integer; s is the scale, ``r = F(1 / s)`` its inverse."""

    DIVIDE_EVEN = 0
    """``half_even(F(x / s))``: onnxruntime's QuantizeLinear. NaN becomes `low`."""
    DIVIDE_AWAY = 1
    """``half_away(F(x / s))``: LiteRT's reference kernels. An integer of 2**31 or more on either
    side, and NaN, becomes -2**31, as x86 converts it; the zero point is added in 32 bits, which
    wrap: with one below 0 the code is `high` then, else `low`."""
    MULTIPLY_EVEN = 2
    """``half_even(F(x * r))``: XNNPACK. NaN becomes `high`, as in its x86 kernels."""
    FUSED_EVEN = 3
    """``half_even(F(x * r + zero))``, one rounding to float32 for product and sum, and no zero
    point behind it: PyTorch's quantize_per_tensor on x86. NaN becomes `high`, as in its vector
    kernels."""


def scale_fault(bits: int) -> str | None:
    """Return what is wrong with a scale, given the bits of a float32 number, or None."""
    kinds: Mapping[str, bool] = {
        "NaN": bits & 0x7FFFFFFF > _INFINITY,
        "infinity": bits & 0x7FFFFFFF == _INFINITY,
        "0": not bits & 0x7FFFFFFF,
        "a subnormal number": not bits & _INFINITY,
        "a negative number": bool(bits >> 31),
    }
    wrong = next((name for name, is_it in kinds.items() if is_it), None)
    if wrong is None:
        return None
    return f"scale must be a positive, finite and normal float32 number, not {wrong}"


def zero_fault(zero: int, low: int, high: int) -> str | None:
    """Return what is wrong with a zero point, or None."""
    if low <= zero <= high:
        return None
    return f"zero point must be between {low} and {high}, not {zero}"
