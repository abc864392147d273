"""The registers of the streams: access as the table says, errors that stay, counts."""

from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.stream_registers import LAYOUT_BITS, StreamRegisters
from systolith.sim.lite_memory import lite_access
from systolith.spec.stream import STREAM_BASE, STREAM_LAYOUT, STREAM_REGISTERS


def test_every_register() -> None:
    table = StreamRegisters()

    async def bench(ctx: SimulatorContext) -> None:
        known = {r.offset: r for r in STREAM_REGISTERS}
        for offset in range(0, 0x60, 4):
            register = known.get(offset)
            address = STREAM_BASE + offset
            writable = register is not None and register.access == "rw"
            _, response = await lite_access(ctx, table.bus, address, 0xFFFFFFFF)
            assert response == (0 if writable else 2)
            value, response = await lite_access(ctx, table.bus, address)
            assert response == (0 if register else 2)
            name = register.name if register else ""
            side, _, rest = name.partition("_")
            bits = LAYOUT_BITS[rest] if side in ("input", "output") else 5
            bits = bits if writable and name != "stream_status" else 0
            assert value == (1 << bits) - 1, name
            if bits and side != "stream":
                assert ctx.get(getattr(table, name)) == value
            assert await lite_access(ctx, table.bus, address, 0, strobe=0) is not None
            assert (await lite_access(ctx, table.bus, address))[0] == value

    simulator = Simulator(table)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


def test_errors_and_counts() -> None:
    table = StreamRegisters()
    status = STREAM_BASE + 4

    async def pulse(ctx: SimulatorContext, name: str) -> None:
        ctx.set(getattr(table, name), 1)
        await ctx.tick()
        ctx.set(getattr(table, name), 0)

    async def bench(ctx: SimulatorContext) -> None:
        for bit, name in enumerate(("short", "long", "program", "address"), 1):
            await pulse(ctx, name)
            assert (await lite_access(ctx, table.bus, status))[0] == 1 << bit
            await lite_access(ctx, table.bus, status, 0x1F & ~(1 << bit))
            assert (await lite_access(ctx, table.bus, status))[0] == 1 << bit
            await lite_access(ctx, table.bus, status, 1 << bit)
            assert (await lite_access(ctx, table.bus, status))[0] == 0
        for offset, name in ((8, "received"), (12, "dropped"), (16, "sent")):
            for _ in range(offset):
                await pulse(ctx, name)
            assert (await lite_access(ctx, table.bus, STREAM_BASE + offset))[0] == offset
        ctx.set(table.busy, 1)
        assert (await lite_access(ctx, table.bus, status))[0] == 1

    simulator = Simulator(table)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(STREAM_LAYOUT) == len(LAYOUT_BITS)
