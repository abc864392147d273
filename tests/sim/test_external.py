"""External memory for simulations: its settings, its bus monitor, and connecting it."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.errors import InputError
from systolith.hw.axi import axi4
from systolith.hw.dma_read import ReadMaster
from systolith.sim.axi_monitor import AxiMonitor
from systolith.sim.dut import Dut
from systolith.sim.external import MemoryTiming
from systolith.spec.accelerator import ExternalSpec


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"latency": 0}, "latency must be at least 1, not 0"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0 and at most 1, not 0.0"),
        ({"bandwidth": 1.5}, "bandwidth must be above 0 and at most 1, not 1.5"),
        ({"base": 100}, "base must be a multiple of 4096, not 100"),
        ({"base": 1 << 64}, "base must be a multiple of 4096, not 18446744073709551616"),
    ],
)
def test_settings(values: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MemoryTiming(**values)


class Bus:
    """A bus as a table of values; it is its own simulation context."""

    def __init__(self) -> None:
        names = axi4(ExternalSpec(data_bytes=4)).members
        self.values = dict.fromkeys(names, 0) | {"arsize": 2, "awsize": 2}
        self.values |= {"arburst": 1, "awburst": 1}
        self.view = SimpleNamespace(**{name: name for name in names})
        self.monitor = AxiMonitor(4, 8, 2)

    def get(self, name: str) -> int:
        return self.values[name]

    def cycle(self, **values: int) -> None:
        self.values |= values
        self.monitor.step(self, self.view)


ADDRESS = {"araddr": 64, "arlen": 3, "arvalid": 1}


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (ADDRESS, {"arvalid": 0}, "arvalid must stay until arready"),
        (ADDRESS, {"araddr": 128}, "ar must not change while waiting"),
        (ADDRESS | {"araddr": 66}, {"arready": 1}, "addresses must be aligned"),
        (ADDRESS | {"arlen": 8}, {"arready": 1}, "a burst must have at most 8 beats, not 9"),
        (ADDRESS | {"araddr": 4096 - 8}, {"arready": 1}, "bursts must not cross 4 KiB"),
        (ADDRESS | {"arsize": 1}, {"arready": 1}, "beats must be as wide as the bus"),
        (ADDRESS | {"arburst": 0}, {"arready": 1}, "bursts must count up"),
        ({"wvalid": 1}, {"wready": 1}, "write data must not come before its address"),
        (
            {"awvalid": 1, "awlen": 1, "awready": 1},
            {"awvalid": 0, "wvalid": 1, "wready": 1, "wlast": 1},
            "WLAST must end the burst",
        ),
    ],
)
def test_breaches(first: dict, second: dict, text: str) -> None:
    bus = Bus()
    bus.cycle(**first)
    with pytest.raises(AssertionError, match=text):
        bus.cycle(**second)


def test_too_many_bursts() -> None:
    bus = Bus()
    bus.cycle(**ADDRESS, arready=1)
    bus.cycle()
    with pytest.raises(AssertionError, match="too many reads under way"):
        bus.cycle()
    assert bus.monitor.reads == [(64, 4)] * 3


class Reader(wiring.Component):
    """A read master that always asks for the same burst, with a full AXI4 port."""

    memory: Out(axi4(ExternalSpec(data_bytes=8, address_bits=40)))
    enable: In(1)
    valid: Out(1)
    data: Out(64)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.master = master = ReadMaster(ExternalSpec(data_bytes=8, address_bits=40))
        for name, member in master.bus.signature.members.items():
            outside, inside = getattr(self.memory, name), getattr(master.bus, name)
            m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)
        m.d.comb += [
            master.b_valid.eq(self.enable), master.b_address.eq(64), master.b_len.eq(3),
            master.o_ready.eq(1), self.valid.eq(master.o_valid), self.data.eq(master.o_data),
        ]  # fmt: skip
        return m


def test_connect(compiler: None) -> None:
    """The bytes are shared; latency is from the address to the first beat; None disconnects."""
    dut = Dut.build(Reader())
    memory = np.arange(256, dtype=np.uint8)
    with pytest.raises(InputError, match="prefix must be of an AXI4 master's ports, not 'bus__'"):
        dut.connect_memory("bus__", memory)
    dut.connect_memory("memory__", memory, MemoryTiming(latency=5))
    dut.io.enable = 1
    dut.clock.tick()
    dut.io.enable = 0
    assert dut.io.memory__arvalid
    memory[64] = 200
    cycles = dut.run(50, until="valid")
    assert cycles == 6  # the beat is seen after the step that follows
    assert int(dut.io.data) == int.from_bytes(memory[64:72].tobytes(), "little")
    dut.connect_memory("memory__", None)
