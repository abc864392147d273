"""Bytes of a row into lines, and these into the activation memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["LineWriter"]


class LineWriter(wiring.Component):
    """Gather the bytes of a row, line by line, behind a datapath that cannot stall.

    Two lines have room here: `ready` says whether a byte may be sent on its way, so that it finds
    room whenever it arrives.

    Parameters
    ----------
    spec: address width, line width.

    Members
    -------
    start, address, length: begin a row; the one before must be done.
    ready, issue: a byte may be sent on its way; it is.
    i_valid, i: it arrives, in any later cycle, in order.
    f_valid, f_address, f_count, f_data, f_ready: writes.
    done: the row's last byte is being written.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        bits, line = spec.activation_address_bits, spec.line_bytes
        super().__init__(
            {
                "start": In(1), "address": In(bits), "length": In(16),
                "ready": Out(1), "issue": In(1), "i_valid": In(1), "i": In(8),
                "f_valid": Out(1), "f_address": Out(bits), "f_count": Out(range(line + 1)),
                "f_data": Out(8 * line), "f_ready": In(1), "done": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """A line that gathers and one that waits to be written."""
        m = Module()
        line = self.spec.line_bytes
        issued = Signal(range(line))  # bytes of the line that is being sent
        open_lines, taken = Signal(range(3)), Signal()
        opens = self.issue & (issued == 0)
        m.d.comb += [
            taken.eq(self.f_valid & self.f_ready),
            self.ready.eq((issued != 0) | (open_lines != 2)),
        ]
        m.d.sync += open_lines.eq(open_lines + opens - taken)
        with m.If(self.issue):
            m.d.sync += issued.eq(issued + 1)

        gathered = Signal(8 * line, reset_less=True)
        count, left = Signal(range(line + 1)), Signal(16)
        full, moves, last = Signal(), Signal(), Signal()
        place = Signal(range(line))
        # The next line's first byte may come as soon as a full line goes on, but never before.
        m.d.comb += [moves.eq(full & (~self.f_valid | taken)), place.eq(Mux(moves, 0, count))]
        with m.If(moves):
            m.d.sync += [
                full.eq(0), count.eq(0), self.f_valid.eq(1), self.f_count.eq(count),
                self.f_data.eq(gathered), last.eq(left == 0),
            ]  # fmt: skip
        with m.Elif(taken):
            m.d.sync += self.f_valid.eq(0)
        with m.If(taken):
            m.d.sync += self.f_address.eq(self.f_address + line)
        with m.If(self.i_valid):
            m.d.sync += [
                gathered.word_select(place, 8).eq(self.i), count.eq(place + 1),
                left.eq(left - 1), full.eq((place == line - 1) | (left == 1)),
            ]  # fmt: skip
        m.d.comb += self.done.eq(taken & last)
        with m.If(self.start):
            m.d.sync += [self.f_address.eq(self.address), left.eq(self.length), issued.eq(0)]
        return m
