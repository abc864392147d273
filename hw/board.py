"""Top module of a board or a block design: the accelerator between buses with flat port names."""

from amaranth.hdl import DomainRenamer, Module
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import axi4
from systolith.hw.control import AXI_LITE
from systolith.hw.crossing import Crossing, shared_reset
from systolith.hw.lite_switch import LiteSwitch
from systolith.hw.stream_port import StreamPort, axi_stream
from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.hw.uart_bridge import UartBridge
from systolith.hw.wishbone import WishboneSlave
from systolith.hw.wishbone_memory import WishboneMaster
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import BusClock, HostBus, MemoryBus

__all__ = ["BoardTop"]


class BoardTop(wiring.Component):
    """An `Accelerator` with the buses that its specification asks for (`BusSpec`).

    Port names are those of the field, so that tools find the interfaces by them. Clock and reset
    are `clk` and `rst` (synchronous, active high). With a clock of their own all buses but the UART
    run on `bus_clk` and `bus_rst`; either reset then resets everything.

    Parameters
    ----------
    spec: everything that can be chosen.
    technology: as of `Accelerator`.

    Members
    -------
    s_axi_*: AXI4-Lite slave, 32-bit data, for the host.
    s_wb_*: or a Wishbone slave.
    uart_rx, uart_tx: or a serial line, see docs/uart-protocol.md.
    m_axi_*: AXI4 master, if there is an external memory.
    m_wb_*: or a Wishbone master.
    s_axis_*, m_axis_*: frames in and results out, if `stream_bytes` is not 0.
    irq: interrupt, level, while done or error is set and interrupts are enabled.
    busy: a program runs.
    """

    def __init__(
        self, spec: AcceleratorSpec, *, technology: Technology = Technology.GENERIC
    ) -> None:
        self.spec = spec
        self._separate = spec.bus.bus_clock is BusClock.SEPARATE
        self.accelerator = Accelerator(spec, technology=technology)
        self._adapters: dict[str, wiring.Component] = {}
        members: dict[str, wiring.Member] = {"irq": Out(1), "busy": Out(1)}
        self._flat: dict[str, wiring.Signature] = {}
        match spec.bus.host:
            case HostBus.UART:
                members |= {"uart_rx": In(1), "uart_tx": Out(1)}
            case HostBus.AXI4_LITE:
                self._flat["s_axi"] = AXI_LITE
            case HostBus.WISHBONE:
                self._adapters["slave"] = slave = WishboneSlave(spec.bus.wishbone)
                self._flat["s_wb"] = slave.wb.signature
        if spec.external.data_bytes:
            if spec.bus.memory is MemoryBus.AXI4:
                self._flat["m_axi"] = axi4(spec.external)
            else:
                self._adapters["master"] = master = WishboneMaster(spec.external)
                self._flat["m_wb"] = master.wb.signature
        if spec.bus.stream_bytes:
            self._flat["s_axis"] = axi_stream(spec.bus.stream_bytes, sink=True)
            self._flat["m_axis"] = axi_stream(spec.bus.stream_bytes)
        for prefix, signature in self._flat.items():
            members |= {f"{prefix}_{n}": member for n, member in signature.members.items()}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Core and ports, one bus after the other."""
        m = Module()
        core: wiring.Component = self.accelerator
        self._domain = "core" if self._separate else "sync"
        if self._separate:
            shared_reset(m, {"core": "sync", "io": "bus"})
        m.submodules.accelerator = self._inside(core)
        for name, signal in (("irq", core.irq), ("busy", core.busy)):
            if self._separate:
                m.submodules[f"{name}_synchronizer"] = FFSynchronizer(
                    signal, getattr(self, name), o_domain="io"
                )
            else:
                m.d.comb += getattr(self, name).eq(signal)
        self._host(m, self._streams(m))
        if self.spec.external.data_bytes:
            memory = core.memory
            if self.spec.bus.memory is MemoryBus.WISHBONE:
                master = self._adapters["master"]
                m.submodules.master = self._outside(master)
                outer = self._cross(m, "memory", axi4(self.spec.external), memory)
                wiring.connect(m, outer, master.memory)
                self._ports(m, "m_wb", master.wb)
            else:
                self._ports(m, "m_axi", self._cross(m, "memory", axi4(self.spec.external), memory))
        return m

    def _inside(self, block: wiring.Component) -> object:
        """A block on the core's clock."""
        return DomainRenamer("core")(block) if self._separate else block

    def _outside(self, block: wiring.Component) -> object:
        """A block on the buses' clock."""
        return DomainRenamer("io")(block) if self._separate else block

    def _cross(
        self, m: Module, name: str, signature: wiring.Signature, port: wiring.PureInterface
    ) -> wiring.PureInterface:
        """The port as it is seen on the buses' clock."""
        if not self._separate:
            return port
        m.submodules[f"{name}_crossing"] = crossing = Crossing(signature)
        wiring.connect(m, port, crossing.inside)
        return crossing.outside

    def _ports(self, m: Module, prefix: str, inner: wiring.PureInterface) -> None:
        """Connect the flat ports to the port of a block."""
        for name, member in self._flat[prefix].members.items():
            outside, inside = getattr(self, f"{prefix}_{name}"), getattr(inner, name)
            m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)

    def _streams(self, m: Module) -> wiring.PureInterface:
        """The streams beside the host, if there are any; return the slave that the host sees."""
        core, size = self.accelerator, self.spec.bus.stream_bytes
        if not size:
            return core.bus
        switch, port = LiteSwitch(), StreamPort(size)
        m.submodules.switch, m.submodules.stream = self._inside(switch), self._inside(port)
        wiring.connect(m, switch.core, core.bus)
        wiring.connect(m, switch.registers, port.registers)
        wiring.connect(m, port.bus, switch.stream)
        m.d.comb += port.running.eq(core.busy)
        for prefix, inner in (("s_axis", port.i), ("m_axis", port.o)):
            self._ports(m, prefix, self._cross(m, prefix, self._flat[prefix], inner))
        return switch.host

    def _host(self, m: Module, slave: wiring.PureInterface) -> None:
        """The host's bus to the slave."""
        match self.spec.bus.host:
            case HostBus.UART:
                bridge = UartBridge(self.spec.bus.baud_period)
                m.submodules.bridge = self._inside(bridge)
                wiring.connect(m, bridge.bus, slave)
                m.d.comb += [bridge.rx.eq(self.uart_rx), self.uart_tx.eq(bridge.tx)]
            case HostBus.AXI4_LITE:
                self._ports(m, "s_axi", self._cross(m, "host", AXI_LITE, slave))
            case HostBus.WISHBONE:
                adapter = self._adapters["slave"]
                m.submodules.slave = self._outside(adapter)
                wiring.connect(m, adapter.bus, self._cross(m, "host", AXI_LITE, slave))
                self._ports(m, "s_wb", adapter.wb)
