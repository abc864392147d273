"""The board's top module: which ports there are with which buses."""

from dataclasses import replace

import pytest

from systolith.hw.axi import axi4
from systolith.hw.board import BoardTop
from systolith.hw.control import AXI_LITE
from systolith.hw.stream_port import axi_stream
from systolith.hw.wishbone import wishbone
from systolith.sim.emit import lint, readable_verilog
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    BusSpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.bus import BusClock, HostBus, MemoryBus, WishboneMode
from systolith.spec.requant import RequantMode

EXTERNAL = ExternalSpec(data_bytes=8)


def ports(prefix: str, names: object) -> set[str]:
    return {f"{prefix}_{name}" for name in names}


HOSTS = {
    HostBus.AXI4_LITE: ports("s_axi", AXI_LITE.members),
    HostBus.UART: {"uart_rx", "uart_tx"},
    HostBus.WISHBONE: ports("s_wb", wishbone(26, 32, WishboneMode.CLASSIC).members),
}
MEMORIES = {
    MemoryBus.AXI4: ports("m_axi", axi4(EXTERNAL).members),
    MemoryBus.WISHBONE: ports("m_wb", wishbone(29, 64, WishboneMode.CLASSIC).members),
}


@pytest.mark.parametrize("host", HostBus)
@pytest.mark.parametrize("memory", [None, *MemoryBus])
@pytest.mark.parametrize("stream", [0, 2])
def test_ports(host: HostBus, memory: MemoryBus | None, stream: int) -> None:
    bus = BusSpec(host=host, memory=memory or MemoryBus.AXI4, stream_bytes=stream)
    external = EXTERNAL if memory else ExternalSpec()
    want = {"irq", "busy"} | HOSTS[host] | (MEMORIES[memory] if memory else set())
    if stream:
        want |= ports("s_axis", axi_stream(2).members) | ports("m_axis", axi_stream(2).members)
    board = BoardTop(replace(AcceleratorSpec(), bus=bus, external=external))
    assert set(board.signature.members) == want


def test_directions() -> None:
    """A slave's valid and a master's ready come in, and the other way round."""
    bus = BusSpec(stream_bytes=4)
    board = BoardTop(replace(AcceleratorSpec(), bus=bus, external=EXTERNAL))
    flows = {name: member.flow.name for name, member in board.signature.members.items()}
    assert flows["s_axi_awvalid"] == flows["s_axis_tvalid"] == flows["m_axi_arready"] == "In"
    assert flows["s_axi_awready"] == flows["s_axis_tready"] == flows["m_axi_arvalid"] == "Out"
    assert flows["m_axis_tvalid"] == "Out" and flows["m_axis_tready"] == "In"


def test_two_clocks_in_clean_verilog() -> None:
    """All buses on a clock of their own: four clock and reset ports, nothing for the linter."""
    spec = AcceleratorSpec(
        name="board",
        array=ArraySpec(rows=2, columns=2),
        memory=MemorySpec(
            activation_bytes=512, weight_bytes=96, accumulator_depth=8, parameter_channels=24,
            command_words=64, tables=1, stamps=4,
        ),
        post=PostSpec(lanes=1, modes=frozenset({RequantMode.FIXED}), residual=False),
        external=ExternalSpec(data_bytes=4, burst_beats=4),
        bus=BusSpec(
            host=HostBus.WISHBONE, memory=MemoryBus.WISHBONE, stream_bytes=4,
            bus_clock=BusClock.SEPARATE,
        ),
    )  # fmt: skip
    text = readable_verilog(BoardTop(spec), "board")
    top = text[text.rindex("module board (") :]
    for port in ("clk", "rst", "bus_clk", "bus_rst", "s_axis_tvalid", "m_wb_ack"):
        assert f"input wire {port}" in top
    assert lint(text, "board") == []
