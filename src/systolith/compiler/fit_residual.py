"""The search for residual parameters which reproduce a runtime's sum or product on every pair.

A quantized addition is a function of two codes: at most 65 536 pairs. Each pair asks that the
weighted sum ``v = y * multiplier_y + r * multiplier_r + offset`` lies in an interval of integers
which follows from its result and the rounding. With both multipliers chosen, the offsets which
satisfy all pairs are an interval, found exactly; the multipliers themselves come from the real
slopes or, where those fail, from a linear program which maximises the margin to all intervals.
A multiplication is the same with the product in the place of y, and in that of r its sign.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

from systolith.golden.residual import SUM_BITS, residual_add, residual_product
from systolith.spec.requant import ResidualRounding

__all__ = ["ResidualParameters", "fit_product", "fit_residual"]

Int64Array = NDArray[np.int64]

_WINDOW_BITS = 9
"""Pairs within 2**-9 of a step are in the linear program; the others cannot be moved by it."""
_ROUNDS = 40
"""Linear programs per rounding; each adds the pairs which the last one violated most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidualParameters:
    """Arguments of golden's :func:`residual_add` and `residual_product`, and command's fields."""

    multiplier_y: int
    multiplier_r: int
    offset: int
    shift: int
    rounding: ResidualRounding
    zero: int
    low: int
    high: int


def fit_residual(
    table: ArrayLike,
    y: ArrayLike,
    r: ArrayLike,
    *,
    slopes: tuple[float, float],
    zero_point: int,
    low: int,
    high: int,
) -> ResidualParameters | None:
    """Find parameters with which the residual add equals a table, or None.

    The result is proven by the golden residual add on every pair of the table.

    Parameters
    ----------
    table: the wanted results [len(y), len(r)], integers in [low, high].
    y, r: the values which the requantizer and the other operand can have.
    slopes: input scales over the output scale, the start of the search.
    zero_point: of the output, where ties away from zero turn.
    low, high: the clamp.

    Raises
    ------
    ValueError: if the table has another shape or exceeds the clamp.
    """
    own = np.asarray(y, np.int64), np.asarray(r, np.int64)
    wanted = _checked(table, own, low, high)
    shift = _shift(slopes, own, high - low)
    pairs = own[0][:, None], own[1][None]
    guess = round(slopes[0] * 2**shift), round(slopes[1] * 2**shift)
    return _first_fit(wanted, pairs, shift, [guess], zero_point, (low, high))


def fit_product(
    table: ArrayLike,
    y: ArrayLike,
    r: ArrayLike,
    *,
    zero_r: int,
    slope: float,
    zero_point: int,
    low: int,
    high: int,
) -> ResidualParameters | None:
    """Find parameters with which the residual product equals a table, or None.

    The result is proven by the golden product on every pair of the table.

    Parameters
    ----------
    table: the wanted results [len(y), len(r)], integers in [low, high].
    y: the requantizer's values without their zero point.
    r: the other operand's values; zero_r: their zero point.
    slope: product of the input scales over the output scale, the start of the search.
    zero_point: of the output, where ties away from zero turn.
    low, high: the clamp.

    Raises
    ------
    ValueError: if the table has another shape or exceeds the clamp.
    """
    own = np.asarray(y, np.int64), np.asarray(r, np.int64)
    wanted = _checked(table, own, low, high)
    products = own[0][:, None] * (own[1][None] - zero_r)
    points, first = np.unique(products, return_index=True)
    reach = np.array([int(points[0]), int(points[-1])])
    # A bit less than fits: the amount for negative products is up to two products' worth.
    shift = _shift((2 * slope, 0.0), (reach, reach[:1]), high - low)
    # Where two roundings follow each other, the first one moves either sign outwards: by half a
    # unit of its own, 2**-right of a code.
    right = max(0, -int(np.frexp(slope)[1]))
    multiplier = round(slope * 2**shift)
    guesses = [(multiplier, 0), (multiplier, -(1 << max(0, shift - right)))]
    pairs = points, (points < 0).astype(np.int64)
    fit = _first_fit(wanted.ravel()[first], pairs, shift, guesses, zero_point, (low, high))
    if fit is None:
        return None
    proof = residual_product(own[0][:, None], own[1][None], zero_r=zero_r, **asdict(fit))
    return fit if np.array_equal(proof, wanted) else None


