"""The write side of the AXI4 master."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import INCREMENT, MODIFIABLE, axi4_write
from systolith.hw.bursts import EXTERNAL_BITS
from systolith.hw.queue import CommandQueue
from systolith.spec.accelerator import ExternalSpec

__all__ = ["WriteMaster"]


class WriteMaster(wiring.Component):
    """Issue write bursts, up to `outstanding` at once, and feed them with beats in order.

    It is never reset while bursts are under way. Once `stop` has been seen or a burst had an error,
    it issues no more and feeds those that are under way with beats without strobes, which write
    nothing, until all are answered, even if `stop` ends before.

    Latency: 1 cycle from a burst to AWVALID, 1 from a beat to WVALID, and a burst's beats are
    taken from the cycle of its AWVALID on.

    Parameters
    ----------
    external: bus width and bursts under way.

    Members
    -------
    bus: channels AW, W and B.
    base: bus address of external byte 0.
    b_valid, b_ready, b_address, b_len: a burst, see `BurstGenerator`.
    i_valid, i_ready, i_data, i_strobe: beats.
    stop: no run needs them any more.
    failed: a burst had an error; until `stop`.
    idle: no burst is under way.
    """

    def __init__(self, external: ExternalSpec):
        self.external = external
        size = external.data_bytes
        super().__init__(
            {
                "bus": Out(axi4_write(external)), "base": In(external.address_bits),
                "b_valid": In(1), "b_ready": Out(1), "b_address": In(EXTERNAL_BITS),
                "b_len": In(8),
                "i_valid": In(1), "i_ready": Out(1), "i_data": In(8 * size), "i_strobe": In(size),
                "stop": In(1), "failed": Out(1), "idle": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """A register for each channel; the lengths of bursts wait until their beats are sent."""
        m = Module()
        bus, external = self.bus, self.external
        under_way = Signal(range(external.outstanding + 1))
        discarding, discard = Signal(), Signal()
        taken = self.b_valid & self.b_ready
        m.submodules.lengths = lengths = CommandQueue(8, external.outstanding)
        m.d.comb += [
            bus.awsize.eq(external.data_bytes.bit_length() - 1), bus.awburst.eq(INCREMENT),
            bus.awcache.eq(MODIFIABLE), bus.bready.eq(1),
            self.idle.eq(under_way == 0),
            discard.eq(self.stop | discarding | self.failed),
            self.b_ready.eq(
                (~bus.awvalid | bus.awready) & (under_way != external.outstanding) & ~discard
            ),
            lengths.push.eq(taken), lengths.i.eq(self.b_len),
        ]  # fmt: skip
        m.d.sync += under_way.eq(under_way + taken - bus.bvalid)
        with m.If(taken):
            m.d.sync += [
                bus.awvalid.eq(1), bus.awlen.eq(self.b_len),
                bus.awaddr.eq(self.base + self.b_address),
            ]  # fmt: skip
        with m.Elif(bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        m.d.sync += discarding.eq((discarding | self.stop) & ~self.idle)
        with m.If(bus.bvalid & ~discard & (bus.bresp != 0)):
            m.d.sync += self.failed.eq(1)
        with m.Elif(self.stop):
            m.d.sync += self.failed.eq(0)
        self._data(m, lengths, discard)
        return m

    def _data(self, m: Module, lengths: CommandQueue, discard: Signal) -> None:
        """Beats into the register of the data channel, counted."""
        bus = self.bus
        sent = Signal(8)  # beats of the oldest burst
        free, put, last = ~bus.wvalid | bus.wready, Signal(), Signal()
        m.d.comb += [
            self.i_ready.eq(lengths.valid & free & ~discard),
            put.eq((self.i_valid & self.i_ready) | (discard & lengths.valid & free)),
            last.eq(sent == lengths.o), lengths.pop.eq(put & last),
        ]  # fmt: skip
        with m.If(put):
            m.d.sync += [
                bus.wvalid.eq(1), bus.wdata.eq(self.i_data), bus.wlast.eq(last),
                bus.wstrb.eq(Mux(discard, 0, self.i_strobe)), sent.eq(Mux(last, 0, sent + 1)),
            ]  # fmt: skip
        with m.Elif(bus.wready):
            m.d.sync += bus.wvalid.eq(0)
