"""Requantization and rounding modes, with the formulas that golden and hardware implement.

Notation: ``acc`` is an int32 accumulator, ``a = wrap32(acc + bias)``, ``>>`` an arithmetic shift.
Every mode ends with ``clamp(y + zero_point, low, high)``. B is the multiplier's width and A the
accumulator's, 32 bits each unless `RequantWidths` says less.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

__all__ = [
    "FULL_WIDTHS",
    "PARAMETER_FIELDS",
    "ParameterField",
    "RequantMode",
    "RequantWidths",
    "ResidualRounding",
]


class RequantMode(IntEnum):
    """How an int32 accumulator becomes an 8-bit code; the value is the command's mode field."""

    DOUBLE = 0
    """Two roundings (TFLite reference, TFLite Micro).

    ``x = wrap32(a << max(shift, 0)); s = (x * multiplier + 2**30) >> 31; r = max(-shift, 0);``
    ``y = (s >> r) + ((s & (2**r - 1)) > ((2**r - 1 >> 1) + (s < 0)))``:
    rounding high half (half up), then a rounding shift (half away from zero).
    Domain: multiplier in [0, 2**31), shift in [-31, 31].
    """

    FLOAT32 = 1
    """float32 scale, round half to even (ONNX Runtime, XNNPACK): ``rint(float32(a) * scale)``.

    ``scale = multiplier * 2**shift`` with multiplier in [2**23, 2**24), shift in [-128, 127].
    Both the conversion of ``a`` and the product are rounded half to even to 24 significant bits.
    """

    FIXED = 2
    """One rounding in fixed point: ``y = (x * multiplier + offset) >> shift``.

    ``x`` is ``a`` saturated to A bits; the sum wraps at A + B bits. Domain: multiplier of B bits
    and offset of A + B bits, both signed, programmable per channel; shift in [0, 63].
    """

    MAGNITUDE = 3
    """FIXED on magnitudes: ``y = sign(a) * ((x * multiplier + offset) >> shift)``.

    ``x = min(abs(a), 2**(A - 1) - 1)``; domain and sum as FIXED's. One line of steps serves both
    signs, as it does in all formulas that round ``-a`` to minus what they round ``a`` to.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class RequantWidths:
    """Widths of the requantizer's multiplication, 16 to 32 bits each, signed.

    Parameters
    ----------
    multiplier: B; FLOAT32 needs 25 bits for its 24-bit significand, DOUBLE 32.
    accumulator: A; FLOAT32 and DOUBLE need 32.
    """

    multiplier: int = 32
    accumulator: int = 32

    FLOAT32_MULTIPLIER: ClassVar[int] = 25

    @property
    def sum(self) -> int:
        """Bits of the product and of the sum behind it."""
        return self.multiplier + self.accumulator

    def least(self, mode: RequantMode) -> tuple[int, int]:
        """Return the least multiplier and accumulator width that a mode can be built with."""
        if mode is RequantMode.DOUBLE:
            return 32, 32
        return (self.FLOAT32_MULTIPLIER, 32) if mode is RequantMode.FLOAT32 else (16, 16)


FULL_WIDTHS = RequantWidths()
"""With which every mode is its runtime's formula."""


class ResidualRounding(IntEnum):
    """Rounding of the residual add's shift; the value is the command's rounding field."""

    FLOOR = 0
    """``v >> shift`` (round half up once the offset holds ``2**(shift-1)``)."""
    HALF_AWAY = 1
    """``sign(v) * ((abs(v) + 2**(shift-1)) >> shift)``; ``v`` when shift is 0."""
    HALF_EVEN = 2
    """Nearest integer to ``v / 2**shift``, ties to even."""
    NEAR_EVEN = 3
    """HALF_EVEN of ``(v >> (shift - n)) / 2**n``, ``n = min(shift, 16)``: what lies less than
    2**-16 above a half is a tie, as it is where a float32 product rounds to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterField:
    """One field of a channel's requantizer parameters.

    Parameters
    ----------
    name: the same in golden, hw and the program.
    bits: width in the parameter memory.
    word: index of its first 32-bit word in a channel's 8-word window.
    signed: whether it is two's complement.
    """

    name: str
    bits: int
    word: int
    signed: bool = True


PARAMETER_FIELDS = (
    ParameterField(name="bias", bits=32, word=0),
    ParameterField(name="multiplier", bits=32, word=1),
    ParameterField(name="offset", bits=64, word=2),
    ParameterField(name="shift", bits=8, word=4),
)
"""Layout of one channel's parameters: 5 of 8 little-endian 32-bit words are used."""
