"""A line between the steps of a requantizer: parameters of FIXED and MAGNITUDE, found exactly."""

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_SHIFT", "FixedParameters", "Line", "Side"]

Int64Array = NDArray[np.int64]

MAX_SHIFT = 63
"""The largest shift of the hardware."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedParameters:
    """Parameters of the modes FIXED and MAGNITUDE: ``(x * multiplier + offset) >> shift``."""

    multiplier: int
    offset: int
    shift: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """Steps that one line must take, over a range of its argument.

    Parameters
    ----------
    domain: the inclusive range of the argument.
    codes: the codes at its ends.
    thresholds: int64[steps, 2], each the first argument of a code and the code.
    clamp: the inclusive range which the line is clamped to.
    """

    domain: tuple[int, int]
    codes: tuple[int, int]
    thresholds: Int64Array
    clamp: tuple[int, int]


class Line:
    """The separation of one channel's steps by a line of slope ``multiplier / 2**shift``.

    With ``line(x) = (x * multiplier + offset) / 2**shift`` the requirements are
    ``line(T) >= k`` at the points ``up`` = (T, k) and ``line(T) < k`` at the points ``down``.
    """

    def __init__(self, *sides: Side) -> None:
        """Turn the steps of all sides, 1 or 2, into points."""
        up, down = list[Int64Array](), list[Int64Array]()
        for side in sides:
            # An end of the range which the clamp does not hold must be met by the line itself.
            if side.codes[0] > side.clamp[0]:
                up.append(np.array([(side.domain[0], side.codes[0])], np.int64))
            up.append(side.thresholds)
            down.append(side.thresholds - np.array([1, 0], np.int64))
            if side.codes[1] < side.clamp[1]:
                down.append(np.array([(side.domain[1], side.codes[1] + 1)], np.int64))
        self.up, self.down = np.concatenate(up), np.concatenate(down)
        self.domain = (min(s.domain[0] for s in sides), max(s.domain[1] for s in sides))
        self._slopes: tuple[tuple[Fraction, Fraction] | None] | None = None

    def _constant(self) -> int | None:
        """Return a code that a line of slope 0 has everywhere, if one will do."""
        least = int(self.up[:, 1].max()) if len(self.up) else None
        most = int(self.down[:, 1].min()) - 1 if len(self.down) else None
        if least is None or most is None:
            return most if least is None and most is not None else least or 0
        return least if least <= most else None

    def fit(self, bits: int, offset_bits: int) -> FixedParameters | None:
        """Choose the largest shift with an integer multiplier inside of the slopes.

        Parameters
        ----------
        bits: unsigned width of the multiplier.
        offset_bits: two's complement width of the offset and of the sum.
        """
        constant = self._constant()
        if constant is not None:
            return FixedParameters(multiplier=0, offset=constant, shift=0)
        interval = self.slopes()
        if interval is None:
            return None
        least, _ = interval
        most = MAX_SHIFT
        if least > 0:
            # With any larger shift already the least slope's multiplier exceeds its width.
            width = least.numerator.bit_length() - least.denominator.bit_length()
            most = max(0, min(most, bits + 1 - width))
        for shift in range(most, -1, -1):
            first, last = self._multipliers(interval, shift)
            last = min(last, (1 << bits) - 1)
            if first > last:
                continue
            fit = self._offset((first + last) // 2, shift)
            limit = 1 << (offset_bits - 1)
            if -limit <= fit.offset < limit and self.no_wrap(fit, offset_bits):
                return fit
        return None

    def bits(self) -> int | None:
        """Return the least unsigned width of a multiplier, or None if no line separates."""
        if self._constant() is not None:
            return 0
        interval = self.slopes()
        if interval is None:
            return None
        # The first shift with an integer among the slopes has the least such integer.
        for shift in range(MAX_SHIFT + 1):
            first, last = self._multipliers(interval, shift)
            if first <= last:
                return first.bit_length()
        return None

    @staticmethod
    def _multipliers(interval: tuple[Fraction, Fraction], shift: int) -> tuple[int, int]:
        """Return the first and last multiplier inside of the open interval of slopes."""
        least, most = interval
        first = (least.numerator << shift) // least.denominator + 1
        return max(first, 0), -(-(most.numerator << shift) // most.denominator) - 1

    def slopes(self) -> tuple[Fraction, Fraction] | None:
        """Return the open interval of feasible slopes, or None if it is empty.

        A slope s is feasible if for all pairs of points
        ``(K - k) - s * (D - U) > 0`` with (U, k) in ``up`` and (D, K) in ``down``: some offset
        then fits between ``max(k - s*U)`` and ``min(K - s*D)``. Pairs with D > U bound s above,
        pairs with D < U below. Newton's method for fractional programs (Dinkelbach) finds both
        bounds exactly in a few rounds, as the worst pair at a given s separates into two points.
        """
        if self._slopes is None:
            most = self._newton(Fraction(1 << 10), 1)
            least = self._newton(Fraction(-(1 << 10)), -1)
            empty = most is None or least is None or least >= most
            self._slopes = (None,) if empty else ((cast(Fraction, least), cast(Fraction, most)),)
        assert self._slopes is not None
        return self._slopes[0]

    def _newton(self, x: Fraction, side: int) -> Fraction | None:
        """Move x to the tightest bound on one side (1: from above, -1: from below)."""
        while True:
            p, q = x.numerator, x.denominator
            i = int(np.argmax(self.up[:, 1] * q - self.up[:, 0] * p))
            j = int(np.argmin(self.down[:, 1] * q - self.down[:, 0] * p))
            rise = int(self.down[j, 1] - self.up[i, 1])
            run = int(self.down[j, 0] - self.up[i, 0])
            if rise * q - run * p >= 0:
                return x
            if run * side <= 0:
                return None
            x = Fraction(rise, run)

    def _offset(self, multiplier: int, shift: int) -> FixedParameters:
        """Return the offset in the middle of its interval."""
        # Python integers, because the terms may need more than 64 bits.
        least = max((k << shift) - multiplier * t for t, k in self.up.tolist())
        most = min((k << shift) - 1 - multiplier * t for t, k in self.down.tolist())
        return FixedParameters(multiplier=multiplier, offset=(least + most) // 2, shift=shift)

    def no_wrap(self, fit: FixedParameters, bits: int) -> bool:
        """Whether a sum of so many bits is exact, and so monotone, on the whole range."""
        ends = (x * fit.multiplier + fit.offset for x in self.domain)
        return all(-(1 << (bits - 1)) <= v < 1 << (bits - 1) for v in ends)
