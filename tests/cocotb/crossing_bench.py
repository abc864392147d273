"""Queues between unrelated clocks: AXI4, AXI4-Lite and AXI4-Stream, with resets from both sides."""

import random

import cocotb
from bus_bench import EFFORT, TALLY, Faulty, reset, slow
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Combine, Timer
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteMaster,
    AxiLiteSlave,
    AxiMaster,
    AxiResp,
    AxiSlave,
    AxiStreamBus,
    AxiStreamSink,
    AxiStreamSource,
)

SIZE = 1 << 14
CLOCKS = [(10_000, 10_000), (10_000, 7_302), (10_000, 33_334), (25_002, 8_000), (10_000, 9_998)]
"""Periods of the core's and the buses' clock, in picoseconds."""


class Sides:
    """Masters and slaves on both sides of the crossings."""

    def __init__(self, dut, often: float, seed: int) -> None:
        self.dut = dut
        self.memory, self.registers = Faulty(SIZE), Faulty(SIZE)
        core, io = (dut.clk, dut.rst), (dut.bus_clk, dut.bus_rst)
        self.master = AxiMaster(AxiBus.from_prefix(dut, "axi_in"), *core)
        slave = AxiSlave(AxiBus.from_prefix(dut, "axi_out"), *io, target=self.memory)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "lite_out"), *io)
        bus = AxiLiteBus.from_prefix(dut, "lite_in")
        target = AxiLiteSlave(bus, *core, target=self.registers)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "axis_in"), *core)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "axis_out"), *io)
        models = (self.master, slave, self.host, target, self.source, self.sink)
        for number, model in enumerate(models):
            slow(model, often, 7 * seed + number)

    async def reset(self, rng: random.Random) -> None:
        """Both resets, for any time and ending in any order."""
        pairs = [(self.dut.rst, self.dut.clk), (self.dut.bus_rst, self.dut.bus_clk)]
        rng.shuffle(pairs)
        await reset(*pairs, cycles=rng.randrange(1, 5))
        self.sink.clear()

    async def work(self, rng: random.Random, rounds: int) -> None:
        """All three buses at once."""
        await Combine(
            cocotb.start_soon(self._memory(rng, rounds, self.master, self.memory)),
            cocotb.start_soon(self._memory(rng, rounds, self.host, self.registers)),
            cocotb.start_soon(self._stream(rng, rounds)),
        )

    async def _memory(self, rng: random.Random, rounds: int, master, memory: Faulty) -> None:
        burst = isinstance(master, AxiMaster)
        ids = ({"awid": 0}, {"arid": 0}) if burst else ({}, {})
        for _ in range(rounds):
            length = rng.randrange(1, 300 if burst else 40)
            address = rng.randrange(SIZE - length)
            memory.bad = {rng.randrange(SIZE // 4)} if rng.random() < 0.5 else set()
            words = range(address // 4, (address + length + 3) // 4)
            want = AxiResp.SLVERR if memory.bad & set(words) else AxiResp.OKAY
            data = rng.randbytes(length)
            assert (await master.write(address, data, **ids[0])).resp == want
            answer = await master.read(address, length, **ids[1])
            assert answer.resp == want
            assert want != AxiResp.OKAY or answer.data == data
            assert want != AxiResp.OKAY or memory.mem[address : address + length] == data
            TALLY.add(cases=2, bytes=2 * length)

    async def _stream(self, rng: random.Random, rounds: int) -> None:
        frames = [rng.randbytes(rng.randrange(1, 60)) for _ in range(rounds)]
        for data in frames:
            self.source.send_nowait(data)
        for data in frames:
            assert bytes(await self.sink.recv()) == data
            TALLY.add(cases=1, bytes=len(data))
        assert self.sink.empty()


async def sides(dut, clocks: tuple[int, int], often: float, seed: int) -> Sides:
    cocotb.start_soon(Clock(dut.clk, clocks[0], unit="ps").start())
    await Timer(seed * 371 + 1, "ps")
    cocotb.start_soon(Clock(dut.bus_clk, clocks[1], unit="ps").start())
    result = Sides(dut, often, seed)
    await result.reset(random.Random(seed))
    return result


@cocotb.test()
@cocotb.parametrize(clocks=CLOCKS, often=[0.0, 0.6])
async def transfers(dut, clocks: tuple[int, int], often: float) -> None:
    """Every transfer arrives once and in order, at any ratio of clocks."""
    both = await sides(dut, clocks, often, seed=CLOCKS.index(clocks))
    await both.work(random.Random(clocks[1]), 4 * EFFORT)


@cocotb.test()
@cocotb.parametrize(clocks=CLOCKS[1:4])
async def resets(dut, clocks: tuple[int, int]) -> None:
    """Resets inside of transfers, and at once behind them new ones that lose nothing."""
    both = await sides(dut, clocks, 0.3, seed=9)
    rng = random.Random(clocks[1] + 1)
    for _ in range(3 * EFFORT):
        both.memory.bad = both.registers.bad = set()
        tasks = [
            cocotb.start_soon(both.master.write(0, bytes(200), awid=0)),
            cocotb.start_soon(both.master.read(0, 200, arid=0)),
            cocotb.start_soon(both.host.write(0, bytes(40))),
            cocotb.start_soon(both.host.read(0, 40)),
        ]
        both.source.send_nowait(bytes(100))
        await ClockCycles(dut.clk, rng.randrange(1, 60))
        await both.reset(rng)
        for task in tasks:
            task.cancel()
        await both.work(rng, 2)
        TALLY.add(resets=1)


@cocotb.test()
@cocotb.parametrize(side=["rst", "bus_rst"])
async def one_reset(dut, side: str) -> None:
    """A reset of either side alone, while nothing is under way, resets both and loses nothing."""
    both = await sides(dut, CLOCKS[2], 0.0, seed=10)
    rng = random.Random(10)
    clock = dut.clk if side == "rst" else dut.bus_clk
    for _ in range(3):
        await reset((getattr(dut, side), clock), cycles=1)
        await both.work(rng, 1)
        TALLY.add(resets=1)
