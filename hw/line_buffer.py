"""The line buffers of the depthwise mode: a pixel comes in and leaves with the pixels above it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.delay import delay
from systolith.hw.pe import OPERAND_BITS
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["LineBuffer"]

_EXPANSIONS = 4
"""Values of the command field `expand`."""


class LineBuffer(wiring.Component):
    """Put the pixels above a pixel beside it: ``o[l][c]`` is byte c >> expand, D - 1 - l rows up.

    With D = `depthwise_lines`, a memory of `depthwise_width` words keeps D - 1 rows. The word of a
    column is read when a pixel of the column comes, and written back with the pixel in place of its
    oldest row. With pairs two pixels come at a time, one below the other, in place of the two
    oldest. So a stream of an image starts anywhere, without clearing: its first row meets what the
    stream before it left, and its D-th row meets the first.

    While no pixel comes, `o` holds the last one, as `i_x` does. Two pixels of a column must be at
    least 2 cycles apart. Columns without a byte (c >> expand beyond the vector) are 0.

    Latency: the activation memory's ``read_latency`` from the issue of a pixel to `o_lane`, and
    ``taps - 1`` more to `o`: the array, which takes the pixels of ``taps`` cycles, begins with the
    first of a window when the last one would stand at its normal inputs.

    Parameters
    ----------
    spec: array size, lines, width.

    Members
    -------
    i_valid, i_column: a pixel of this column of the image is issued.
    i_expand, i_signed: how the array's columns read its bytes; stable in a stream.
    i_x: `rows` bytes of the activation memory.
    i_pairs, i_below: pixels come in pairs, stable in a stream; the bytes of the lower one. Only
        with `AcceleratorSpec.row_pairs`.
    o_lane: the array begins a vector here, if the pixel completes an output.
    o: `depthwise_lines` times `columns` 9-bit signed operands, line 0 (the oldest row) first.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        array = spec.array
        self.delay = array.depthwise_taps - 1
        pairs = {"i_pairs": In(1), "i_below": In(8 * array.rows)}
        super().__init__(
            (pairs if spec.row_pairs else {})
            | {
                "i_valid": In(1), "i_column": In(range(array.depthwise_width)),
                "i_expand": In(range(_EXPANSIONS)), "i_signed": In(1),
                "i_x": In(8 * array.rows), "o_lane": Out(1),
                "o": Out(OPERAND_BITS * array.depthwise_lines * array.columns),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Choose bytes, wait, add the kept rows, write them back in the same cycle; a register."""
        m = Module()
        array = self.spec.array
        bits, registered = 8 * array.columns, min(self.delay, 1)
        early = self.delay - registered
        latency = ActivationMemory.read_latency
        issued = delay(m, self.i_valid, latency - 1, "issued", reset=True)
        m.d.comb += self.o_lane.eq(delay(m, issued, 1, "lane", reset=True))
        expand = delay(m, self.i_expand, latency, "expand")
        pixel = delay(m, self._bytes(m, self.i_x, expand, "byte"), early, "pixel")
        lines: Value = pixel
        if array.depthwise_lines > 1:
            kept = Memory(
                shape=bits * (array.depthwise_lines - 1), depth=array.depthwise_width, init=[],
                attrs=self.spec.memory.small_attributes,
            )  # fmt: skip
            m.submodules.kept = kept
            read, write = kept.read_port(), kept.write_port()
            valid = delay(m, issued, early, "valid", reset=True)
            column = delay(m, self.i_column, latency - 1 + early, "column")
            below = delay(m, self._bytes(m, self.i_below, expand, "below_byte"), early, "below")
            pairs = delay(m, self.i_pairs, latency + early, "pairs")
            lines = Mux(pairs, Cat(read.data[bits:], pixel, below), Cat(read.data, pixel))
            m.d.comb += [
                read.en.eq(valid), read.addr.eq(column),
                write.en.eq(delay(m, valid, 1, "write", reset=True)),
                write.addr.eq(delay(m, column, 1, "write_column")),
                write.data.eq(lines[bits:]),
            ]  # fmt: skip
        lines = delay(m, lines, registered, "lines")
        is_signed = delay(m, self.i_signed, latency + self.delay, "signed")
        operands = []
        for k in range(array.depthwise_lines * array.columns):
            byte = lines[8 * k : 8 * k + 8]
            operands.append(Cat(byte, byte[7] & is_signed))
        m.d.comb += self.o.eq(Cat(*operands))
        return m

    def _bytes(self, m: Module, x: Value, expand: Value, name: str) -> Value:
        """Byte of every column."""
        rows, chosen = self.spec.array.rows, []
        for c in range(self.spec.array.columns):
            places = [c >> e for e in range(_EXPANSIONS)]
            choices = [x[8 * p : 8 * p + 8] if p < rows else Const(0, 8) for p in places]
            byte = Signal(8, name=f"{name}{c}")
            m.d.comb += byte.eq(choices[0])
            with m.Switch(expand):
                for e in range(1, _EXPANSIONS):
                    with m.Case(e):
                        m.d.comb += byte.eq(choices[e])
            chosen.append(byte)
        return Cat(*chosen)
