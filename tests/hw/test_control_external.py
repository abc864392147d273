"""Registers of the control slave that steer external memory and the watchdog; counters."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.control import ControlSlave
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.registers import COUNTERS, REGISTERS

OKAY, SLVERR = 0, 2
OFFSET = {r.name: r.offset for r in REGISTERS}


async def write(
    ctx: SimulatorContext, dut: ControlSlave, name: str, data: int, strobe: int = 15
) -> int:
    bus = dut.bus
    for signal, value in ((bus.awaddr, OFFSET[name]), (bus.wdata, data), (bus.wstrb, strobe)):
        ctx.set(signal, value)
    for signal in (bus.awvalid, bus.wvalid, bus.bready):
        ctx.set(signal, 1)
    await ctx.tick().until(bus.awready)
    ctx.set(bus.awvalid, 0)
    ctx.set(bus.wvalid, 0)
    (response,) = await ctx.tick().sample(bus.bresp).until(bus.bvalid)
    return int(response)


async def read(ctx: SimulatorContext, dut: ControlSlave, name: str) -> tuple[int, int]:
    bus = dut.bus
    ctx.set(bus.araddr, OFFSET[name])
    ctx.set(bus.arvalid, 1)
    ctx.set(bus.rready, 1)
    await ctx.tick().until(bus.arready)
    ctx.set(bus.arvalid, 0)
    data, response = await ctx.tick().sample(bus.rdata, bus.rresp).until(bus.rvalid)
    return int(data), int(response)


@pytest.mark.parametrize("bits", [32, 40, 64])
def test_base(bits: int) -> None:
    """Written by bytes; a multiple of a page; what the bus has no address bits for stays 0."""
    dut = ControlSlave(AcceleratorSpec(external=ExternalSpec(data_bytes=4, address_bits=bits)))
    rng = np.random.default_rng(bits)

    async def bench(ctx: SimulatorContext) -> None:
        want = 0
        for _ in range(30):
            name, shift = (("memory_low", 0), ("memory_high", 32))[int(rng.integers(2))]
            data, strobe = int(rng.integers(1 << 32)), int(rng.integers(16))
            assert await write(ctx, dut, name, data, strobe) == OKAY
            mask = sum(255 << 8 * i for i in range(4) if strobe >> i & 1) << shift
            want = (want & ~mask | data << shift & mask) & (1 << bits) - 4096
            assert ctx.get(dut.base) == want
            assert await read(ctx, dut, "memory_low") == (want & 0xFFFFFFFF, OKAY)
            assert await read(ctx, dut, "memory_high") == (want >> 32, OKAY)

    simulate(dut, bench)


def test_no_external_memory() -> None:
    dut = ControlSlave(AcceleratorSpec())

    async def bench(ctx: SimulatorContext) -> None:
        for name in ("memory_low", "memory_high"):
            assert await write(ctx, dut, name, 1 << 20) == SLVERR
            assert await read(ctx, dut, name) == (0, SLVERR)

    simulate(dut, bench)


@pytest.mark.parametrize("limit", [0, 1, 50])
def test_watchdog(limit: int) -> None:
    """High once a run has taken more cycles than the register says; never for 0."""
    dut = ControlSlave(AcceleratorSpec())

    async def bench(ctx: SimulatorContext) -> None:
        assert await write(ctx, dut, "watchdog", limit) == OKAY
        assert await read(ctx, dut, "watchdog") == (limit, OKAY)
        await write(ctx, dut, "control", 1)
        ctx.set(dut.running, 1)
        for cycle in range(80):
            assert ctx.get(dut.timeout) == (0 < limit < cycle)
            await ctx.tick()

    simulate(dut, bench)


def test_without_event_counters() -> None:
    """Cycles are counted all the same; the other counters stand at 0."""
    dut = ControlSlave(AcceleratorSpec(event_counters=False))

    async def bench(ctx: SimulatorContext) -> None:
        for counter in COUNTERS:
            if counter.name != "cycles":
                ctx.set(getattr(dut, f"event_{counter.name}"), 1)
        ctx.set(dut.running, 1)
        await ctx.tick().repeat(20)
        for counter in COUNTERS:
            value, answer = await read(ctx, dut, counter.name)
            assert answer == OKAY and (value >= 20) == (counter.name == "cycles"), counter.name

    simulate(dut, bench)
