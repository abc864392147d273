"""The control slave: AXI4-Lite to registers, counters and the memories' windows."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import AXI_LITE
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_fingerprint
from systolith.spec.registers import (
    COUNTERS,
    IDENTIFIER,
    REGISTERS,
    VERSION,
    Window,
    window_stride,
)

__all__ = ["ControlSlave"]

_HOST_READ_LATENCY = 3
"""Cycles from a granted activation read to its data (`ActivationMemory.read_latency`)."""

_SLVERR = 2
_PAGE_BITS = 12
"""External memory begins at a page, so that where bursts are cut does not depend on where."""
_WRITTEN = (
    Window.ACTIVATIONS,
    Window.WEIGHTS,
    Window.PARAMETERS,
    Window.TABLES,
    Window.COMMANDS,
    Window.EXPONENTS,
)
_WHOLE = (Window.PARAMETERS, Window.COMMANDS, Window.EXPONENTS)
"""Windows whose words cannot be written in part."""


def _window_bytes(spec: AcceleratorSpec) -> dict[Window, int]:
    """Size of the address range behind which there is memory, per window of a memory."""
    memory = spec.memory
    words = {
        Window.ACTIVATIONS: spec.region_stride * memory.activation_regions,
        Window.WEIGHTS: spec.weight_words,
        Window.PARAMETERS: spec.lane_words,
        Window.TABLES: memory.tables,
        Window.COMMANDS: memory.command_words,
        Window.STAMPS: memory.stamps,
        Window.EXPONENTS: 256 * spec.post.softmax_tables,
    }
    return {window: count * window_stride(spec, window) for window, count in words.items()}


class ControlSlave(wiring.Component):
    """Serve one write and one read at a time.

    The two low address bits are ignored, as strobes choose bytes. Activations, weights, tables and
    registers are written by bytes; parameters, commands and exponents by whole words, and a write
    of part of one changes nothing. The activations, the time stamps and the registers can be read.
    A write of a read-only register, a read of what is write-only, and any access without register
    or memory behind it answer SLVERR and change nothing. Without an external memory there are no
    registers `memory_low` and `memory_high`.

    Parameters
    ----------
    spec: sizes of the memories.

    Members
    -------
    bus: the AXI4-Lite slave.
    irq: interrupt, level.
    start, entry: to the fetcher.  running, finish, error: from it.
    timeout: the run has taken more cycles than the register `watchdog` allows.
    base: with an external memory: bus address of its byte 0.
    stamp: append a time stamp.  stamps: how many have been appended since the start.
    event_{counter}: the counter's event holds in this cycle.
    w_address, w_data, w_strobe: a host write, to the window whose bit of `w_select` is high;
        taken in the cycle in which `w_ready` is high.
    a_valid, a_address, a_ready, a_data: host reads of the activations.

    Raises
    ------
    ValueError: a memory does not fit in its window, because its words are padded there.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        for window, size in _window_bytes(spec).items():
            if size > 1 << 24:
                raise ValueError(
                    f"window {window.name} must take at most 2**24 bytes of addresses, "
                    f"not {size!r}: make the memory smaller, or its words a power of two of bytes"
                )
        members = {
            "bus": Out(AXI_LITE), "irq": Out(1),
            "start": Out(1), "entry": Out(16), "running": In(1), "finish": In(1), "error": In(8),
            "timeout": Out(1),
            "stamp": In(1), "stamps": Out(16),
            "w_address": Out(24), "w_data": Out(32), "w_strobe": Out(4),
            "w_select": Out(len(Window)), "w_ready": In(1),
            "a_valid": Out(1), "a_address": Out(24), "a_ready": In(1), "a_data": In(32),
        }  # fmt: skip
        members |= {f"event_{c.name}": In(1) for c in COUNTERS if c.name != "cycles"}
        if spec.external.data_bytes:
            members["base"] = Out(spec.external.address_bits)
        super().__init__(members)
        absent = () if spec.external.data_bytes else ("memory_low", "memory_high")
        self._registers = [r for r in REGISTERS if r.name not in absent]
        self.stamp_memory = Memory(shape=32, depth=spec.memory.stamps, init=[])

    def elaborate(self, platform: object) -> Module:
        """Registers first, then the two channels."""
        m = Module()
        self._done, self._failed, self._interrupt = Signal(), Signal(), Signal()
        m.d.comb += self.irq.eq(self._interrupt & (self._done | self._failed))
        m.d.comb += self._failed.eq(self._done & (self.error != 0))
        with m.If(self.start & ~self.running):
            m.d.sync += self._done.eq(0)
        with m.Elif(self.finish):
            m.d.sync += self._done.eq(1)
        counters = self._counters(m)
        self._watchdog = Signal(32)
        # Equal, not greater: a third of the cells. The register is written while nothing runs.
        reached = (self._watchdog != 0) & (counters["cycles"] == self._watchdog)
        m.d.sync += self.timeout.eq(self.running & (self.timeout | reached))
        self._memory = Signal(self.spec.external.address_bits)
        if self.spec.external.data_bytes:
            m.d.comb += self.base.eq(self._memory)
        self._write_channel(m)
        self._read_channel(m, counters, self._stamp_memory(m, counters["cycles"]))
        return m

    def _counted(self, name: str) -> bool:
        """Whether there is this counter."""
        return name == "cycles" or self.spec.event_counters

    def _counters(self, m: Module) -> dict[str, Signal]:
        """Those that are left out stand at 0, which synthesis sees."""
        counters = {}
        for counter in COUNTERS:
            value = counters[counter.name] = Signal(32, name=f"count_{counter.name}")
            event = getattr(self, f"event_{counter.name}", 1) if self._counted(counter.name) else 0
            with m.If(self.start & ~self.running):
                m.d.sync += value.eq(0)
            with m.Elif(self.running & event):
                m.d.sync += value.eq(value + 1)
        return counters

    def _stamp_memory(self, m: Module, cycles: Signal) -> Value:
        """Keep the first stamps; those that have no place are only counted."""
        m.submodules.stamp_memory = memory = self.stamp_memory
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.stamps), write.data.eq(cycles),
            write.en.eq(self.stamp & (self.stamps < self.spec.memory.stamps)),
            read.addr.eq(self.bus.araddr[2:]), read.en.eq(1),
        ]  # fmt: skip
        with m.If(self.start & ~self.running):
            m.d.sync += self.stamps.eq(0)
        with m.Elif(self.stamp):
            m.d.sync += self.stamps.eq(self.stamps + 1)
        return read.data

    def _in_memory(self, address: Value, windows: tuple[Window, ...]) -> Value:
        """Whether ``address`` lies in one of the windows, with memory behind it."""
        spec, offset = self.spec, address[:24]
        sizes = _window_bytes(spec)
        result: Value = Const(0, 1)
        for w in windows:
            if not sizes[w]:
                continue
            here = (address[24:] == w) & (offset < sizes[w])
            if w == Window.ACTIVATIONS:
                inside = offset[: (spec.region_stride - 1).bit_length()]
                here = here & (inside < spec.memory.activation_bytes)
            result = result | here
        return result

    def _write_channel(self, m: Module) -> None:
        """Look where a write goes, take it when its window does, then answer.

        A write that comes while the one before it is answered is looked at meanwhile.
        """
        bus = self.bus
        both = bus.awvalid & bus.wvalid
        looked, known, in_memory, taken = Signal(), Signal(), Signal(), Signal()
        chosen = Signal(len(Window))
        whole = bus.wstrb.all()
        here = self._in_memory(bus.awaddr, _WRITTEN)
        m.d.sync += [looked.eq(both & ~taken), in_memory.eq(here)]
        for w in _WRITTEN:
            enough = whole if w in _WHOLE else 1
            m.d.sync += chosen[w].eq(here & (bus.awaddr[24:] == w) & enough)
        m.d.comb += [
            self.w_address.eq(Cat(Const(0, 2), bus.awaddr[2:24])), self.w_data.eq(bus.wdata),
            self.w_strobe.eq(bus.wstrb),
            self.w_select.eq(Mux(looked & ~bus.bvalid, chosen, 0)),
            taken.eq(looked & ~bus.bvalid & (~in_memory | self.w_ready)),
            bus.awready.eq(taken), bus.wready.eq(taken),
        ]  # fmt: skip
        with m.If(taken):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(Mux(known | in_memory, 0, _SLVERR))]
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        for register in self._registers:
            if register.access != "ro":
                hit = Signal(name=f"hit_{register.name}")
                m.d.sync += hit.eq(bus.awaddr[2:] == register.offset >> 2)
                with m.If(hit):
                    m.d.comb += known.eq(1)
                with m.If(looked & ~bus.bvalid & hit):  # the windows have no say in this
                    self._write_register(m, register.name)

    def _write_register(self, m: Module, name: str) -> None:
        """Write the strobed bytes of a register."""
        data, strobe = self.bus.wdata, self.bus.wstrb
        if name == "control":
            m.d.comb += self.start.eq(data[0] & strobe[0])
            return
        target = {
            "entry": self.entry,
            "interrupt": self._interrupt,
            "memory_low": self._memory[:32],
            "memory_high": self._memory[32:],
            "watchdog": self._watchdog,
        }[name]
        lowest = _PAGE_BITS if name == "memory_low" else 0
        for i in range(0, len(target), 8):
            byte = slice(max(i, lowest), max(i + 8, lowest))
            with m.If(strobe[i // 8]):
                m.d.sync += target[byte].eq(data[byte])

    def _read_channel(self, m: Module, counters: dict, stamp_data: Value) -> None:
        """Look where a read goes, then ask there, then wait for the data.

        The address is held until the data is there: `_HOST_READ_LATENCY` cycles after the grant.
        """
        bus = self.bus
        wait = Signal(range(_HOST_READ_LATENCY + 1))
        granted, looked, asks = Signal(), Signal(), Signal()
        is_activation, is_stamp = Signal(), Signal()
        value, is_register = self._register_value(m, counters)
        m.d.sync += [
            looked.eq(bus.arvalid & ~bus.arready),
            is_activation.eq(self._in_memory(bus.araddr, (Window.ACTIVATIONS,))),
            is_stamp.eq(self._in_memory(bus.araddr, (Window.STAMPS,))),
        ]
        m.d.comb += [
            asks.eq(looked & ~granted & ~bus.rvalid),
            self.a_address.eq(Cat(Const(0, 2), bus.araddr[2:24])),
            self.a_valid.eq(asks & is_activation),
        ]
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.Elif(asks & (~is_activation | self.a_ready)):
            m.d.sync += [granted.eq(1), wait.eq(Mux(is_activation, _HOST_READ_LATENCY - 1, 0))]
        with m.Elif(granted & (wait != 0)):
            m.d.sync += wait.eq(wait - 1)
        with m.Elif(granted):
            m.d.comb += bus.arready.eq(1)
            m.d.sync += [granted.eq(0), bus.rvalid.eq(1), bus.rdata.eq(0), bus.rresp.eq(0)]
            with m.If(is_register):
                m.d.sync += bus.rdata.eq(value)
            with m.Elif(is_activation):
                m.d.sync += bus.rdata.eq(self.a_data)
            with m.Elif(is_stamp):
                m.d.sync += bus.rdata.eq(stamp_data)
            with m.Else():
                m.d.sync += bus.rresp.eq(_SLVERR)

    def _register_value(self, m: Module, counters: dict) -> tuple[Value, Value]:
        """The register at the address of a cycle ago, and whether there is one."""
        values = {
            "identifier": IDENTIFIER,
            "version": VERSION,
            "status": Cat(self.running, self._done, self._failed),
            "entry": self.entry,
            "error": self.error,
            "stamps": self.stamps,
            "interrupt": self._interrupt,
            "memory_low": self._memory[:32],
            "memory_high": self._memory[32:],
            "watchdog": self._watchdog,
            "fingerprint": spec_fingerprint(self.spec),
            **counters,
        }
        # Of words, in the first window.
        places = {r.name: r.offset >> 2 for r in self._registers if r.access != "wo"}
        absent = [name for name in places if name in counters and not self._counted(name)]
        asked = {name: self.bus.araddr[2:] == places.pop(name) for name in absent}
        zero = Signal(name="reads_zero")  # a counter that is left out
        here = {name: Signal(name=f"reads_{name}") for name in places}
        m.d.sync += [here[name].eq(self.bus.araddr[2:] == at) for name, at in places.items()]
        m.d.sync += zero.eq(Cat(*asked.values()).any())
        value: Value = reduce(or_, (Mux(here[name], values[name], 0) for name in places))
        return value, Cat(zero, *here.values()).any()
