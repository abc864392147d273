"""Top module of a board or a block design: the accelerator between buses with flat port names."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import axi4
from systolith.hw.control import AXI_LITE
from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.hw.uart_bridge import UartBridge
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.bus import HostBus

__all__ = ["BoardTop", "flat"]


def flat(prefix: str, signature: wiring.Signature) -> dict[str, wiring.Member]:
    """Members of a signature as ports of their own: ``prefix`` and their names."""
    return {f"{prefix}{name}": member for name, member in signature.members.items()}


class BoardTop(wiring.Component):
    """An `Accelerator` with the buses that its specification asks for (`BusSpec`).

    Port names are those of the field, so that tools find the interfaces by them. Clock and reset
    are `clk` and `rst` (synchronous, active high).

    Parameters
    ----------
    spec: everything that can be chosen.
    technology: as of `Accelerator`.

    Members
    -------
    s_axi_*: AXI4-Lite slave, 32-bit data, for the host.
    uart_rx, uart_tx: or a serial line, see docs/uart-protocol.md.
    m_axi_*: AXI4 master, if there is an external memory.
    irq: interrupt, level, while done or error is set and interrupts are enabled.
    busy: a program runs.
    """

    def __init__(
        self, spec: AcceleratorSpec, *, technology: Technology = Technology.GENERIC
    ) -> None:
        self.spec = spec
        members = {"irq": Out(1), "busy": Out(1)}
        match spec.bus.host:
            case HostBus.UART:
                members |= {"uart_rx": In(1, init=1), "uart_tx": Out(1, init=1)}
            case HostBus.AXI4_LITE:
                members |= flat("s_axi_", AXI_LITE)
        if spec.external.data_bytes:
            members |= flat("m_axi_", axi4(spec.external))
        super().__init__(members)
        self.accelerator = Accelerator(spec, technology=technology)

    def elaborate(self, platform: object) -> Module:
        """One side after the other."""
        m = Module()
        m.submodules.accelerator = core = self.accelerator
        m.d.comb += [self.irq.eq(core.irq), self.busy.eq(core.busy)]
        match self.spec.bus.host:
            case HostBus.UART:
                m.submodules.bridge = bridge = UartBridge(self.spec.bus.baud_period)
                wiring.connect(m, bridge.bus, core.bus)
                m.d.comb += [bridge.rx.eq(self.uart_rx), self.uart_tx.eq(bridge.tx)]
            case HostBus.AXI4_LITE:
                self._forward(m, "s_axi_", core.bus, AXI_LITE)
        if self.spec.external.data_bytes:
            self._forward(m, "m_axi_", core.memory, axi4(self.spec.external))
        return m

    def _forward(self, m: Module, prefix: str, inner: object, signature: wiring.Signature) -> None:
        """Connect the flat ports to the port of a block."""
        for name, member in signature.members.items():
            outside, inside = getattr(self, f"{prefix}{name}"), getattr(inner, name)
            m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)
