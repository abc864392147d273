"""The side of external memory as a Wishbone B4 master."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import axi4
from systolith.hw.wishbone import wishbone
from systolith.spec.accelerator import ExternalSpec
from systolith.spec.bus import WishboneMode

__all__ = ["WishboneMaster"]

_CLASSIC, _INCREMENTING, _END = 0b000, 0b010, 0b111
"""Cycle type identifiers."""
_QUEUE = 4
"""Beats that were read and not yet taken: the strobe waits while there is no place."""
_SLVERR = 2


class WishboneMaster(wiring.Component):
    """Bursts of an AXI4 master as Wishbone cycles with registered feedback.

    A burst is one cycle of linear incrementing addresses (`cti` 010, 111 at its end, `bte` 00; 000
    if it is a single beat), so that a slave can answer every cycle. The strobe goes low in between
    while write data or room for read data is missing. Bursts are done one at a time, reads and
    writes in turn.

    `rty` ends the cycle, and another one goes on with the same beat. `err` ends it, too; its beat
    counts as failed (SLVERR), and the burst goes on behind it.

    Throughput: a beat for each `ack`, two cycles between bursts.

    Parameters
    ----------
    external: bus width and addresses.

    Members
    -------
    memory: the AXI4 master.
    wb: the memory; addresses of its words.
    """

    def __init__(self, external: ExternalSpec):
        self.external = external
        self._shift = external.data_bytes.bit_length() - 1
        bits = external.address_bits - self._shift
        signature = wishbone(bits, 8 * external.data_bytes, WishboneMode.CLASSIC)
        super().__init__({"memory": In(axi4(external)), "wb": Out(signature)})
        self.queue = SyncFIFOBuffered(width=8 * external.data_bytes + 2, depth=_QUEUE)

    def elaborate(self, platform: object) -> Module:
        """Choose a burst, do its beats, answer a write."""
        m = Module()
        memory, wb, queue = self.memory, self.wb, self.queue
        m.submodules.queue = queue
        writes, first, failed = Signal(), Signal(), Signal()
        left = Signal(9)  # beats of the burst
        prefers_write = Signal()
        chosen = memory.awvalid & (prefers_write | ~memory.arvalid)
        ended, done, last = wb.ack | wb.err | wb.rty, wb.ack | wb.err, left == 1
        m.d.comb += [
            wb.we.eq(writes), wb.dat_w.eq(memory.wdata),
            wb.sel.eq(Mux(writes, memory.wstrb, (1 << self.external.data_bytes) - 1)),
            wb.cti.eq(Mux(last, Mux(first, _CLASSIC, _END), _INCREMENTING)),
            memory.bresp.eq(Mux(failed, _SLVERR, 0)),
        ]  # fmt: skip
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [memory.awready.eq(chosen), memory.arready.eq(~chosen)]
                m.d.sync += [writes.eq(chosen), first.eq(1), failed.eq(0)]
                with m.If(memory.awvalid | memory.arvalid):
                    address = Mux(chosen, memory.awaddr, memory.araddr)
                    m.d.sync += [
                        wb.adr.eq(address[self._shift :]), prefers_write.eq(~chosen),
                        left.eq(Mux(chosen, memory.awlen, memory.arlen) + 1),
                    ]  # fmt: skip
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += [
                    wb.cyc.eq(1), wb.stb.eq(Mux(writes, memory.wvalid, queue.w_rdy)),
                    memory.wready.eq(writes & done),
                ]  # fmt: skip
                with m.If(wb.stb & ended):
                    m.d.sync += [first.eq(~wb.ack), failed.eq(failed | wb.err)]
                    with m.If(done):
                        m.d.sync += [wb.adr.eq(wb.adr + 1), left.eq(left - 1)]
                    with m.If(done & last):
                        m.next = "ANSWER"
                    with m.Elif(~wb.ack):
                        m.next = "PAUSE"
            with m.State("PAUSE"):  # the cycle ends
                m.next = "BEATS"
            with m.State("ANSWER"):
                m.d.comb += memory.bvalid.eq(writes)
                with m.If(~writes | memory.bready):
                    m.next = "IDLE"
        self._read_data(m, writes, done, last)
        return m

    def _read_data(self, m: Module, writes: Signal, done: Value, last: Value) -> None:
        """Beats that were read go through the queue."""
        memory, wb, queue = self.memory, self.wb, self.queue
        m.d.comb += [
            queue.w_data.eq(Cat(wb.dat_r, wb.err, last)), queue.w_en.eq(wb.stb & done & ~writes),
            memory.rvalid.eq(queue.r_rdy), queue.r_en.eq(memory.rready),
            memory.rdata.eq(queue.r_data[:-2]), memory.rlast.eq(queue.r_data[-1]),
            memory.rresp.eq(Mux(queue.r_data[-2], _SLVERR, 0)),
        ]  # fmt: skip
