"""The switch of AXI4-Lite: both masters reach both slaves, at the same time, in turn."""

import random

import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.lite_switch import LiteSwitch
from systolith.sim.lite_memory import LiteMemory, lite_access
from systolith.spec.stream import STREAM_BASE

SIZE = 256


class Window(LiteMemory):
    """A memory that sees offsets in the streams' window only."""

    def _note(self, ctx: SimulatorContext, seen: list[int]) -> None:
        seen[1] -= STREAM_BASE
        seen[6] -= STREAM_BASE
        super()._note(ctx, seen)


@pytest.mark.parametrize("often", [1.0, 0.4])
def test_two_masters(often: float) -> None:
    switch = LiteSwitch()
    slaves = {
        0: LiteMemory(switch.core, SIZE, often=often, seed=1),
        STREAM_BASE: Window(switch.registers, SIZE, often=often, seed=2),
    }
    simulator = Simulator(switch)
    simulator.add_clock(1e-8)
    for memory in slaves.values():
        simulator.add_testbench(memory.run, background=True)

    def master(bus, half: int):
        async def bench(ctx: SimulatorContext) -> None:
            rng, mirror = random.Random(half), {}
            for _ in range(25):
                address = rng.choice([0, STREAM_BASE]) + half * SIZE // 2 + 4 * rng.randrange(32)
                data = rng.getrandbits(32)
                assert await lite_access(ctx, bus, address, data) == (0, 0)
                mirror[address] = data
                place = rng.choice(list(mirror))
                assert await lite_access(ctx, bus, place) == (mirror[place], 0)
            assert (await lite_access(ctx, bus, 2 * SIZE))[1] == 2

        return bench

    for half, bus in enumerate((switch.host, switch.stream)):
        simulator.add_testbench(master(bus, half))
    simulator.run()
    assert all(len(memory.writes) > 10 for memory in slaves.values())
