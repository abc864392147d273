"""Crossings in brief; tests/cocotb/crossing_bench.py has the rest."""

import pytest
from amaranth.hdl import Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.axi import axi4
from systolith.hw.control import AXI_LITE
from systolith.hw.crossing import Crossing, channel_of, shared_reset
from systolith.hw.stream_port import axi_stream
from systolith.spec.accelerator import ExternalSpec

STREAM = axi_stream(4)


class Shell(wiring.Component):
    """A stream from the core's clock to the buses', and the resets of both."""

    i: In(STREAM)
    o: Out(STREAM)
    core_reset: Out(1)
    io_reset: Out(1)
    ask: In(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shared_reset(m, {"core": "sync", "io": "bus"})
        m.submodules.crossing = crossing = Crossing(STREAM)
        wiring.connect(m, wiring.flipped(self.i), crossing.inside)
        wiring.connect(m, wiring.flipped(self.o), crossing.outside)
        m.d.comb += [
            self.core_reset.eq(ResetSignal("core")), self.io_reset.eq(ResetSignal("io")),
            ResetSignal("bus").eq(self.ask),
        ]  # fmt: skip
        return m


@pytest.mark.parametrize("ratio", [0.37, 1.0, 2.9])
def test_every_beat_once_and_resets_together(ratio: float) -> None:
    shell = Shell()
    sent, received = list(range(1, 60)), []
    simulator = Simulator(shell)
    simulator.add_clock(1e-8, domain="sync")
    simulator.add_clock(1e-8 * ratio, domain="bus", phase=3.1e-9)

    async def send(ctx: SimulatorContext) -> None:
        ctx.set(shell.i.tvalid, 1)  # from the beginning: nothing is taken during the reset
        for value in sent:
            ctx.set(shell.i.tdata, value)
            ready = 0
            while not ready:
                *_, ready, reset = await ctx.tick("sync").sample(shell.i.tready, shell.core_reset)
                assert not (ready and reset)
        ctx.set(shell.i.tvalid, 0)

    async def receive(ctx: SimulatorContext) -> None:
        while len(received) < len(sent):
            ready = (len(received) + ctx.get(shell.o.tvalid)) % 3 != 0
            ctx.set(shell.o.tready, ready)
            *_, valid, data = await ctx.tick("bus").sample(shell.o.tvalid, shell.o.tdata)
            if valid and ready:
                received.append(data)
            elif not ready:
                ctx.set(shell.o.tready, 1)
                *_, valid, data = await ctx.tick("bus").sample(shell.o.tvalid, shell.o.tdata)
                if valid:
                    received.append(data)
        ctx.set(shell.ask, 1)
        await ctx.tick("bus")
        ctx.set(shell.ask, 0)
        together = 0
        while ctx.get(shell.core_reset) or ctx.get(shell.io_reset):
            together += ctx.get(shell.core_reset) and ctx.get(shell.io_reset)
            await ctx.tick("sync")
        assert together >= 8 or ratio < 1

    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    simulator.run()
    assert received == sent


def test_channels() -> None:
    lite = {channel_of(name) for name in AXI_LITE.members}
    full = {channel_of(name) for name in axi4(ExternalSpec(data_bytes=4)).members}
    assert lite == full == {"aw", "w", "b", "ar", "r"}
    assert {channel_of(name) for name in STREAM.members} == {"t"}
