"""What a layer's requantizer must compute, what was chosen for it, and what was proven."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Requant
from systolith.compiler.constants import ChannelParameters
from systolith.profiles.formulas import requantize
from systolith.spec.requant import FULL_WIDTHS, RequantMode

__all__ = ["Problem", "Proof", "Requantizer", "amount", "multiplier_width"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """How it is known that a mode computes a runtime's formula.

    Parameters
    ----------
    formula: name of the runtime's formula, see `systolith.arithmetic.Requant`.
    mode: name of the requantizer mode.
    bits: signed width that the layer's multipliers need in that mode.
    channels: output channels, each of which has parameters that were proven equal.
    accumulators: (channel, accumulator) cases that the proof decides; 0 where the mode is the
        formula itself, and there is nothing to prove.
    """

    formula: str
    mode: str
    bits: int
    channels: int
    accumulators: int

    @property
    def direct(self) -> bool:
        """Whether the mode is the formula itself."""
        return not self.accumulators

    @property
    def text(self) -> str:
        """One line for reports."""
        if self.direct:
            return f"{self.formula} formula, direct"
        return (
            f"{self.formula} formula = {self.mode} {self.bits} bit, {self.channels} of "
            f"{self.channels} channels, {amount(self.accumulators)} accumulators"
        )


def amount(count: int) -> str:
    """Return a number of at most three digits with its unit: 950, 1.2 k, 38 M."""
    value, units = float(count), iter(" kMGTP")
    unit = next(units)
    while value >= 999.5:
        value, unit = value / 1000, next(units)
    digits = 0 if value >= 99.5 or unit == " " else 1
    return f"{value:.{digits}f} {unit}".strip()


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantizer:
    """A mode with its parameters.

    Parameters
    ----------
    mode: the command's mode.
    channels: parameters per output channel.
    zero, low, high: the command's fields.
    note: how we know that it is the runtime's formula.
    proof: the same as data; None for copies, which requantize nothing.
    """

    mode: RequantMode
    channels: ChannelParameters
    zero: int
    low: int
    high: int
    note: str
    proof: Proof | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What the requantizer of N channels must compute.

    Parameters
    ----------
    requant: the runtime's formula, clamp and zero point.
    bias: int64[N], zero point of the input folded in, int32 values.
    lo, hi: int64[N], reachable accumulators with bias.
    function: the formula, if it is not that of `requant` alone; without zero point.
    """

    requant: Requant
    bias: Int64Array
    lo: Int64Array
    hi: Int64Array
    function: Callable[[Int64Array], Int64Array] | None = None

    @property
    def low(self) -> int:
        """Lower clamp without zero point."""
        return self.requant.low - self.requant.zero_point

    @property
    def high(self) -> int:
        """Upper clamp without zero point."""
        return self.requant.high - self.requant.zero_point

    @property
    def accumulators(self) -> int:
        """Number of (channel, accumulator) cases."""
        return int((self.hi - self.lo + 1).sum())

    def formula(self, a: Int64Array) -> Int64Array:
        """The runtime's codes without zero point."""
        raw = self.function(a) if self.function else requantize(a, self.requant)
        return np.clip(raw, self.low, self.high)


def multiplier_width(mode: RequantMode, multiplier: Int64Array) -> int:
    """Return the signed width that multipliers need in a mode."""
    if mode in (RequantMode.FIXED, RequantMode.MAGNITUDE):
        return int(np.abs(multiplier).max(initial=0)).bit_length() + 1
    return FULL_WIDTHS.least(mode)[0]
