"""Exact descriptions of what an operator computes: data only, evaluated by `systolith.profiles`.

Notation: a *code* is a stored 8-bit value; ``acc`` is an int32 accumulator that wraps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from systolith.float_steps import FloatArithmetic, FloatStep, Quantizer

__all__ = [
    "Arithmetic",
    "BinaryArithmetic",
    "Codes",
    "ConcatArithmetic",
    "DequantizeArithmetic",
    "FloatQuantizeArithmetic",
    "LutArithmetic",
    "MacArithmetic",
    "MaxPoolArithmetic",
    "PadArithmetic",
    "PoolArithmetic",
    "QuantizeArithmetic",
    "Requant",
    "SoftmaxArithmetic",
]


def _empty() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Codes:
    """8-bit codes with one scale: ``real = scale * (code - zero_point)``.

    Parameters
    ----------
    dtype: int8 or uint8.
    scale: exactly a float32 value.
    zero_point: within the dtype's range.
    limits: least and greatest code that occur, or None for those of the dtype.
    """

    dtype: str
    scale: float
    zero_point: int
    limits: tuple[int, int] | None = None

    @property
    def low(self) -> int:
        """Least code."""
        if self.limits is not None:
            return self.limits[0]
        return -128 if self.dtype == "int8" else 0

    @property
    def high(self) -> int:
        """Greatest code."""
        if self.limits is not None:
            return self.limits[1]
        return 127 if self.dtype == "int8" else 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Requant:
    """From accumulator to code: ``clamp(formula(acc) + zero_point, low, high)``.

    `formula` is a key of `systolith.profiles.formulas.REQUANT_FORMULAS`:

    - ``double``: two roundings with `multiplier` (q31) and `shift` (left if positive);
    - ``upward``: the same, but the second rounding is half up;
    - ``float32``: ``rint(float32(float32(acc) * scale))``, scale float32;
    - ``f64away``: ``half_away(float64(acc) * scale)``, scale float64;
    - ``divide``: ``half_away(acc / divisor)``;
    - ``xnn_mean``: ``rint(float32(float32(float32(acc) * scale) + offset))``, zero_point 0;
    - ``ort_average``: ``rint(float32(float32(mean / output_scale) + offset))``, zero_point 0, where
      the mean is a float32 sum in window order: a function of the sum only up to the float error,
      see `systolith.profiles.pooling`; scale is the input's;
    - ``ort_mean``: ``rint(float32(mean / output_scale))``, likewise;
    - ``torch_fbgemm``: ``rint(float32(float32(float32(acc - whole) + addend) * scale))``: PyTorch
      adds its float32 bias to the accumulator; `whole` of it is in the int32 bias already;
    - ``torch_float``: ``float32(float32(float32(acc - whole) * scale) + addend)``, quantized: a
      float32 convolution between dequantize and quantize, up to its order of additions;
    - ``byte``: ``(d + (2**shift >> 1)) >> shift``, d the low shift + 8 bits of acc, signed;
    - ``thresholds``: ``low`` and one more for each of the channel's `thresholds` that acc reaches,
      zero_point 0: any function that does not decrease.

    Parameters
    ----------
    formula: name of the function.
    zero_point, low, high: ints, the clamp already holds the fused activation.
    scale: real factor per channel, or of one element (float64, float32 for the float32 formulas).
    multiplier, shift: int64 of scale's shape, for ``double``, ``upward`` and ``byte`` (shift).
    divisor: for ``divide``, ``ort_average`` and ``ort_mean``.
    offset: a float32 value, for ``xnn_mean`` and ``ort_average``.
    output_scale: a float32 value, for ``ort_average``, ``ort_mean`` and ``torch_float``.
    addend, whole: of scale's shape, for the ``torch`` formulas: a float32 bias, and the integer of
        it that the accumulator has.
    thresholds: int64 [high - low, channels], for ``thresholds``; ascending along axis 0.
    undecided: sums whose code the order of the runtime's float additions decides, of all channels;
        the formula then is within one code of it.
    """

    formula: str
    zero_point: int
    low: int
    high: int
    scale: NDArray[np.floating[Any]]
    multiplier: NDArray[np.int64] = field(default_factory=_empty)
    shift: NDArray[np.int64] = field(default_factory=_empty)
    divisor: int = 1
    offset: float = 0.0
    output_scale: float = 1.0
    addend: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    whole: NDArray[np.int64] = field(default_factory=_empty)
    thresholds: NDArray[np.int64] = field(default_factory=_empty)
    undecided: int = 0

    @property
    def channels(self) -> int:
        """Number of distinct channels (1: all alike)."""
        return int(self.scale.size)

    def channel(self, index: int) -> "Requant":
        """Return the requantizer of one output channel alone."""
        if self.channels == 1:
            return self
        one = slice(index, index + 1)
        return replace(
            self,
            scale=self.scale[one],
            multiplier=self.multiplier[one],
            shift=self.shift[one],
            addend=self.addend[one],
            whole=self.whole[one],
            thresholds=self.thresholds[:, one] if self.thresholds.size else self.thresholds,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class MacArithmetic:
    """``acc = wrap32(sum((x - input_zero_point) * (w - weight_zero_point)) + bias)``, then requant.

    Padding contributes nothing (its code is input_zero_point).

    Parameters
    ----------
    weights: int8 or uint8 codes ``[Cout, kh, kw, Cin / groups]`` (fully connected: kh = kw = 1).
    weight_zero_point: one for all channels.
    bias: int32 ``[Cout]``, as the runtime has it: input_zero_point is not folded in.
    input_zero_point: code of 0.0 at the input.
    requant: per output channel.
    """

    weights: NDArray[Any]
    weight_zero_point: int
    bias: NDArray[np.int32]
    input_zero_point: int
    requant: Requant

    @property
    def weight_range(self) -> tuple[int, int]:
        """Least and largest ``w - weight_zero_point``, and 0."""
        zero = self.weight_zero_point
        low, high = (int(f(initial=zero)) - zero for f in (self.weights.min, self.weights.max))
        return low, high


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolArithmetic:
    """``acc = sum over the window's valid codes of (x - input_zero_point)``, then requant.

    Parameters
    ----------
    input_zero_point: 0 where the runtime divides the plain sum of codes.
    requants: requantizer for each number of valid codes that occurs (one entry if none is cut off).
    source: input's and output's codes, for formulas that need more than the sum.
    """

    input_zero_point: int
    requants: Mapping[int, Requant]
    source: tuple[Codes, Codes]

    @property
    def requant(self) -> Requant:
        """The requantizer of a full window."""
        return self.requants[max(self.requants)]


@dataclass(frozen=True, kw_only=True)
class MaxPoolArithmetic:
    """``clamp(max of the valid codes, low, high)``."""

    low: int
    high: int


@dataclass(frozen=True, kw_only=True, eq=False)
class BinaryArithmetic:
    """``z = f(x, y)`` on two codes, evaluated by `systolith.profiles.binary.binary_table`.

    Parameters
    ----------
    formula: key of `systolith.profiles.binary.BINARY_FORMULAS`.
    a, b, out: codes of the operands and of the result.
    low, high: clamp of the result, fused activation included.
    table: int64 [256, 256] results by stored bytes, for the formula ``table``.
    """

    formula: str
    a: Codes
    b: Codes
    out: Codes
    low: int
    high: int
    table: NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LutArithmetic:
    """``z = table[code & 255]``.

    Parameters
    ----------
    table: 256 bytes (uint8), result & 255.
    formula: what it computes, e.g. ``logistic``.
    """

    table: NDArray[np.uint8]
    formula: str


@dataclass(frozen=True, kw_only=True)
class SoftmaxArithmetic:
    """Softmax over the last axis, key of `systolith.profiles.softmax.SOFTMAX_FORMULAS`."""

    formula: str
    beta: float
    codes: Codes
    out: Codes


@dataclass(frozen=True, kw_only=True)
class QuantizeArithmetic:
    """float32 to codes, key of `systolith.profiles.edges.QUANTIZE_FORMULAS`."""

    formula: str
    out: Codes


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatQuantizeArithmetic:
    """float32 to codes through float steps: ``quantizer(steps(x))``; `out` are the codes."""

    steps: tuple[FloatStep, ...]
    quantizer: Quantizer
    out: Codes


@dataclass(frozen=True, kw_only=True)
class DequantizeArithmetic:
    """Codes to float32: ``float32(float32(code - zero_point) * scale)`` for every profile here."""

    formula: str
    codes: Codes


@dataclass(frozen=True, kw_only=True)
class PadArithmetic:
    """Padding with a code."""

    value: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ConcatArithmetic:
    """Concatenation; one table of 256 bytes per input, None where the codes are copied."""

    tables: tuple[NDArray[np.uint8] | None, ...]


Arithmetic: TypeAlias = (
    MacArithmetic
    | PoolArithmetic
    | MaxPoolArithmetic
    | BinaryArithmetic
    | LutArithmetic
    | SoftmaxArithmetic
    | QuantizeArithmetic
    | DequantizeArithmetic
    | FloatQuantizeArithmetic
    | FloatArithmetic
    | PadArithmetic
    | ConcatArithmetic
)
