"""Multipliers of the processing elements: the operands they take, and the products they make."""

from collections.abc import Set

from amaranth.hdl import Cat, Const, Mux, Value

from systolith.spec.precision import NIBBLE_BITS, MultiplierForm, Precision

__all__ = [
    "FORMS",
    "HIGH_BITS",
    "OPERAND_BITS",
    "PRODUCT_BITS",
    "Multiplier",
    "SplitMultiplier",
    "activation_bits",
    "multiplier",
    "weight_bits",
]

OPERAND_BITS = 9
"""Operands are 9-bit signed, so that int8 and uint8 with any weight zero point share one array."""
PRODUCT_BITS = 2 * OPERAND_BITS
"""A product of two operands, signed."""
HIGH_BITS = 13
"""A product of a byte (-128 to 255) and a nibble's operand (-16 to 15), signed."""


def activation_bits(precisions: Set[Precision]) -> int:
    """Bits of an activation at the array's edge: 9 signed, with W4A4 10 (two nibbles' operands)."""
    return 2 * NIBBLE_BITS if Precision.W4A4 in precisions else OPERAND_BITS


def weight_bits(precisions: Set[Precision]) -> int:
    """Bits of a weight at the array's edge: 9 signed, with nibbles 10 (two nibbles' operands)."""
    return 2 * NIBBLE_BITS if len(precisions) > 1 else OPERAND_BITS


class Multiplier:
    """Products of one processing element; this one multiplies 9-bit operands, W8A8 alone.

    Operands are encoded at the array's edge, once a row and once a column (`activation`, `weight`),
    and move and rest in that form. An element makes `raw` of them, has a register there if it is
    pipelined, and adds `products` to its sums. ``mode`` is one bit for each precision of nibbles
    that is built, in the order of `Precision`; none is set for W8A8.

    Attributes
    ----------
    modes: the precisions of nibbles that are built.
    activation_bits, weight_bits: widths of the encoded operands, signed.
    has_high: whether there is a second sum.
    """

    def __init__(self, precisions: Set[Precision] = frozenset({Precision.W8A8})):
        self.modes = tuple(sorted(set(precisions) - {Precision.W8A8}))
        self.activation_bits = activation_bits(precisions)
        self.weight_bits = weight_bits(precisions)
        self.has_high = Precision.W4A8 in self.modes

    def mode(self, precision: Value) -> Value:
        """Mode of a vector of this `Precision`."""
        return Cat(*(precision == p for p in self.modes))

    def is_mode(self, mode: Value, precision: Precision) -> Value:
        """Whether the mode is this precision of nibbles; 0 if it is not built."""
        return mode[self.modes.index(precision)] if precision in self.modes else Const(0, 1)

    def activation(self, x: Value, mode: Value) -> Value:
        """Encode an activation operand of `activation_bits` (the function) for a row."""
        return x

    def weight(self, w: Value, nibbles: Value) -> Value:
        """Encode a weight operand of `weight_bits` (the function); whether it is of nibbles."""
        return w

    def raw(self, x: Value, w: Value, mode: Value) -> Value:
        """What the multiplier gives for encoded operands."""
        return x.as_signed() * w.as_signed()

    def products(self, raw: Value, mode: Value) -> tuple[Value, Value]:
        """What is added to the low sum and to the high one: signed; the high one 0 without W4A8."""
        return raw.as_signed(), Const(0, 1)


class SplitMultiplier(Multiplier):
    """Two multipliers, 9 x 5 bits: of the halves of a weight, or of its nibbles.

    A weight of 9 bits is ``16 * high + low`` with a low half of 0 to 15, so both halves are 5-bit
    signed, as nibbles' operands are, and ``x * w = (x * high << 4) + x * low``. The area is that of
    one 9 x 9 multiplier, of which the adder of its halves can be left out.
    """

    def weight(self, w: Value, nibbles: Value) -> Value:
        """Two 5-bit signed operands."""
        return Mux(nibbles, w, Cat(w[:4], Const(0, 1), w[4:OPERAND_BITS]))

    def raw(self, x: Value, w: Value, mode: Value) -> Value:
        """Both products, added up."""
        byte = x[:OPERAND_BITS].as_signed()
        is_w4a4 = self.is_mode(mode, Precision.W4A4)
        is_w4a8 = self.is_mode(mode, Precision.W4A8)
        x0 = x1 = byte
        if Precision.W4A4 in self.modes:
            x0 = Mux(is_w4a4, x[:NIBBLE_BITS].as_signed(), byte)
            x1 = Mux(is_w4a4, x[NIBBLE_BITS:].as_signed(), byte)
        u0 = x0 * w[:NIBBLE_BITS].as_signed()
        u1 = x1 * w[NIBBLE_BITS:].as_signed()
        low = u0 + Mux(is_w4a8, 0, Mux(is_w4a4, u1, u1 << 4))
        high = Mux(is_w4a8, u1, 0)
        return Cat(low[:PRODUCT_BITS], high[:HIGH_BITS] if self.has_high else Const(0, 0))

    def products(self, raw: Value, mode: Value) -> tuple[Value, Value]:
        """As they are."""
        high = raw[PRODUCT_BITS:].as_signed() if self.has_high else Const(0, 1)
        return raw[:PRODUCT_BITS].as_signed(), high


FORMS: dict[MultiplierForm, type[Multiplier]] = {
    MultiplierForm.GENERIC: SplitMultiplier,
}
"""The multiplier of each form, for arrays that have a precision of nibbles."""


def multiplier(form: MultiplierForm, precisions: Set[Precision]) -> Multiplier:
    """The multiplier of an array's elements."""
    return (FORMS[form] if len(precisions) > 1 else Multiplier)(precisions)
