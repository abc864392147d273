"""AXI4-Stream in and out: a frame becomes a tensor, starts a program, and its result leaves."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.byte_master import ByteMaster
from systolith.hw.control import AXI_LITE
from systolith.hw.stream_registers import LAYOUT_BITS, StreamRegisters
from systolith.spec.registers import ADDRESS_BITS, REGISTERS, Window
from systolith.spec.stream import STREAM_LAYOUT

__all__ = ["StreamPort", "axi_stream"]

_OFFSET = {register.name: register.offset for register in REGISTERS}
_FAILED_BIT = 2
"""Bit of `status`."""


def axi_stream(size: int, *, sink: bool = False) -> wiring.Signature:
    """AXI4-Stream of ``size`` bytes a beat, seen from its source, or from its sink."""
    there, back = (In, Out) if sink else (Out, In)
    return wiring.Signature(
        {
            "tdata": there(8 * size), "tkeep": there(size), "tlast": there(1), "tvalid": there(1),
            "tready": back(1),
        }
    )  # fmt: skip


class StreamPort(wiring.Component):
    """Receive a frame, start the program, wait for its end, send the result; then the next frame.

    Registers (`systolith.spec.stream`) say where frames are in the activation memory and which of
    these steps are done. Bytes whose `tkeep` is 0 are skipped anywhere in a beat. A frame that ends
    too early or too late is dropped up to its `tlast`, and starts nothing; the input is not taken
    while a program runs or a result is sent. The result's last beat has `tlast`, and a `tkeep` of
    the bytes that are there.

    Throughput: a byte a cycle, one cycle for each beat, and for each word those of its access.

    Parameters
    ----------
    size: bytes of a beat.

    Members
    -------
    i, o: the streams.
    bus: master of the register map.
    registers: slave of the streams' own registers.
    running: a program runs.
    """

    def __init__(self, size: int):
        self.size = size
        stream = axi_stream(size)
        super().__init__(
            {
                "i": In(stream), "o": Out(stream), "bus": In(AXI_LITE),
                "registers": Out(AXI_LITE), "running": In(1),
            }
        )  # fmt: skip
        self.table, self.bytes = StreamRegisters(), ByteMaster()

    def elaborate(self, platform: object) -> Module:
        """The walk through a frame's bytes, and the states that make its steps."""
        m = Module()
        m.submodules.table, m.submodules.bytes = self.table, self.bytes
        wiring.connect(m, wiring.flipped(self.registers), self.table.bus)
        wiring.connect(m, wiring.flipped(self.bus), self.bytes.bus)
        self._sends = Signal()  # the walk is through the result
        self._step, self._rewind = Signal(), Signal()
        self._failed = Signal()  # an access of this frame has failed
        self._receiving = Signal()
        with m.If(self.bytes.error):
            m.d.sync += self._failed.eq(1)
        with m.If(self.o.tready):
            m.d.sync += self.o.tvalid.eq(0)
        self._walk(m)
        self._beat(m)
        with m.FSM():
            self._receive(m)
            self._run(m)
            self._send(m)
        return m

    def _walk(self, m: Module) -> None:
        """Addresses of a frame's bytes: rows of runs of bytes."""
        table = self.table
        layout = {
            n: Mux(self._sends, getattr(table, f"output_{n}"), getattr(table, f"input_{n}"))
            for n in STREAM_LAYOUT
        }
        row, run, place = (Signal(LAYOUT_BITS["base"], name=n) for n in ("row", "run", "place"))
        byte, runs, rows = (Signal(16, name=f"{n}_count") for n in ("byte", "run", "row"))
        run_ends, row_ends = Signal(), Signal()
        self._ends, self._complete = Signal(), Signal()  # with this byte; all bytes are done
        m.d.comb += [
            run_ends.eq(byte + 1 == layout["run_bytes"]),
            row_ends.eq(run_ends & (runs + 1 == layout["runs"])),
            self._ends.eq(row_ends & (rows + 1 == layout["rows"])),
            self.bytes.i_address.eq(Cat(place, Const(Window.ACTIVATIONS, ADDRESS_BITS - 24))),
            self.bytes.i_last.eq(run_ends),
        ]  # fmt: skip
        next_run, next_row = run + layout["run_stride"], row + layout["row_stride"]
        with m.If(self._rewind):
            m.d.sync += [signal.eq(0) for signal in (byte, runs, rows, self._complete)]
            m.d.sync += [signal.eq(layout["base"]) for signal in (place, run, row)]
        with m.Elif(self._step):
            m.d.sync += [byte.eq(byte + 1), place.eq(place + 1), self._complete.eq(self._ends)]
            with m.If(run_ends):
                m.d.sync += [byte.eq(0), runs.eq(runs + 1), run.eq(next_run), place.eq(next_run)]
            with m.If(row_ends):
                m.d.sync += [runs.eq(0), rows.eq(rows + 1)]
                m.d.sync += [signal.eq(next_row) for signal in (row, run, place)]

    def _beat(self, m: Module) -> None:
        """A beat of the input, whose bytes leave it one after the other."""
        size = self.size
        data, keep = Signal(8 * size), Signal(size)
        left = Signal(range(size + 1))
        self._last, self._drop = Signal(), Signal()
        self._byte_valid, self._byte, self._beat_ends = Signal(), Signal(8), Signal()
        pop = Signal()
        m.d.comb += [
            self._byte.eq(data[:8] ^ Cat(Const(0, 7), self.table.invert)),
            self._byte_valid.eq((left != 0) & keep[0]),
            pop.eq((left != 0) & (~keep[0] | self._step | self._drop) & self._receiving),
            self._beat_ends.eq((left == 1) & pop),
            self.i.tready.eq(self._receiving & self.table.receive & (left == 0)),
        ]  # fmt: skip
        with m.If(self.i.tvalid & self.i.tready):
            m.d.sync += [
                data.eq(self.i.tdata), keep.eq(self.i.tkeep), left.eq(size),
                self._last.eq(self.i.tlast & ~self.table.endless),
            ]  # fmt: skip
        with m.Elif(pop):
            m.d.sync += [data.eq(data >> 8), keep.eq(keep >> 1), left.eq(left - 1)]

    def _receive(self, m: Module) -> None:
        """Write a frame's bytes; judge it at its end."""
        move, table = self.bytes, self.table
        begun, late = Signal(), Signal()
        with m.State("REWIND"):
            m.d.comb += self._rewind.eq(1)
            m.d.sync += [begun.eq(0), late.eq(0), self._failed.eq(0)]
            m.next = "RECEIVE"
        with m.State("RECEIVE"):
            m.d.comb += [
                self._receiving.eq(~self._complete | ~table.endless), table.busy.eq(begun),
                self._drop.eq(self._complete | ~table.receive),
                move.i_write.eq(1), move.i_data.eq(self._byte),
                move.i_valid.eq(self._byte_valid & ~self._drop),
                self._step.eq(move.i_ready),
            ]  # fmt: skip
            with m.If(~begun & table.receive):  # registers may have been written meanwhile
                m.d.comb += self._rewind.eq(~self._byte_valid)
                m.d.sync += begun.eq(self._byte_valid)
            with m.If(self._byte_valid & self._complete & self._receiving):
                m.d.sync += late.eq(1)
            with m.If(~table.receive & begun):
                m.d.comb += move.clear.eq(1)
                with m.If(~move.busy):
                    m.next = "REWIND"
            with m.Elif(self._complete & table.endless):
                m.next = "JUDGE"
            with m.Elif(self._beat_ends & self._last & (begun | self._byte_valid)):
                m.next = "JUDGE"
        with m.State("JUDGE"):
            m.d.comb += [table.busy.eq(1), move.clear.eq(1)]
            with m.If(~move.busy):
                good = self._complete & ~late & ~self._failed
                m.d.comb += [
                    table.short.eq(~self._complete), table.long.eq(late),
                    table.address.eq(self._failed), table.received.eq(good),
                    table.dropped.eq(~good),
                ]  # fmt: skip
                m.next = "REWIND"
                with m.If(good):
                    m.next = "READY"

    def _run(self, m: Module) -> None:
        """Start the program, or wait until the host has; see how it ends."""
        move, table = self.bytes, self.table
        with m.State("READY"):
            m.d.comb += table.busy.eq(1)
            with m.If(~table.receive):
                m.next = "REWIND"
            with m.Elif(self.running & ~table.run):
                m.next = "RUNNING"
            with m.Elif(~self.running & table.run):
                m.next = "START"
        with m.State("START"):
            self._access(m, "control", write=True, then="STARTED")
        with m.State("STARTED"):
            m.d.comb += table.busy.eq(1)
            with m.If(~move.busy):
                m.next = "RUNNING"
        with m.State("RUNNING"):
            m.d.comb += [table.busy.eq(1), self._rewind.eq(1)]
            m.d.sync += self._sends.eq(1)
            with m.If(~self.running):
                m.next = "ENDED"
        with m.State("ENDED"):
            m.d.comb += self._rewind.eq(1)
            self._access(m, "status", write=False, then="SEND")
            with m.If(move.i_ready):
                m.d.comb += table.program.eq(move.o_data[_FAILED_BIT])
                with m.If(move.o_data[_FAILED_BIT] | ~table.send):
                    m.d.sync += self._sends.eq(0)
                    m.next = "REWIND"

    def _access(self, m: Module, register: str, *, write: bool, then: str) -> None:
        """Read or write the low byte of a register of the core."""
        move = self.bytes
        m.d.comb += [
            self.table.busy.eq(1), move.i_valid.eq(1), move.i_write.eq(write),
            move.i_address.eq(_OFFSET[register]), move.i_data.eq(1), move.i_last.eq(1),
        ]  # fmt: skip
        with m.If(move.i_ready):
            m.next = then

    def _send(self, m: Module) -> None:
        """Gather bytes of the result into beats."""
        move, size, o = self.bytes, self.size, self.o
        filled = Signal(range(size + 1))
        free: Value = ~o.tvalid | o.tready
        with m.State("SEND"):
            m.d.comb += [
                self.table.busy.eq(1), move.i_valid.eq(free), self._step.eq(move.i_ready),
            ]  # fmt: skip
            with m.If(move.i_ready):
                full = (filled == size - 1) | self._ends
                m.d.sync += [
                    o.tdata.word_select(filled, 8).eq(move.o_data),
                    filled.eq(Mux(full, 0, filled + 1)), o.tvalid.eq(full), o.tlast.eq(self._ends),
                    o.tkeep.eq((2 << filled) - 1),
                ]  # fmt: skip
                with m.If(self._ends):
                    m.next = "SENT"
        with m.State("SENT"):
            m.d.comb += self.table.busy.eq(1)
            with m.If(free):
                m.d.comb += self.table.sent.eq(1)
                m.d.sync += self._sends.eq(0)
                m.next = "REWIND"