def _checked(
    table: ArrayLike, own: tuple[Int64Array, Int64Array], low: int, high: int
) -> Int64Array:
    """Return the table as integers, if it fits its operands and its clamp."""
    wanted = np.asarray(table, np.int64)
    if wanted.shape != (own[0].size, own[1].size):
        raise ValueError(f"table must be {(own[0].size, own[1].size)} large, not {wanted.shape!r}")
    if wanted.min() < low or wanted.max() > high:
        raise ValueError(
            f"table must be in [{low}, {high}], not {int(wanted.min())} to {int(wanted.max())}"
        )
    return wanted


def _first_fit(
    wanted: Int64Array,
    own: tuple[Int64Array, Int64Array],
    shift: int,
    guesses: Sequence[tuple[int, int]],
    zero_point: int,
    clamp: tuple[int, int],
) -> ResidualParameters | None:
    """Try the guesses with every rounding, then what linear programs find around them."""
    searches = [
        _Search(wanted, own, shift, rounding, zero, clamp)
        for rounding, zero in (
            (ResidualRounding.FLOOR, 0),
            (ResidualRounding.HALF_AWAY, zero_point),
            (ResidualRounding.HALF_EVEN, 0),
            (ResidualRounding.HALF_EVEN, 1),
            (ResidualRounding.NEAR_EVEN, 0),
            (ResidualRounding.NEAR_EVEN, 1),
        )
    ]
    for search, guess in product(searches, guesses):
        fit = search.at(guess)
        if fit is not None:
            return fit
    for search, guess in product(searches, guesses):
        for multipliers in search.candidates(guess):
            fit = search.at(multipliers)
            if fit is not None:
                return fit
    return None


def _shift(slopes: tuple[float, float], own: tuple[Int64Array, Int64Array], span: int) -> int:
    """Return the largest shift for which the multipliers fit 31 bits and the sum SUM_BITS - 1."""
    reach = sum(abs(s) * (int(v.max()) - int(v.min())) for s, v in zip(slopes, own, strict=True))
    limits = (
        ((1 << 31) - 1) / max(*(abs(s) for s in slopes), 2.0**-40),
        (1 << (SUM_BITS - 2)) / (reach + span + 256),
    )
    return max(1, min(SUM_BITS - 1, int(np.floor(np.log2(min(limits))))))


