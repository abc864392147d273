"""The registers of the AXI4-Stream ports."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.control import AXI_LITE
from systolith.spec.stream import STREAM_LAYOUT, STREAM_REGISTERS

__all__ = ["LAYOUT_BITS", "StreamRegisters"]

LAYOUT_BITS = {
    "base": 24, "run_bytes": 16, "runs": 16, "run_stride": 24, "rows": 16, "row_stride": 24,
}  # fmt: skip
"""Widths of what describes a frame in memory."""
_SLVERR = 2
_CONTROL_BITS = 5
_ERRORS = ("short", "long", "program", "address")


class StreamRegisters(wiring.Component):
    """Serve `STREAM_REGISTERS`; whole words, strobes are ignored but for an empty write.

    Members
    -------
    bus: the slave.
    receive, run, send, invert, endless: bits of `stream_control`, from bit 0 on.
    input_{n}, output_{n}: where frames are in memory, for every name of `STREAM_LAYOUT`.
    busy: bit 0 of `stream_status`.
    short, long, program, address: an error, for one cycle.
    received, dropped, sent: count a frame, for one cycle.
    """

    def __init__(self) -> None:
        self._bits = ("receive", "run", "send", "invert", "endless")
        self._counts = ("received", "dropped", "sent")
        members = {"bus": Out(AXI_LITE), "busy": In(1)}
        members |= {name: Out(1) for name in self._bits}
        members |= {name: In(1) for name in (*_ERRORS, *self._counts)}
        for side in ("input", "output"):
            members |= {f"{side}_{n}": Out(LAYOUT_BITS[n]) for n in STREAM_LAYOUT}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Registers as one table: what a read gives, and what a write changes."""
        m = Module()
        bus = self.bus
        write, read = Signal(), Signal()
        control = Cat(getattr(self, name) for name in self._bits)
        errors = Signal(len(_ERRORS))
        counts = {f"stream_{n}": Signal(32, name=f"count_{n}") for n in self._counts}
        for name in self._counts:
            with m.If(getattr(self, name)):
                count = counts[f"stream_{name}"]
                m.d.sync += count.eq(count + 1)
        values: dict[str, Value] = {
            "stream_control": control, "stream_status": Cat(self.busy, errors), **counts,
        }  # fmt: skip
        m.d.comb += [
            write.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            read.eq(bus.arvalid & ~bus.rvalid),
            bus.awready.eq(write), bus.wready.eq(write), bus.arready.eq(read),
        ]  # fmt: skip
        cleared = Signal(len(_ERRORS))
        m.d.sync += errors.eq((errors & ~cleared) | Cat(getattr(self, n) for n in _ERRORS))
        known_write, known_read, value = Signal(), Signal(), Signal(32)
        with m.Switch(bus.awaddr[2:24]):
            for register in STREAM_REGISTERS:
                with m.Case(register.offset // 4):
                    m.d.comb += known_write.eq(register.access == "rw")
                    with m.If(write & bus.wstrb.any()):
                        if register.name == "stream_status":
                            m.d.comb += cleared.eq(bus.wdata[1:])
                        elif register.name == "stream_control":
                            m.d.sync += control.eq(bus.wdata)
                        elif register.access == "rw":
                            m.d.sync += getattr(self, register.name).eq(bus.wdata)
        with m.Switch(bus.araddr[2:24]):
            for register in STREAM_REGISTERS:
                with m.Case(register.offset // 4):
                    name = register.name
                    source = values[name] if name in values else getattr(self, name)
                    m.d.comb += [known_read.eq(1), value.eq(source)]
        self._answers(m, write, known_write, read, known_read, value)
        return m

    def _answers(
        self,
        m: Module,
        write: Signal,
        known_write: Signal,
        read: Signal,
        known_read: Signal,
        value: Signal,
    ) -> None:
        """Answer a cycle after the request."""
        bus = self.bus
        with m.If(write):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(Mux(known_write, 0, _SLVERR))]
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(read):
            m.d.sync += [
                bus.rvalid.eq(1), bus.rdata.eq(value), bus.rresp.eq(Mux(known_read, 0, _SLVERR)),
            ]  # fmt: skip
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
