"""Byte-addressed access to a memory of lines kept in an even and an odd bank."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value

__all__ = ["bank_lines", "place_mask", "read_window", "rotate_line"]


def bank_lines(address: Value, line_bytes: int) -> tuple[Value, Value]:
    """Line of the even and of the odd bank that hold the ``line_bytes`` bytes from ``address`` on.

    Line q is line q // 2 of the even bank if q is even, else of the odd bank; an unaligned window
    covers lines q and q + 1, one in each.
    """
    line = address[(line_bytes - 1).bit_length() :]
    return (line + 1)[1 : len(line)], line[1:]


def read_window(m: Module, even: Value, odd: Value, place: Value, line_bytes: int) -> Value:
    """Select the ``line_bytes`` bytes that start at byte ``place`` of the pair (even, odd).

    ``place`` is the address modulo ``2 * line_bytes``; past the odd line the window goes on in
    even.
    """
    pair = Signal(16 * line_bytes, name="pair")
    m.d.comb += pair.eq(Mux(place[-1], Cat(odd, even), Cat(even, odd)))
    offset = place[:-1]
    return (pair >> (offset << 3))[: 8 * line_bytes]


def place_mask(mask: Value, place: Value, line_bytes: int) -> Value:
    """Place ``mask``, a bit a byte, at byte ``place`` of a circle of two lines (even, odd)."""
    circle = 2 * line_bytes
    shifted = (mask << place)[: circle + line_bytes]
    return (shifted[:circle] | shifted[circle:])[:circle]


def rotate_line(data: Value, offset: Value, line_bytes: int) -> Value:
    """Rotate a line so that its byte 0 comes to byte ``offset``.

    A window of a line that starts there has each of its bytes at that place of one of two lines, so
    both lines can be given the same rotated data.
    """
    back = (-offset)[: len(offset)]
    return (Cat(data, data) >> (back << 3))[: 8 * line_bytes]
