"""The board's top module: which ports there are, and that nothing else changes."""

from dataclasses import replace

import pytest

from systolith.hw.axi import axi4
from systolith.hw.board import BoardTop
from systolith.hw.control import AXI_LITE
from systolith.spec.accelerator import AcceleratorSpec, BusSpec, ExternalSpec
from systolith.spec.bus import HostBus

PLAIN = {"irq", "busy"}
LITE = {f"s_axi_{name}" for name in AXI_LITE.members}
SERIAL = {"uart_rx", "uart_tx"}


@pytest.mark.parametrize(("host", "ports"), [(HostBus.AXI4_LITE, LITE), (HostBus.UART, SERIAL)])
@pytest.mark.parametrize("data_bytes", [0, 8])
def test_ports(host: HostBus, ports: set[str], data_bytes: int) -> None:
    external = ExternalSpec(data_bytes=data_bytes)
    spec = replace(AcceleratorSpec(), bus=BusSpec(host=host), external=external)
    memory = {f"m_axi_{name}" for name in axi4(external).members} if data_bytes else set()
    assert set(BoardTop(spec).signature.members) == PLAIN | ports | memory
