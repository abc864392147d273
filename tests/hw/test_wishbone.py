"""The Wishbone slave in brief; tests/cocotb/wishbone_bench.py has the rest."""

import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.wishbone import WishboneSlave, wishbone
from systolith.sim.lite_memory import LiteMemory
from systolith.spec.bus import WishboneMode


@pytest.mark.parametrize("mode", WishboneMode)
@pytest.mark.parametrize("often", [1.0, 0.4])
def test_requests(mode: WishboneMode, often: float) -> None:
    """Words, strobes and errors; one answer each."""
    slave = WishboneSlave(mode)
    wb = slave.wb
    memory = LiteMemory(slave.bus, 64, often=often, seed=2)
    pipelined = mode is WishboneMode.PIPELINED

    async def request(ctx: SimulatorContext, we: int, adr: int, data: int = 0, sel: int = 15):
        values = {"cyc": 1, "stb": 1, "we": we, "adr": adr, "dat_w": data, "sel": sel}
        for name, value in values.items():
            ctx.set(getattr(wb, name), value)
        answers = []
        for _ in range(60):
            taken = pipelined and not ctx.get(wb.stall)
            *_, ack, err, read = await ctx.tick().sample(wb.ack, wb.err, wb.dat_r)
            if ack or err:
                answers.append((ack, read if ack and not we else 0))
                ctx.set(wb.stb, 0)
            if taken:
                ctx.set(wb.stb, 0)
        (answer,) = answers
        ctx.set(wb.cyc, 0)
        await ctx.tick()
        return answer

    async def bench(ctx: SimulatorContext) -> None:
        assert await request(ctx, 1, 3, 0x04030201) == (1, 0)
        assert await request(ctx, 1, 3, 0xFFFFFFFF, sel=2) == (1, 0)
        assert await request(ctx, 0, 3) == (1, 0x0403FF01)
        assert await request(ctx, 0, 16) == (0, 0)
        assert await request(ctx, 1, 16, 5) == (0, 0)

    simulator = Simulator(slave)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.add_testbench(memory.run, background=True)
    simulator.run()
    assert memory.reads == [12, 64] and len(memory.writes) == 3


def test_signals_of_the_modes() -> None:
    classic, pipelined = (wishbone(26, 32, mode).members for mode in WishboneMode)
    assert set(classic) ^ set(pipelined) == {"rty", "stall"}
