"""A line between the steps of a requantizer: the parameters of the mode FIXED, found exactly."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from systolith.golden.requant import requantize
from systolith.spec.requant import RequantMode

__all__ = ["FixedParameters", "Line"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedParameters:
    """Parameters of the mode FIXED: ``(a * multiplier + offset) >> shift``."""

    multiplier: int
    offset: int
    shift: int


class Line:
    """The separation of one channel's steps by a line of slope ``multiplier / 2**shift``.

    With ``line(a) = (a * multiplier + offset) / 2**shift`` the requirements are
    ``line(T) >= k`` at the points ``up`` = (T, k) and ``line(T) < k`` at the points ``down``.
    """

    def __init__(
        self,
        domain: tuple[int, int],
        codes: tuple[int, int],
        thresholds: Int64Array,
        clamp: tuple[int, int],
    ) -> None:
        """Turn the steps into points.

        Parameters
        ----------
        domain: the inclusive range of the accumulator.
        codes: the codes at its ends.
        thresholds: int64[steps, 2], each the first accumulator of a code and the code.
        clamp: the inclusive range which the line is clamped to.
        """
        self.domain, self.codes, self.clamp = domain, codes, clamp
        # An end of the range which the clamp does not hold must be met by the line itself.
        start = [(domain[0], codes[0])] if codes[0] > clamp[0] else []
        end = [(domain[1], codes[1] + 1)] if codes[1] < clamp[1] else []
        before = thresholds - [1, 0]
        self.up = np.array(start + thresholds.tolist(), np.int64).reshape(-1, 2)
        self.down = np.array(before.tolist() + end, np.int64).reshape(-1, 2)

    def fit(self, bits: int, offset_bits: int, max_shift: int) -> FixedParameters | None:
        """Choose the largest shift with an integer multiplier inside of the slopes."""
        if self.codes[0] == self.codes[1]:
            return FixedParameters(multiplier=0, offset=self.codes[0], shift=0)
        interval = self.slopes()
        if interval is None:
            return None
        least, most = interval
        if least > 0:
            # With any larger shift already the least slope's multiplier exceeds its width.
            width = least.numerator.bit_length() - least.denominator.bit_length()
            max_shift = max(0, min(max_shift, bits + 1 - width))
        for shift in range(max_shift, -1, -1):
            first = max(least * (1 << shift) // 1 + 1, 0)
            last = min(-(-most * (1 << shift) // 1) - 1, (1 << bits) - 1)
            if first > last:
                continue
            fit = self._offset((first + last) // 2, shift)
            limit = 1 << (offset_bits - 1)
            if -limit <= fit.offset < limit and self._no_wrap(fit):
                return fit
        return None

    def slopes(self) -> tuple[Fraction, Fraction] | None:
        """Return the open interval of feasible slopes, or None if it is empty.

        A slope x is feasible if for all pairs of points
        ``(K - k) - x * (D - U) > 0`` with (U, k) in ``up`` and (D, K) in ``down``: some offset
        then fits between ``max(k - x*U)`` and ``min(K - x*D)``. Pairs with D > U bound x above,
        pairs with D < U below. Newton's method for fractional programs (Dinkelbach) finds both
        bounds exactly in a few rounds, as the worst pair at a given x separates into two points.
        """
        most = self._newton(Fraction(1 << 10), 1)
        least = self._newton(Fraction(-(1 << 10)), -1)
        if most is None or least is None or least >= most:
            return None
        return least, most

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

    def _no_wrap(self, fit: FixedParameters) -> bool:
        """Whether the 64-bit sum is exact, and so monotone, on the whole range."""
        ends = (a * fit.multiplier + fit.offset for a in self.domain)
        return all(-(1 << 63) <= v < 1 << 63 for v in ends)

    def proves(self, fit: FixedParameters) -> bool:
        """Check the fit at every threshold and both ends with the golden requantizer."""
        if not self._no_wrap(fit):
            return False

        def y(a: Int64Array) -> Int64Array:
            return requantize(
                a,
                mode=RequantMode.FIXED,
                bias=0,
                multiplier=fit.multiplier,
                shift=fit.shift,
                offset=fit.offset,
                zero_point=0,
                low=self.clamp[0],
                high=self.clamp[1],
            )

        ends = tuple(y(np.array(self.domain)[:, None])[:, 0].tolist()) == self.codes
        up = bool(np.all(y(self.up[:, :1])[:, 0] >= self.up[:, 1]))
        down = bool(np.all(y(self.down[:, :1])[:, 0] < self.down[:, 1]))
        return ends and up and down
