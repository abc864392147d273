"""Forms of SOFTMAX: how a row's sum and its codes come out of the table of exponentials."""

from enum import IntEnum

__all__ = ["SoftmaxForm"]


class SoftmaxForm(IntEnum):
    """What follows ``v[i] = table[max(x) - x[i]]``; every result is clamped to [low, high].

    float32 operations round to nearest, ties to even. Sums run from the row's first code to its
    last. ``high_mul(a, b) = (a * b + 2**30) >> 31``; ``divide(a, n)`` is ``a / 2**n`` rounded half
    away from 0.
    """

    FIXED = 0
    """v is Q31: ``divide(high_mul(v, 1 / s), 35 - bits) + zero``, ``s = sum(divide(v, 12))``.

    `bits` are the leading zeros of the 32-bit s, and 1 / s in Q31 is that of gemmlowp: three Newton
    steps. s must be from 1 to 2**31 - 1."""
    INVERSE = 1
    """v is float32: ``half_away(v * (1 / (sum(v) * scale))) + zero``."""
    QUOTIENT = 2
    """v is float32, u of the table behind: ``half_even(u / sum(v)) + zero``."""
