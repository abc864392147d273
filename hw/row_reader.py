"""A row of the activation memory as a stream of bytes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.delay import delay
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["RowReader"]


class RowReader(wiring.Component):
    """Read a row line by line, one line ahead, and give it byte by byte.

    The first byte is there 6 cycles after `start`; then one comes a cycle, or a line in 5 cycles
    where a line is shorter, if the memory grants every read at once.

    Parameters
    ----------
    spec: address width, line width.

    Members
    -------
    start, address, length: begin a row; the one before must have been taken whole.
    c_valid, c_address, c_ready, c_data: reads of lines, `read_latency` cycles from grant to data.
    o_valid, o, o_last: a byte, and whether it is the row's last.
    o_next: take it.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        bits, line = spec.activation_address_bits, spec.line_bytes
        super().__init__(
            {
                "start": In(1), "address": In(bits), "length": In(16),
                "c_valid": Out(1), "c_address": Out(bits), "c_ready": In(1),
                "c_data": In(8 * line),
                "o_valid": Out(1), "o": Out(8), "o_last": Out(1), "o_next": In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """A line that shifts out, one that waits, at most one read under way."""
        m = Module()
        line = self.spec.line_bytes
        to_read, to_give = Signal(16), Signal(16)
        reading, waiting = Signal(), Signal()
        current, following = Signal(8 * line, reset_less=True), Signal(8 * line, reset_less=True)
        count = Signal(range(line + 1))
        granted = self.c_valid & self.c_ready
        arrives = delay(m, granted, ActivationMemory.read_latency, "arrives", reset=True)
        taken = self.o_valid & self.o_next
        moves = Signal()
        m.d.comb += [
            self.c_valid.eq((to_read != 0) & ~reading & ~waiting),
            self.o_valid.eq((count != 0) & (to_give != 0)), self.o.eq(current[:8]),
            self.o_last.eq(to_give == 1),
            moves.eq(waiting & ((count == 0) | (taken & (count == 1)))),
        ]  # fmt: skip
        with m.If(granted):
            m.d.sync += [
                reading.eq(1), self.c_address.eq(self.c_address + line),
                to_read.eq(Mux(to_read <= line, 0, to_read - line)),
            ]  # fmt: skip
        with m.If(arrives):
            m.d.sync += [reading.eq(0), waiting.eq(1), following.eq(self.c_data)]
        with m.If(taken):
            m.d.sync += [current.eq(current >> 8), count.eq(count - 1), to_give.eq(to_give - 1)]
        with m.If(moves):
            m.d.sync += [current.eq(following), count.eq(line), waiting.eq(0)]
        with m.If(self.start):
            m.d.sync += [
                self.c_address.eq(self.address), to_read.eq(self.length),
                to_give.eq(self.length), count.eq(0),
            ]  # fmt: skip
        return m
