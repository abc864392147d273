"""Multipliers of the processing elements: the operands they take, and the products they make."""

from collections.abc import Set
from dataclasses import dataclass
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Mux, Value

from systolith.spec.precision import NIBBLE_BITS, MultiplierForm, Precision

__all__ = [
    "FORMS",
    "HIGH_BITS",
    "OPERAND_BITS",
    "PRODUCT_BITS",
    "Form",
    "Multiplier",
    "PackedMultiplier",
    "PairMultiplier",
    "Product",
    "SplitMultiplier",
    "WideMultiplier",
    "activation_bits",
    "multipliers",
    "weight_bits",
]

OPERAND_BITS = 9
"""Operands are 9-bit signed, so that int8 and uint8 with any weight zero point share one array."""
PRODUCT_BITS = 2 * OPERAND_BITS
"""A product of two operands, signed."""
HIGH_BITS = 13
"""A product of a byte (-128 to 255) and a nibble's operand (-16 to 15), signed."""
_PAIR_BITS = 17
"""A product of a byte (-128 to 255) and a 9-bit operand, signed."""


def activation_bits(precisions: Set[Precision]) -> int:
    """Bits of an activation at the array's edge: 9 signed, with W4A4 10 (two nibbles' operands)."""
    return 2 * NIBBLE_BITS if Precision.W4A4 in precisions else OPERAND_BITS


def weight_bits(precisions: Set[Precision]) -> int:
    """Bits of a weight at the array's edge: 9 signed, with nibbles 10 (two nibbles' operands)."""
    return 2 * NIBBLE_BITS if len(precisions) > 1 else OPERAND_BITS


def _pack(low: Value, high: Value, shift: int, bits: int) -> Value:
    """``low + (high << shift)`` of two signed values, in ``bits`` bits.

    Only the upper part is computed: it is less by one where the low value is negative.
    """
    wide = Cat(low, low[-1].replicate(shift - len(low)))
    upper = high.as_signed() - low[-1]
    return Cat(wide, upper[: bits - shift])


class Product(NamedTuple):
    """What an element adds to a sum: a signed value, and 1 more if `carry` is set."""

    value: Value
    carry: Value | None = None

    def plus(self, total: Value) -> Value:
        """The sum of both and ``total``, by one adder: a bit below the others makes its carry."""
        if self.carry is None:
            return total + self.value
        below = Cat(Const(1, 1), total).as_signed() + Cat(self.carry, self.value).as_signed()
        return below >> 1