class _Search:
    """The intervals which one rounding asks for, and the search inside of them.

    Parameters
    ----------
    wanted: results, of the shape to which the operands ``own`` broadcast.
    """

    def __init__(
        self,
        wanted: Int64Array,
        own: tuple[Int64Array, Int64Array],
        shift: int,
        rounding: ResidualRounding,
        zero: int,
        clamp: tuple[int, int],
    ) -> None:
        self.wanted, self.own, self.clamp = wanted, own, clamp
        self.shift, self.rounding, self.zero = shift, rounding, zero
        unit, half = 1 << shift, 1 << (shift - 1)
        code = wanted - zero
        if rounding is ResidualRounding.FLOOR:
            least, most = code * unit, (code + 1) * unit - 1
        elif rounding is ResidualRounding.HALF_AWAY:
            least, most = code * unit - half + (code <= 0), code * unit + half - (code >= 0)
        else:
            # The last bits are not looked at: the interval is widened to where they change more.
            spare = max(0, shift - 16) if rounding is ResidualRounding.NEAR_EVEN else 0
            unit, half, odd = unit >> spare, half >> spare, code & 1
            least = (code * unit - half + odd) << spare
            most = ((code * unit + half - odd + 1) << spare) - 1
        free = np.int64(1) << np.int64(60)
        # Where the clamp holds the result, the sum may be any larger (or smaller) number.
        self.least = np.where(wanted == clamp[0], -free, least)
        self.most = np.where(wanted == clamp[1], free, most)

    def _sums(self, multipliers: tuple[int, ...]) -> Int64Array:
        """Return the weighted sums of all pairs without offset."""
        return self.own[0] * multipliers[0] + self.own[1] * multipliers[1]

    def at(self, multipliers: tuple[int, ...]) -> ResidualParameters | None:
        """Return proven parameters with these multipliers, or None."""
        if any(abs(m) >= 1 << 31 for m in multipliers):
            return None
        sums = self._sums(multipliers)
        # Neither the sum nor its constant may leave the hardware's range.
        limit = 1 << (SUM_BITS - 1)
        least = max(int((self.least - sums).max()), -limit - min(0, int(sums.min())))
        most = min(int((self.most - sums).min()), limit - 1 - max(0, int(sums.max())))
        if least > most:
            return None
        offset = (least + most) // 2
        fit = ResidualParameters(
            multiplier_y=multipliers[0],
            multiplier_r=multipliers[1],
            offset=offset,
            shift=self.shift,
            rounding=self.rounding,
            zero=self.zero,
            low=self.clamp[0],
            high=self.clamp[1],
        )
        proof = residual_add(*self.own, **asdict(fit))
        return fit if np.array_equal(proof, self.wanted) else None

    def candidates(self, guess: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Yield multipliers around those of the linear program's best margin."""
        move = self._best_move(guess)
        if move is None:
            return
        centre = [g + m for g, m in zip(guess, move, strict=True)]
        near = sorted(product((0, -1, 1), repeat=2), key=lambda d: abs(d[0]) + abs(d[1]))
        for d in near:
            yield round(centre[0]) + d[0], round(centre[1]) + d[1]

    def _best_move(self, guess: tuple[int, ...]) -> tuple[float, float] | None:
        """Return how far to move both multipliers so that the least margin is largest.

        Constraints are written relative to the guess and in units of 2**-22 of a code, so that the
        solver's absolute tolerance of 1e-7 is far below one unit of the sum.
        """
        sums = self._sums(guess)
        low, high = self.least - sums, self.most - sums
        middle = (int(low.max()) + int(high.min())) // 2
        unit = 2.0 ** (self.shift - 22)
        window = 1 << (22 - _WINDOW_BITS)
        coordinates = np.stack(np.broadcast_arrays(*self.own), -1)
        rows, slack = [], []
        for sign, gap in ((1.0, (high - middle) / unit), (-1.0, (middle - low) / unit)):
            near = gap < window
            ones = np.ones((int(near.sum()), 1))
            rows.append(np.hstack([sign * coordinates[near], sign * ones, ones]))
            slack.append(gap[near])
        return _largest_margin(np.concatenate(rows), np.concatenate(slack), window, unit)


def _largest_margin(
    rows: NDArray[np.float64], slack: NDArray[np.float64], window: int, unit: float
) -> tuple[float, float] | None:
    """Maximise the margin ``e`` of ``rows @ (a, b, c, e) <= slack`` by constraint generation."""
    if not len(rows):
        return None
    active = np.argsort(slack)[:64]
    reach = window / 512
    bounds = [(-reach, reach), (-reach, reach), (-window / 2, window / 2), (None, window)]
    for _ in range(_ROUNDS):
        result = linprog([0, 0, 0, -1], rows[active], slack[active], bounds=bounds, method="highs")
        if not result.success or result.x[3] < 0:
            return None
        excess = rows @ result.x - slack
        worst = np.argsort(excess)[-64:]
        worst = worst[excess[worst] > 1e-6]
        if not len(worst):
            return float(result.x[0] * unit), float(result.x[1] * unit)
        active = np.union1d(active, worst)
    return None
