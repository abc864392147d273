"""Runs of bytes: each word once, errors, and bytes that are forgotten."""

import random

import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.byte_master import ByteMaster
from systolith.sim.lite_memory import LiteMemory

SIZE = 64


def run(body, often: float = 1.0, seed: int = 0) -> LiteMemory:
    master = ByteMaster()
    memory = LiteMemory(master.bus, SIZE, often=often, seed=seed)

    async def bench(ctx: SimulatorContext) -> None:
        await body(ctx, master, memory)

    simulator = Simulator(master)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.add_testbench(memory.run, background=True)
    simulator.run()
    return memory


async def move(
    ctx: SimulatorContext, master: ByteMaster, address: int, data: bytes | int
) -> tuple[bytes, int]:
    """Write bytes, or read so many; return what was read, and the errors seen."""
    write, errors, result = isinstance(data, bytes), 0, bytearray()
    count = len(data) if write else data
    ctx.set(master.i_write, write)
    for number in range(count):
        ctx.set(master.i_valid, 1)
        ctx.set(master.i_address, address + number)
        ctx.set(master.i_last, number == count - 1)
        ctx.set(master.i_data, data[number] if write else 0)
        ready = 0
        while not ready:
            *_, ready, byte, error = await ctx.tick().sample(
                master.i_ready, master.o_data, master.error
            )
            errors += error
        result.append(byte)
    ctx.set(master.i_valid, 0)
    busy = 1
    while busy:
        *_, busy, error = await ctx.tick().sample(master.busy, master.error)
        errors += error
    return bytes(b"" if write else result), errors


@pytest.mark.parametrize("often", [1.0, 0.4])
def test_runs(often: float) -> None:
    rng = random.Random(3)

    async def body(ctx: SimulatorContext, master: ByteMaster, memory: LiteMemory) -> None:
        mirror = bytearray(SIZE)
        for _ in range(20):
            length = rng.randrange(1, 12)
            address = rng.randrange(SIZE - length)
            data = rng.randbytes(length)
            words = (address + length - 1) // 4 - address // 4 + 1
            memory.writes.clear()
            memory.reads.clear()
            assert await move(ctx, master, address, data) == (b"", 0)
            mirror[address : address + length] = data
            assert memory.data == mirror and len(memory.writes) == words
            assert await move(ctx, master, address, length) == (data, 0)
            assert len(memory.reads) == words

    run(body, often, seed=5)


def test_errors() -> None:
    async def body(ctx: SimulatorContext, master: ByteMaster, memory: LiteMemory) -> None:
        assert await move(ctx, master, SIZE, b"abc") == (b"", 1)
        assert (await move(ctx, master, SIZE - 2, 4))[1] == 1
        assert await move(ctx, master, 5, b"abc") == (b"", 0)
        assert await move(ctx, master, 4, 5) == (b"\0abc\0", 0)

    run(body)


def test_bytes_that_are_forgotten() -> None:
    async def body(ctx: SimulatorContext, master: ByteMaster, memory: LiteMemory) -> None:
        for signal, value in ((master.i_write, 1), (master.i_address, 8), (master.i_valid, 1)):
            ctx.set(signal, value)
        await ctx.tick()
        ctx.set(master.i_valid, 0)
        await ctx.tick().repeat(5)
        assert ctx.get(master.busy) and not memory.writes
        ctx.set(master.clear, 1)
        await ctx.tick()
        ctx.set(master.clear, 0)
        assert not ctx.get(master.busy)
        assert await move(ctx, master, 9, b"x") == (b"", 0)
        assert memory.writes == [(8, ord("x") << 8, 2)]

    run(body)
