"""Averages whose last bit is decided by the order of a runtime's float additions.

onnxruntime's QLinearAveragePool and its ReduceMean add dequantized float32 values, so that for a
few sums of codes different windows with the same sum give neighbouring codes. A sum determines only
the least and the greatest code (`average_pool_bounds`). The accelerator computes a code between
the two for every sum, equal to the runtime's wherever they meet, and the compiler says how many
sums are left open.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import PoolArithmetic
from systolith.profiles.pooling import average_pool_bounds

__all__ = ["OPEN_SUMS", "candidates", "open_sums"]

OPEN_SUMS = 1e-3
"""Greatest share of sums of an average that the array computes although the runtime's own order of
additions decides them. Unrelated scales leave a few in ten thousand open; equal scales put every
second quotient of a large window on a tie, and the average is then left to the host, or refused if
convolutions follow."""

Int64Array = NDArray[np.int64]


def _range(arithmetic: PoolArithmetic, count: int) -> tuple[int, int]:
    """Reachable sums of ``count`` codes, zero point taken off."""
    source, _ = arithmetic.source
    low, high = ((v - arithmetic.input_zero_point) * count for v in (source.low, source.high))
    return low, high


def _bounds(arithmetic: PoolArithmetic, count: int) -> tuple[Int64Array, Int64Array]:
    low, high = _range(arithmetic, count)
    return average_pool_bounds(np.arange(low, high + 1), arithmetic, count)


def open_sums(arithmetic: PoolArithmetic, count: int) -> tuple[int, int]:
    """Return (sums whose code the order of additions decides, sums in all) of ``count`` codes."""
    least, most = _bounds(arithmetic, count)
    return int((least != most).sum()), len(least)


def candidates(arithmetic: PoolArithmetic, count: int) -> Iterator[Int64Array]:
    """Yield codes for every reachable sum, all within the bounds, the likeliest to fit first.

    The real quotient is a straight line; rounded half up or half down it has one threshold per
    code on that line, which a fixed-point requantizer can always reproduce.
    """
    least, most = _bounds(arithmetic, count)
    low, high = _range(arithmetic, count)
    requant, (source, _) = arithmetic.requants[count], arithmetic.source
    slope = Fraction(float(source.scale)) / Fraction(float(requant.output_scale)) / requant.divisor
    zero = Fraction(float(requant.offset)) + requant.zero_point
    start = zero + Fraction(1, 2) + low * slope
    n, d = slope.numerator * start.denominator, slope.denominator * start.denominator
    first = start.numerator * slope.denominator
    up = np.array([(first + i * n) // d for i in range(high - low + 1)], np.int64)
    down = np.array([-((-first - i * n) // d) - 1 for i in range(high - low + 1)], np.int64)
    for codes in (up, down, least, most):
        yield np.clip(codes, least, most)
