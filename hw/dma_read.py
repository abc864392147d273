"""The read side of the AXI4 master."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import INCREMENT, MODIFIABLE, axi4_read
from systolith.hw.bursts import EXTERNAL_BITS
from systolith.spec.accelerator import ExternalSpec

__all__ = ["ReadMaster"]


class ReadMaster(wiring.Component):
    """Issue read bursts, up to `outstanding` at once, and hand on their beats in order.

    It is never reset while bursts are under way. Once `stop` has been seen or a beat had an error,
    it issues no more and discards all data until none is under way, even if `stop` ends before.

    Latency: 1 cycle from a burst to ARVALID, 0 from RDATA to `o_data`. A memory that takes L cycles
    from an address to its first beat gives a beat a cycle if ``(outstanding - 1) * beats > L``.

    Parameters
    ----------
    external: bus width and bursts under way.

    Members
    -------
    bus: channels AR and R.
    base: bus address of external byte 0.
    b_valid, b_ready, b_address, b_len: a burst, see `BurstGenerator`.
    o_valid, o_ready, o_data: beats.
    stop: no run needs them any more.
    failed: a beat had an error; until `stop`.
    idle: no burst is under way.
    """

    def __init__(self, external: ExternalSpec):
        self.external = external
        super().__init__(
            {
                "bus": Out(axi4_read(external)), "base": In(external.address_bits),
                "b_valid": In(1), "b_ready": Out(1), "b_address": In(EXTERNAL_BITS),
                "b_len": In(8),
                "o_valid": Out(1), "o_ready": In(1), "o_data": Out(8 * external.data_bytes),
                "stop": In(1), "failed": Out(1), "idle": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """A register for the address channel; the data channel is only gated."""
        m = Module()
        bus, external = self.bus, self.external
        under_way = Signal(range(external.outstanding + 1))
        discarding, discard = Signal(), Signal()
        taken, moved = self.b_valid & self.b_ready, bus.rvalid & bus.rready
        m.d.comb += [
            bus.arsize.eq(external.data_bytes.bit_length() - 1), bus.arburst.eq(INCREMENT),
            bus.arcache.eq(MODIFIABLE),
            self.idle.eq(under_way == 0),
            discard.eq(self.stop | discarding | self.failed),
            self.b_ready.eq(
                (~bus.arvalid | bus.arready) & (under_way != external.outstanding) & ~discard
            ),
            self.o_valid.eq(bus.rvalid & ~discard & (bus.rresp == 0)),
            self.o_data.eq(bus.rdata),
            bus.rready.eq(self.o_ready | discard),
        ]  # fmt: skip
        m.d.sync += under_way.eq(under_way + taken - (moved & bus.rlast))
        with m.If(taken):
            m.d.sync += [
                bus.arvalid.eq(1), bus.arlen.eq(self.b_len),
                bus.araddr.eq(self.base + self.b_address),
            ]  # fmt: skip
        with m.Elif(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        m.d.sync += discarding.eq((discarding | self.stop) & ~self.idle)
        with m.If(moved & ~discard & (bus.rresp != 0)):
            m.d.sync += self.failed.eq(1)
        with m.Elif(self.stop):
            m.d.sync += self.failed.eq(0)
        return m
