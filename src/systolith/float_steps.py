"""Float arithmetic between integers, as data: sums of products, elementwise steps, quantizers.

QONNX networks compute in float32 on values of integer codes. What lies between an integer sum and
the next quantizer is a chain of elementwise steps, each monotone in its input; evaluated by
`systolith.profiles.steps`. Matrices whose blocks have scales of their own (MatMulNBits) have
integer sums of blocks between two float computations; evaluated by `systolith.profiles.blocks`.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ROUNDINGS",
    "STEPS",
    "BlockQuantizeArithmetic",
    "BlockSumsArithmetic",
    "FloatArithmetic",
    "FloatOutputArithmetic",
    "FloatStep",
    "FloatSums",
    "Quantizer",
]

STEPS = frozenset({"mul", "add", "sub", "rsub", "div", "least", "most", "rint"})
"""mul, add, sub, rsub, div, least, most, rint: ``x * c``, ``x + c``, ``x - c``, ``c - x``,
``x / c``, ``max(x, c)``, ``min(x, c)``, ``rint(x)``."""

ROUNDINGS = frozenset(
    {
        *("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"),
        *("BIPOLAR", "SIGN", "THRESHOLDS"),
    }
)
"""QONNX's rounding modes (UP is away from zero, HALF_UP half away from zero), and what is no
rounding: BIPOLAR ``1 if x >= 0 else -1``, SIGN -1, 0 or 1, THRESHOLDS counts those reached."""


def _scalar() -> NDArray[np.float32]:
    return np.zeros((), np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatStep:
    """One elementwise float32 operation with a constant.

    Parameters
    ----------
    op: one of `STEPS`.
    operand: float32, one value or one per channel (the last canonical axis).
    """

    op: str
    operand: NDArray[np.float32] = field(default_factory=_scalar)


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatSums:
    """What integer sums are worth in the runtime: ``float32(sum * unit)``.

    The runtime adds float32 products in an order of its own. Where all of them, and so all partial
    sums, are float32 numbers, that is the exact value; elsewhere it differs by at most `noise`.

    Parameters
    ----------
    unit: float64 per channel, or one.
    noise: absolute bound per channel, or one; 0 where exact.
    """

    unit: NDArray[np.float64]
    noise: NDArray[np.float64]

    @property
    def exact(self) -> bool:
        """Whether no sum depends on the order of additions."""
        return not np.any(self.noise)


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantizer:
    """float32 to integer codes: ``round(clamp(steps(x), low, high))``.

    Parameters
    ----------
    steps: to a real code, usually a division by the scale and an addition of the zero point.
    rounding: one of `ROUNDINGS`.
    low, high: the clamp, before rounding.
    thresholds: float32 [channels or 1, K], for THRESHOLDS.
    unit, first: for THRESHOLDS the code is ``first + unit * count``.
    """

    steps: tuple[FloatStep, ...]
    rounding: str
    low: int
    high: int
    thresholds: NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 0), np.float32))
    unit: int = 1
    first: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatOutputArithmetic:
    """Sums of products to float32: ``steps(value(sum))``.

    Parameters
    ----------
    sums: value of a sum.
    steps: what follows.
    offset: subtracted from the code, of one input, or from ``256 * first + second`` of two.
    """

    sums: FloatSums
    steps: tuple[FloatStep, ...]
    offset: int


@dataclass(frozen=True, kw_only=True)
class BlockQuantizeArithmetic:
    """float32 rows to int8, each block of a row with a scale of its own; one of both results.

    ``scale = F(max(abs(x)) / 127); code = rint(F(x * F(1 / scale)))``, 0 where all are 0.

    Parameters
    ----------
    block: neighbours with one scale; a row is filled up with zeros.
    scales: whether the float32 scales result, one a block, or the codes.
    """

    block: int
    scales: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockSumsArithmetic:
    """Scales and codes of activations, and sums of blocks in bytes, to float32.

    ``y[n] = steps(sum over blocks b of scale[b] * scales[b, n] * dot[b, n] + bias[n])``, exact up
    to one rounding, with ``dot[b, n] = sum[b, n] + (center - zeros[b, n]) * sum of codes of b``.
    The runtime computes it in float32 in an order of its own: it adds products of codes as they
    are stored, and takes off what the zero points add behind the sums.

    Parameters
    ----------
    scales: float32 [blocks, channels] of the weights.
    zeros: int64 likewise: the weights' zero points.
    center: what the weights behind the sums have for a zero point.
    greatest: int64 likewise: the greatest code as it is stored.
    bias: float32, one a channel or one for all.
    steps: what follows.
    """

    scales: NDArray[np.float32]
    zeros: NDArray[np.int64]
    center: int
    greatest: NDArray[np.int64]
    bias: NDArray[np.float32] = field(default_factory=_scalar)
    steps: tuple[FloatStep, ...] = ()


FloatArithmetic: TypeAlias = FloatOutputArithmetic | BlockQuantizeArithmetic | BlockSumsArithmetic
