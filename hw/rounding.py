"""The end of every post-processing datapath: a rounding right shift, then a clamp."""

from amaranth.hdl import Cat, Const, Mux, Value

from systolith.hw.pipeline import Pipeline

__all__ = [
    "NEAR_BITS",
    "SATURATED_BITS",
    "clamp",
    "saturate",
    "shift_coarse",
    "shift_fine",
    "sticky_mask",
]

NEAR_BITS = 15
"""Fraction bits below one half that `ResidualRounding.NEAR_EVEN` looks at."""
SATURATED_BITS = 12
"""Width to which results saturate before the zero point: one fraction bit and 11 integer bits.

Beyond +-1023 every result clamps to the same 9-bit bound, whatever the 9-bit zero point.
"""


def sticky_mask(shift: Value, bits: int, near: Value | None = None) -> Value:
    """Return which of ``bits`` bits a right shift loses but for the first, for ``shift <= bits``.

    Those are the bits below bit ``shift``; while ``near``, the `NEAR_BITS` bits below it.
    """
    # Ones below bit `shift`: all ones moved right by what `shift` lacks to its greatest value.
    levels = bits.bit_length()
    most = (1 << levels) - 1
    mask = (Const((1 << most) - 1, most) >> ~shift[:levels])[:bits]
    return mask if near is None else mask & ~((mask >> NEAR_BITS) & near.replicate(bits))


def shift_coarse(p: Pipeline, value: Value, shift: Value, mask: Value | None = None) -> None:
    """Shift right by the multiple of 8 in ``shift``, and look at the bits that will be lost.

    Sets ``shifted``, ``rest`` (the shift still to do, 0 to 7) and, with a ``mask`` made by
    `sticky_mask`, ``sticky``: whether any of those bits of ``value`` is set.
    """
    p["shifted"] = value >> Cat(Const(0, 3), shift[3:])
    p["rest"] = shift[:3]
    if mask is not None:
        p["sticky"] = (value[: len(mask)] & mask).any()


def shift_fine(p: Pipeline) -> None:
    """Finish the shift of ``shifted``."""
    p["shifted"] = p["shifted"] >> p["rest"]


def saturate(p: Pipeline) -> None:
    """Saturate ``shifted`` to ``SATURATED_BITS`` signed bits."""
    value = p["shifted"]
    sign = value[-1]
    upper = value[SATURATED_BITS - 1 :]  # all equal to the sign, unless the value is too large
    overflow = p.wire("overflow", upper.any() & ~upper.all())
    extreme = Cat((~sign).replicate(SATURATED_BITS - 1), sign)
    p["shifted"] = Mux(overflow, extreme, value[:SATURATED_BITS]).as_signed()


def clamp(value: Value, low: Value, high: Value) -> Value:
    """Limit ``value`` to ``[low, high]``: 9 bits signed."""
    limited = Mux(value < low, low, Mux(value > high, high, value))
    return limited[:9].as_signed()
