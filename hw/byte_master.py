"""Bytes to and from an AXI4-Lite slave, gathered into words."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.control import AXI_LITE
from systolith.spec.registers import ADDRESS_BITS

__all__ = ["ByteMaster"]


class ByteMaster(wiring.Component):
    """Read and write runs of bytes, each word of the bus once.

    Bytes of a run have addresses that count up. A word is written when its last byte, or the run's
    last one, is there, and read when its first byte, or the run's first one, is asked for. A run is
    of reads or of writes, and is not changed while its word is under way.

    Throughput: a byte a cycle, and for every word the cycles of its access to the bus.

    Members
    -------
    bus: the slave.
    i_valid, i_ready: a byte, done when both are high.
    i_write: write it; else read it.
    i_address: its address.
    i_last: it is the last one of its run.
    i_data: the byte to write.
    o_data: the byte that was read, while `i_valid` and `i_ready` are high.
    clear: forget bytes that wait to be written; the run ends.
    busy: bytes wait to be written, or a write is under way.
    error: an access was answered with an error, for one cycle; for a read in the cycle before
        `i_ready`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "bus": In(AXI_LITE), "i_valid": In(1), "i_ready": Out(1), "i_write": In(1),
                "i_address": In(ADDRESS_BITS), "i_last": In(1), "i_data": In(8), "o_data": Out(8),
                "clear": In(1), "busy": Out(1), "error": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """One word register for both directions."""
        m = Module()
        bus, lane = self.bus, self.i_address[:2]
        word, strobe, address = Signal(32), Signal(4), Signal(ADDRESS_BITS - 2)
        fetched, ends = Signal(), Signal()
        m.d.comb += [
            ends.eq(self.i_last | (lane == 3)),
            bus.awaddr.eq(Cat(Const(0, 2), address)), bus.araddr.eq(bus.awaddr),
            bus.wdata.eq(word), bus.wstrb.eq(strobe),
            bus.bready.eq(1), bus.rready.eq(1),
            self.busy.eq(bus.awvalid | bus.wvalid | (strobe != 0)),
            self.o_data.eq(word.word_select(lane, 8)),
            self.error.eq((bus.bvalid & (bus.bresp != 0)) | (bus.rvalid & (bus.rresp != 0))),
        ]  # fmt: skip
        waits = Signal()  # for the answer to a read or a write
        m.d.comb += self.i_ready.eq(self.i_valid & ~waits & (self.i_write | fetched))
        with m.If(self.i_ready):
            m.d.sync += [address.eq(self.i_address[2:]), fetched.eq(fetched & ~ends)]
            with m.If(self.i_write):
                m.d.sync += word.word_select(lane, 8).eq(self.i_data)
                m.d.sync += strobe.bit_select(lane, 1).eq(1)
                m.d.sync += [bus.awvalid.eq(ends), bus.wvalid.eq(ends), waits.eq(ends)]
        with m.Elif(self.clear & ~waits):
            m.d.sync += [strobe.eq(0), fetched.eq(0)]
        with m.Elif(self.i_valid & ~waits):
            m.d.sync += [address.eq(self.i_address[2:]), bus.arvalid.eq(1), waits.eq(1)]
        for channel in ("aw", "w", "ar"):
            valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
            with m.If(valid & ready):
                m.d.sync += valid.eq(0)
        with m.If(bus.bvalid):
            m.d.sync += [waits.eq(0), strobe.eq(0)]
        with m.If(bus.rvalid):
            m.d.sync += [waits.eq(0), word.eq(bus.rdata), fetched.eq(1)]
        return m
