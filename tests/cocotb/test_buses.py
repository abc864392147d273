"""Adapters of buses alone, between cocotbext's models, with stalls, errors and resets.

All are in one design, which is built once. With SYSTOLITH_BUS_REPORT set, the counts of every
bench are left in that folder (`scripts/bus_report.py`).
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from systolith.errors import ToolError
from systolith.hw.axi import axi4
from systolith.hw.control import AXI_LITE
from systolith.hw.crossing import Crossing, shared_reset
from systolith.hw.lite_switch import LiteSwitch
from systolith.hw.stream_port import StreamPort, axi_stream
from systolith.hw.uart_bridge import UartBridge
from systolith.hw.wishbone import WishboneSlave
from systolith.hw.wishbone_memory import WishboneMaster
from systolith.sim.cocotb_bench import CocotbDesign
from systolith.sim.emit import readable_verilog
from systolith.spec.accelerator import ExternalSpec
from systolith.spec.bus import WishboneMode

HERE = Path(__file__).parent
REPORT = os.environ.get("SYSTOLITH_BUS_REPORT")
EXTERNAL = ExternalSpec(data_bytes=4)
UART_PERIOD = 1060  # 4.14 cycles of 10 ns a bit
TESTS = {"uart": 9, "wishbone": 8, "wishbone_memory": 5, "crossing": 15, "stream": 7}
"""Bench -> its tests."""


class StreamShell(wiring.Component):
    """The stream ports and the switch in front of a core."""

    def __init__(self) -> None:
        stream = axi_stream(4)
        super().__init__(
            {
                "i": Out(stream.flip()), "o": Out(stream), "host": Out(AXI_LITE),
                "core": Out(AXI_LITE.flip()), "running": wiring.In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.port, m.submodules.switch = port, switch = StreamPort(4), LiteSwitch()
        wiring.connect(m, port.bus, switch.stream)
        wiring.connect(m, port.registers, switch.registers)
        wiring.connect(m, wiring.flipped(self.host), switch.host)
        wiring.connect(m, wiring.flipped(self.core), switch.core)
        wiring.connect(m, wiring.flipped(self.i), port.i)
        wiring.connect(m, wiring.flipped(self.o), port.o)
        m.d.comb += port.running.eq(self.running)
        return m


class Shell(wiring.Component):
    """Every adapter, its ports behind a prefix."""

    def __init__(self) -> None:
        slaves = {str(mode): WishboneSlave(mode) for mode in WishboneMode}
        stream = axi_stream(4)
        self.blocks = [
            (UartBridge(UART_PERIOD), {"rx": "uart_rx", "tx": "uart_tx", "bus": "uart_bus"}),
            *((slave, {"wb": mode, "bus": f"{mode}_bus"}) for mode, slave in slaves.items()),
            (WishboneMaster(EXTERNAL), {"memory": "wbm_axi", "wb": "wbm"}),
            (Crossing(axi4(EXTERNAL)), {"inside": "axi_in", "outside": "axi_out"}),
            (Crossing(AXI_LITE), {"inside": "lite_in", "outside": "lite_out"}),
            (Crossing(stream), {"inside": "axis_in", "outside": "axis_out"}),
            (StreamShell(), {n: f"st_{n}" for n in ("i", "o", "host", "core", "running")}),
        ]
        super().__init__({name: member for _, name, _, member in self._ports()})

    def _ports(self) -> Iterator[tuple[wiring.Component, str, object, wiring.Member]]:
        """Block, the port's name here, the block's signal, and its kind."""
        for block, names in self.blocks:
            for port, prefix in names.items():
                member, inner = block.signature.members[port], getattr(block, port)
                if member.is_port:
                    yield block, prefix, inner, member
                    continue
                for name, part in member.signature.members.items():
                    yield block, f"{prefix}_{name}", getattr(inner, name), part

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shared_reset(m, {"core": "sync", "io": "bus"})
        for number, (block, _) in enumerate(self.blocks):
            m.submodules[f"block{number}"] = block
        for _, name, inner, member in self._ports():
            outer = getattr(self, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        return m


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> CocotbDesign:
    for module in ("cocotb", "cocotbext.axi", "cocotbext.uart"):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed: `pip install systolith[test]`")
    try:
        verilog = readable_verilog(Shell(), "dut")
        return CocotbDesign(verilog, "dut", tmp_path_factory.mktemp("buses"))
    except ToolError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("effort", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TESTS)
def test_bus(name: str, effort: int, design: CocotbDesign, tmp_path: Path) -> None:
    environment = {"SYSTOLITH_BENCH": str(tmp_path), "SYSTOLITH_BUS_EFFORT": str(effort)}
    result = design.run(HERE / f"{name}_bench.py", tmp_path, environment=environment)
    assert result == (TESTS[name], 0)
    if REPORT:
        shutil.copy(tmp_path / "tally.json", Path(REPORT) / f"{name}.json")
