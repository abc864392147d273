"""Byte-addressed access to a memory of lines kept in an even and an odd bank."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

__all__ = [
    "bank_lines",
    "must_wait",
    "place_mask",
    "read_window",
    "rotate_line",
    "same_region",
    "swapped_bytes",
]


def bank_lines(address: Value, line_bytes: int) -> tuple[Value, Value]:
    """Line of the even and of the odd bank that hold the ``line_bytes`` bytes from ``address`` on.

    Line q is line q // 2 of the even bank if q is even, else of the odd bank; an unaligned window
    covers lines q and q + 1, one in each.
    """
    line = address[(line_bytes - 1).bit_length() :]
    return (line + 1)[1 : len(line)], line[1:]


def swapped_bytes(place: Value, line_bytes: int) -> Value:
    """Which bytes of the window at ``place`` are those of the odd line, a bit each from byte 0 on.

    ``place`` is the address modulo ``2 * line_bytes``; past the odd line the window goes on in
    even. Bytes below ``place`` in their line are those of the line behind it.
    """
    offset, odd = place[:-1], place[-1]
    return Cat(odd ^ (offset > j) if j + 1 < line_bytes else odd for j in range(line_bytes))


def read_window(m: Module, even: Value, odd: Value, swapped: Value, offset: Value) -> Value:
    """Select a window of a line's length of the pair (even, odd).

    Every byte has its place in a line, whichever line it comes from: one choice a byte, then the
    whole is turned.

    Parameters
    ----------
    swapped: `swapped_bytes` of its place.
    offset: of its first byte in a line.
    """
    window = Signal.like(even, name="chosen")
    for j, from_odd in enumerate(swapped):
        byte = slice(8 * j, 8 * j + 8)
        m.d.comb += window[byte].eq(Mux(from_odd, odd[byte], even[byte]))
    # The largest step first: of its result narrow readers need few bytes.
    for bit in reversed(range(len(offset))):
        turned = Signal.like(even, name=f"window_by_{1 << bit}")
        m.d.comb += turned.eq(Mux(offset[bit], window.rotate_right(8 << bit), window))
        window = turned
    return window


def must_wait(requests: Mapping[str, tuple[Value, Value]], port: str, bits: int, of: int) -> Value:
    """Whether a port waits for one before it in ``requests``, for the same one ``of`` regions.

    Requests are valid, address, of readers or of writers. The array's stream is known last: all
    else about a pair is known by then. The host waits for copies wherever they read.
    """
    claims: list[Value] = []
    for first, (valid, address) in requests.items():
        if first == port:
            break
        anywhere = (first, port) == ("c", "hr")
        meet = same_region(address, requests[port][1], bits, of)
        claims.append(valid if anywhere else valid & meet)
    return Cat(*claims).any()


def same_region(one: Value, other: Value, bits: int, of: int) -> Value:
    """Whether two addresses lie in the same one ``of`` regions: their bits from ``bits`` on."""
    if of == 1:
        return Const(1)
    return (one[bits:] == other[bits:]) & (one[bits:] < of)


def place_mask(mask: Value, place: Value, line_bytes: int) -> Value:
    """Place ``mask``, a bit a byte, at byte ``place`` of a circle of two lines (even, odd)."""
    circle = 2 * line_bytes
    shifted = (mask << place)[: circle + line_bytes]
    return (shifted[:circle] | shifted[circle:])[:circle]


def rotate_line(m: Module, data: Value, offset: Value) -> Value:
    """Rotate a line so that its byte 0 comes to byte ``offset``.

    A window of a line that starts there has each of its bytes at that place of one of two lines, so
    both lines can be given the same rotated data.
    """
    for bit in range(len(offset)):
        turned = Signal(len(data), name=f"line_by_{1 << bit}")
        m.d.comb += turned.eq(Mux(offset[bit], data.rotate_left(8 << bit), data))
        data = turned
    return data
