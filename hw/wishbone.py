"""The host's side as a Wishbone B4 slave, classic or pipelined."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.control import AXI_LITE
from systolith.spec.bus import WishboneMode
from systolith.spec.registers import ADDRESS_BITS

__all__ = ["WishboneSlave", "wishbone"]


def wishbone(address_bits: int, data_bits: int, mode: WishboneMode) -> wiring.Signature:
    """Wishbone seen from the master: addresses of words, a select for each of their bytes."""
    members = {
        "adr": Out(address_bits), "dat_w": Out(data_bits), "dat_r": In(data_bits),
        "sel": Out(data_bits // 8), "cyc": Out(1), "stb": Out(1), "we": Out(1),
        "cti": Out(3), "bte": Out(2), "ack": In(1), "err": In(1),
    }  # fmt: skip
    if mode is WishboneMode.PIPELINED:
        members["stall"] = In(1)
    else:
        members["rty"] = In(1)
    return wiring.Signature(members)


class WishboneSlave(wiring.Component):
    """Requests one at a time to an AXI4-Lite slave; an error there is `err`.

    Every request is a cycle of its own: `cti` and `bte` are ignored, as the standard allows, and
    `rty` is never given. A master may end its cycle before the answer: the access is then finished
    and its answer thrown away.

    Latency: 2 cycles more than the slave's: one to it and one back.

    Parameters
    ----------
    mode: handshake of the strobe.

    Members
    -------
    wb: the master.
    bus: the slave.
    """

    def __init__(self, mode: WishboneMode):
        self.mode = mode
        signature = wishbone(ADDRESS_BITS - 2, 32, mode)
        super().__init__({"wb": In(signature), "bus": In(AXI_LITE)})

    def elaborate(self, platform: object) -> Module:
        """Hold a request until its answer."""
        m = Module()
        wb, bus = self.wb, self.bus
        pipelined = self.mode is WishboneMode.PIPELINED
        working, wanted, taken = Signal(), Signal(), Signal()
        ack, err = Signal(), Signal()
        answered = bus.bvalid | bus.rvalid
        good = ((bus.bvalid & (bus.bresp == 0)) | (bus.rvalid & (bus.rresp == 0))) & answered
        # A classic strobe is still high in the cycle of its answer, and no request then.
        free = ~working if pipelined else ~working & ~ack & ~err
        m.d.comb += [
            taken.eq(wb.cyc & wb.stb & free),
            bus.bready.eq(1), bus.rready.eq(1), bus.araddr.eq(bus.awaddr),
            wb.ack.eq(ack & wb.cyc), wb.err.eq(err & wb.cyc),
        ]  # fmt: skip
        if pipelined:
            m.d.comb += wb.stall.eq(working)
        m.d.sync += [ack.eq(0), err.eq(0)]
        with m.If(taken):
            m.d.sync += [
                working.eq(1), wanted.eq(1), bus.awaddr.eq(Cat(Const(0, 2), wb.adr)),
                bus.wdata.eq(wb.dat_w), bus.wstrb.eq(wb.sel),
                bus.awvalid.eq(wb.we), bus.wvalid.eq(wb.we), bus.arvalid.eq(~wb.we),
            ]  # fmt: skip
        with m.Elif(~wb.cyc):
            m.d.sync += wanted.eq(0)
        for channel in ("aw", "w", "ar"):
            valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
            with m.If(valid & ready):
                m.d.sync += valid.eq(0)
        with m.If(answered):
            given = wanted & wb.cyc
            m.d.sync += [working.eq(0), ack.eq(given & good), err.eq(given & ~good)]
            m.d.sync += wb.dat_r.eq(bus.rdata)
        return m
