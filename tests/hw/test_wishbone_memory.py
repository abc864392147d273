"""The Wishbone master in brief; tests/cocotb/wishbone_memory_bench.py has the rest."""

from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.wishbone_memory import WishboneMaster
from systolith.spec.accelerator import ExternalSpec


def run(body) -> None:
    master = WishboneMaster(ExternalSpec(data_bytes=4))
    simulator = Simulator(master)
    simulator.add_clock(1e-8)

    async def bench(ctx: SimulatorContext) -> None:
        await body(ctx, master)

    simulator.add_testbench(bench)
    simulator.run()


def test_a_read_burst_with_a_retry() -> None:
    """Addresses, cycle types, the pause behind `rty`; a beat for every answer."""

    async def body(ctx: SimulatorContext, master: WishboneMaster) -> None:
        memory, wb = master.memory, master.wb
        ctx.set(memory.araddr, 0x100)
        ctx.set(memory.arlen, 3)
        ctx.set(memory.arvalid, 1)
        ctx.set(memory.rready, 1)
        await ctx.tick().until(memory.arready)
        ctx.set(memory.arvalid, 0)
        seen, beats = [], []
        for cycle in range(14):
            ctx.set(wb.ack, cycle != 1)
            ctx.set(wb.rty, cycle == 1)
            ctx.set(wb.dat_r, 100 + cycle)
            *_, cyc, stb, adr, cti, valid, data, last = await ctx.tick().sample(
                wb.cyc, wb.stb, wb.adr, wb.cti, memory.rvalid, memory.rdata, memory.rlast
            )
            if cyc:
                assert stb
                seen.append((cycle, adr, cti))
            if valid:
                beats.append((data, last))
        assert seen == [(0, 0x40, 2), (1, 0x41, 2), (3, 0x41, 2), (4, 0x42, 2), (5, 0x43, 7)]
        assert beats == [(100, 0), (103, 0), (104, 0), (105, 1)]

    run(body)


def test_a_write_with_an_error() -> None:
    """A single beat is a classic cycle; its error is the burst's."""

    async def body(ctx: SimulatorContext, master: WishboneMaster) -> None:
        memory, wb = master.memory, master.wb
        ctx.set(memory.awaddr, 0x20)
        ctx.set(memory.awvalid, 1)
        await ctx.tick().until(memory.awready)
        ctx.set(memory.awvalid, 0)
        *_, cyc, stb, cti = await ctx.tick().sample(wb.cyc, wb.stb, wb.cti)
        assert (cyc, stb, cti) == (1, 0, 0)  # the data is still to come
        ctx.set(memory.wdata, 7)
        ctx.set(memory.wstrb, 5)
        ctx.set(memory.wvalid, 1)
        ctx.set(wb.err, 1)
        *_, stb, we, adr, data, sel, ready = await ctx.tick().sample(
            wb.stb, wb.we, wb.adr, wb.dat_w, wb.sel, memory.wready
        )
        assert (stb, we, adr, data, sel, ready) == (1, 1, 8, 7, 5, 1)
        ctx.set(memory.bready, 1)
        *_, cyc, valid, response = await ctx.tick().sample(wb.cyc, memory.bvalid, memory.bresp)
        assert (cyc, valid, response) == (0, 1, 2)

    run(body)