NOTHING = Product(Const(0, 1))


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
    columns: array columns that the element serves: 2 if the second sum is that of the next column.
    """

    columns = 1

    def __init__(self, precisions: Set[Precision] = frozenset({Precision.W8A8})):
        self.modes = tuple(sorted(set(precisions) - {Precision.W8A8}))
        self.activation_bits = activation_bits(precisions)
        self.weight_bits = weight_bits(precisions)
        self.has_high = Precision.W4A8 in self.modes

    @property
    def is_product(self) -> bool:
        """Whether `raw` is the product of the encoded operands, whatever the mode."""
        return type(self).raw is Multiplier.raw

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
        """Encode a weight operand of `weight_bits` (the function), of nibbles or not.

        With 2 `columns`, both columns' operands, the lower column's in the low bits.
        """
        return w

    def raw(self, x: Value, w: Value, mode: Value) -> Value:
        """What the multiplier gives for encoded operands."""
        return x.as_signed() * w.as_signed()

    def products(self, raw: Value, mode: Value) -> tuple[Product, Product]:
        """What is added to the low sum and to the high one; of other modes than W4A8 that is 0."""
        return Product(raw.as_signed()), NOTHING


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

    def products(self, raw: Value, mode: Value) -> tuple[Product, Product]:
        """As they are."""
        high = Product(raw[PRODUCT_BITS:].as_signed()) if self.has_high else NOTHING
        return Product(raw[:PRODUCT_BITS].as_signed()), high


class PackedMultiplier(Multiplier):
    """One multiplier of 18 x 18 bits for the products of an element, in fields of 13 bits.

    ``x * (w0 + w1 * 2**13)`` has ``x * w0`` in its low field and ``x * w1`` above, and
    ``(x1 + x0 * 2**13) * (w0 + w1 * 2**13)`` has ``x0 * w0 + x1 * w1`` in its middle one. A field
    above a negative one is less by one, which the sign of that field, as a carry, makes good.

    Exact for bytes of -128 to 255 and nibbles of int4 or uint4, as all activations are, and for
    nibbles of weights from -15 to 15: what there is if `w_zero` is a code of their format. With
    -16 above a negative nibble the weights would need a 19th bit.
    """

    packed_weight_bits = 18

    def __init__(self, precisions: Set[Precision]):
        super().__init__(precisions)
        self.weight_bits = self.packed_weight_bits
        if Precision.W4A4 in self.modes:
            self.activation_bits = 18

    def activation(self, x: Value, mode: Value) -> Value:
        """The second nibble's operand in the low field, the first one's above; or the byte's."""
        byte = x[:OPERAND_BITS].as_signed()
        if Precision.W4A4 not in self.modes:
            return byte
        nibbles = _pack(x[NIBBLE_BITS:], x[:NIBBLE_BITS], HIGH_BITS, self.activation_bits)
        return Mux(self.is_mode(mode, Precision.W4A4), nibbles.as_signed(), byte)

    def weight(self, w: Value, nibbles: Value) -> Value:
        """The first nibble's operand in the low field, the second one's above; or the byte's."""
        packed = _pack(w[:NIBBLE_BITS], w[NIBBLE_BITS:], HIGH_BITS, self.weight_bits)
        return Mux(nibbles, packed.as_signed(), w[:OPERAND_BITS].as_signed())

    def products(self, raw: Value, mode: Value) -> tuple[Product, Product]:
        """Take the fields apart."""
        low = raw[:PRODUCT_BITS].as_signed()
        first = raw[:HIGH_BITS].as_signed()
        second = raw[HIGH_BITS : 2 * HIGH_BITS].as_signed()
        borrow = first[-1]
        high, carry = NOTHING, None
        if Precision.W4A8 in self.modes:
            is_w4a8 = self.is_mode(mode, Precision.W4A8)
            low = Mux(is_w4a8, first, low)
            high = Product(Mux(is_w4a8, second, 0), borrow & is_w4a8)
        if Precision.W4A4 in self.modes:
            is_w4a4 = self.is_mode(mode, Precision.W4A4)
            low, carry = Mux(is_w4a4, second, low), borrow & is_w4a4
        return Product(low, carry), high


class WideMultiplier(PackedMultiplier):
    """As `PackedMultiplier`, of 19 x 18 bits, and so for nibbles of weights from -16 to 15."""

    packed_weight_bits = 19


class PairMultiplier(Multiplier):
    """One multiplier of 27 x 9 bits for two columns: ``x * (w_a + w_b * 2**17)``, W8A8 alone.

    Exact for bytes of -128 to 255 and all weights; `_PAIR_BITS` hold a product of such.
    """

    columns = 2

    def __init__(self, precisions: Set[Precision] = frozenset({Precision.W8A8})):
        super().__init__(precisions)
        self.weight_bits, self.has_high = 27, True

    def weight(self, w: Value, nibbles: Value) -> Value:
        """The first column's operand in the low field, the second one's above."""
        return _pack(w[:OPERAND_BITS], w[OPERAND_BITS:], _PAIR_BITS, self.weight_bits)

    def products(self, raw: Value, mode: Value) -> tuple[Product, Product]:
        """Take the fields apart."""
        second = raw[_PAIR_BITS : _PAIR_BITS + PRODUCT_BITS].as_signed()
        return Product(raw[:_PAIR_BITS].as_signed()), Product(second, raw[_PAIR_BITS - 1])


@dataclass(frozen=True, slots=True)
class Form:
    """The multipliers of a form.

    Parameters
    ----------
    bytes: of arrays without precisions of nibbles.
    nibbles: of arrays with such.
    """

    bytes: type[Multiplier]
    nibbles: type[Multiplier]


FORMS: dict[MultiplierForm, Form] = {
    MultiplierForm.GENERIC: Form(Multiplier, SplitMultiplier),
    MultiplierForm.PACKED18: Form(Multiplier, PackedMultiplier),
    MultiplierForm.PACKED27: Form(PairMultiplier, WideMultiplier),
}
"""What each form is made of."""


def multipliers(
    form: MultiplierForm, precisions: Set[Precision], columns: int, *, apart: bool = False
) -> list[Multiplier]:
    """The multipliers of the elements of a row, from column 0 on.

    Columns that may have activations of their own (``apart``) cannot share a multiplier.
    """
    if len(precisions) > 1:
        return [FORMS[form].nibbles(precisions)] * columns
    shared = Multiplier() if apart else FORMS[form].bytes()
    pairs, single = divmod(columns, shared.columns)
    return [shared] * pairs + [Multiplier()] * single
