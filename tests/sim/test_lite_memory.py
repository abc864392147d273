"""The AXI4-Lite memory and master of the simulator, against each other."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.control import AXI_LITE
from systolith.sim.lite_memory import LiteMemory, lite_access


class Wires(wiring.Component):
    """A port that leads to another."""

    i: Out(AXI_LITE)
    o: In(AXI_LITE)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
        m.d.sync += Signal(name="clocked").eq(1)
        return m


@pytest.mark.parametrize("often", [1.0, 0.3])
def test_accesses(often: float) -> None:
    wires = Wires()
    memory = LiteMemory(wires.o, 64, often=often, seed=1)
    simulator = Simulator(wires)
    simulator.add_clock(1e-8)

    async def bench(ctx: SimulatorContext) -> None:
        assert await lite_access(ctx, wires.i, 8, 0x04030201) == (0, 0)
        assert await lite_access(ctx, wires.i, 8, 0xFFFFFFFF, strobe=4) == (0, 0)
        assert await lite_access(ctx, wires.i, 8) == (0x04FF0201, 0)
        assert await lite_access(ctx, wires.i, 64) == (0, 2)
        assert await lite_access(ctx, wires.i, 64, 1) == (0, 2)

    simulator.add_testbench(bench)
    simulator.add_testbench(memory.run, background=True)
    simulator.run()
    assert memory.reads == [8, 64] and [w[0] for w in memory.writes] == [8, 8, 64]
    assert memory.data == bytes(8) + b"\1\2\xff\4" + bytes(52)
