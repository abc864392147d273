"""Number formats of the array: what a multiplier takes, and how the weight memory holds weights."""

from enum import IntEnum, StrEnum

__all__ = [
    "BOOK_WORDS",
    "NIBBLE_BITS",
    "PLACE_ROWS",
    "MultiplierForm",
    "Precision",
    "WeightFormat",
    "nibble_zeros",
]

NIBBLE_BITS = 5
"""A 4-bit operand less its zero point is a 5-bit signed number in the array."""
BOOK_WORDS = 16
"""Weight words of a codebook: one for every value of a nibble."""
PLACE_ROWS = 4
"""Rows of a tile whose places lie in a word, with `WeightFormat.TWO_OF_FOUR`."""


class Precision(IntEnum):
    """What a processing element multiplies in a cycle; the value is the MATMUL's precision field.

    ``x`` is the byte of activations of the element's row, ``w`` its weight; nibbles of a byte are
    numbered from the low one, and an operand of 4 bits is int4 or uint4 as `x_signed` and
    `w_signed` say. A weight is its code less `w_zero`, wrapped to 9 bits, to 5 if it is a nibble.
    The zero point of nibbles is one of their codes (`nibble_zeros`), so that they are -15 to 15:
    not all forms of the multiplier have room for -16.
    """

    W8A8 = 0
    """One product: ``sum[c] += x * w``."""
    W4A8 = 1
    """Two columns in one: ``sum[c] += x * w0`` and ``sum[columns + c] += x * w1``. A result vector
    has ``2 * columns`` channels, the low nibbles' first."""
    W4A4 = 2
    """Two rows in one: ``sum[c] += x0 * w0 + x1 * w1``; a byte of activations holds two codes."""


def nibble_zeros(w_signed: int) -> range:
    """Values that `w_zero` may have with 4-bit weights: the codes of int4 or uint4."""
    return range(-8, 8) if w_signed else range(16)


class WeightFormat(IntEnum):
    """How the weight memory holds a tile of ``rows`` x ``columns`` weights; MATMUL's `w_format`.

    Every tile starts at a word of ``columns`` bytes and follows the one before it. A decoder at the
    array's edge makes bytes of what is read, which `w_signed` and `w_zero` make weights of. It is
    for `Precision.W8A8`: the weights of a nibble precision are always DENSE, a byte holds the two
    nibbles of an element.
    """

    DENSE = 0
    """A word a row, row 0 first: byte c is column c."""
    INT4 = 1
    """A word two rows: in byte c the low nibble is column c of the even row, the high one of the
    odd row. ``ceil(rows / 2)`` words a tile; int4 or uint4 as `w_signed` says."""
    LOG2 = 2
    """As INT4, but a nibble is a sign (bit 3) and an exponent e (bits 0 to 2): 0 if e is 0, else
    plus or minus ``2**(e - 1)``. Nibble 8 is -128."""
    CODEBOOK = 3
    """As INT4, but a nibble k of column c selects byte c of word k of a codebook: 16 words in
    front of the first tile of every channel tile n, or of the command, if `book_hold` or `w_hold`
    is 1."""
    BITMAP = 4
    """Only some of the weights, the others are 0. The words of a tile are a string of bytes, byte 0
    of a word first. It holds every row, the last one first: ``ceil(columns / 8)`` bytes with a bit
    for every column (column c is bit ``c % 8`` of byte ``c // 8``), behind them a byte for every
    bit that is 1, of the lowest column first."""
    TWO_OF_FOUR = 5
    """Of every four weights of a column two, the others are 0. Such a MATMUL's vector is ``2 *
    rows`` bytes from its address on, and rows 2i and 2i + 1 of a tile hold two weights for bytes
    4i to 4i + 3 of it. Each has a place p, 0 to 3: ``sum[c] += x[4i + p] * w``; if the places of a
    pair are equal, both count. A tile is ``ceil(rows / PLACE_ROWS)`` words of places, then `rows`
    words of weights as DENSE. Byte c of word k of places is for column c and rows 4k to 4k + 3, 2
    bits each, row 4k in the low ones; bits of rows that the array does not have mean nothing. What
    such a MATMUL must fulfil besides is `AcceleratorSpec.sparse_fault`."""


class MultiplierForm(StrEnum):
    """How a processing element makes its products; all forms give the same sums."""

    GENERIC = "generic"
    """Multiplications of signed numbers, for ASIC flows and to compare the others with."""
    PACKED18 = "packed18"
    """One 18x18 multiplier an element, two products of nibbles in it."""
    PACKED27 = "packed27"
    """One 27x18 multiplier for two neighbouring columns, or for the nibbles of an element."""
