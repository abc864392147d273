"""The end of every post-processing datapath: a rounding right shift, then a clamp."""

from amaranth.hdl import Cat, Const, Mux, Value

from systolith.hw.pipeline import Pipeline

__all__ = ["NEAR_BITS", "SATURATED_BITS", "clamp", "saturate", "shift_coarse", "shift_fine"]

NEAR_BITS = 15
"""Fraction bits below one half that `ResidualRounding.NEAR_EVEN` looks at."""
SATURATED_BITS = 12
"""Width to which results saturate before the zero point: one fraction bit and 11 integer bits.

Beyond +-1023 every result clamps to the same 9-bit bound, whatever the 9-bit zero point.
"""


def shift_coarse(
    p: Pipeline, value: Value, shift: Value, sticky_bits: int, near: Value | None = None
) -> None:
    """Shift right by the multiple of 8 in ``shift``, and look at the bits that will be lost.

    Sets ``shifted``, ``rest`` (the shift still to do, 0 to 7) and ``sticky``: whether any of the
    bits of ``value`` below bit ``shift`` is set, right for ``shift <= sticky_bits``; of the
    `NEAR_BITS` bits below it, while ``near``.
    """
    p["shifted"] = value >> Cat(Const(0, 3), shift[3:])
    p["rest"] = shift[:3]
    if sticky_bits:
        # Ones below bit `shift`: all ones moved right by what `shift` lacks to its greatest value.
        levels = sticky_bits.bit_length()
        most = (1 << levels) - 1
        mask = p.wire("mask", (Const((1 << most) - 1, most) >> ~shift[:levels])[:sticky_bits])
        seen: Value = mask
        if near is not None:
            seen = mask & ~((mask >> NEAR_BITS) & near.replicate(sticky_bits))
        p["sticky"] = (value[:sticky_bits] & seen).any()


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
