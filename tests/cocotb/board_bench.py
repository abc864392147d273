"""A whole board top at its ports: a program with external memory, on clocks of any ratio."""

import os
import random
from pathlib import Path

import cocotb
import numpy as np
from bus_bench import EFFORT, TALLY, Faulty, reset, slow
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge, Timer
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiSlave,
    AxiStreamBus,
    AxiStreamSink,
    AxiStreamSource,
)
from wishbone_memory_bench import Memory

from systolith.spec.bus import BusClock, HostBus, MemoryBus
from systolith.spec.program import Program
from systolith.spec.registers import REGISTERS, Window, window_stride
from systolith.spec.stream import STREAM_BASE, STREAM_REGISTERS, stream_layout

FOLDER = Path(os.environ["SYSTOLITH_PROGRAM"])
PROGRAM = Program.from_bytes((FOLDER / "program.bin").read_bytes())
TENSORS = np.load(FOLDER / "tensors.npz")
BUS = PROGRAM.spec.bus
OFFSET = {r.name: r.offset for r in REGISTERS}
STREAM = {r.name: STREAM_BASE + r.offset for r in STREAM_REGISTERS}
SIZE = 1 << 14
SEPARATE = BUS.bus_clock is BusClock.SEPARATE
CLOCKS = [(10_000, 10_000), (10_000, 7_302), (10_000, 33_334)] if SEPARATE else [(10_000, 10_000)]


class WishboneHost:
    """Words and bytes through a classic Wishbone slave; between the clock's edges."""

    def __init__(self, dut, clock) -> None:
        self.dut, self.clock = dut, clock
        self._set(cyc=0, stb=0)

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            getattr(self.dut, f"s_wb_{name}").value = value

    async def _word(self, address: int, **values: int) -> int:
        await FallingEdge(self.clock)
        self._set(cyc=1, stb=1, adr=address // 4, **values)
        for _ in range(500):
            await FallingEdge(self.clock)
            if int(self.dut.s_wb_ack.value):
                break
        else:
            raise AssertionError("the slave must answer")
        data = int(self.dut.s_wb_dat_r.value)
        await FallingEdge(self.clock)
        self._set(cyc=0, stb=0)
        return data

    async def write(self, address: int, data: bytes) -> None:
        first = address & ~3
        padded = bytes(address - first) + data
        for k in range(0, len(padded), 4):
            sel = sum(1 << j for j in range(4) if address <= first + k + j < address + len(data))
            word = int.from_bytes(padded[k : k + 4], "little")
            await self._word(first + k, we=1, dat_w=word, sel=sel)

    async def read(self, address: int, length: int) -> bytes:
        first = address & ~3
        words = [await self._word(a, we=0, sel=15) for a in range(first, address + length, 4)]
        data = b"".join(w.to_bytes(4, "little") for w in words)
        return data[address - first :][:length]


class AxiHost:
    """The same through AXI4-Lite."""

    def __init__(self, dut, clock, reset_line) -> None:
        self.axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), clock, reset_line)
        slow(self.axi, 0.1, 1)

    async def write(self, address: int, data: bytes) -> None:
        assert (await self.axi.write(address, data)).resp == AxiResp.OKAY

    async def read(self, address: int, length: int) -> bytes:
        answer = await self.axi.read(address, length)
        assert answer.resp == AxiResp.OKAY
        return bytes(answer.data)


class Board:
    """The top between a host and a memory on the buses' clock."""

    def __init__(self, dut, often: float, seed: int) -> None:
        self.dut = dut
        clock, line = (dut.bus_clk, dut.bus_rst) if SEPARATE else (dut.clk, dut.rst)
        self.resets = [(dut.rst, dut.clk), *([(line, clock)] if SEPARATE else [])]
        self.host = (
            WishboneHost(dut, clock) if BUS.host is HostBus.WISHBONE else AxiHost(dut, clock, line)
        )
        if BUS.memory is MemoryBus.WISHBONE:
            self.memory = Memory(dut, often, seed, "m_wb")
            self.bytes = self.memory.data
        else:
            self.memory = Faulty(SIZE)
            self.bytes = self.memory.mem
            bus = AxiBus.from_prefix(dut, "m_axi")
            slow(AxiSlave(bus, clock, line, target=self.memory), often, seed)

    async def set(self, name: str, value: int) -> None:
        await self.host.write(OFFSET[name], value.to_bytes(4, "little"))

    async def stream(self, name: str, value: int) -> None:
        """Write a register of the streams."""
        await self.host.write(STREAM[name], value.to_bytes(4, "little"))

    async def get(self, name: str) -> int:
        return int.from_bytes(await self.host.read(OFFSET[name], 4), "little")

    async def load(self) -> None:
        """Constants, inputs and external memory."""
        spec, host = PROGRAM.spec, self.host
        await host.write(Window.COMMANDS << 24, PROGRAM.commands.astype("<u4").tobytes())
        stride = window_stride(spec, Window.WEIGHTS)
        for i, row in enumerate(PROGRAM.weights):
            await host.write((Window.WEIGHTS << 24) + i * stride, row.tobytes())
        await host.write(Window.TABLES << 24, PROGRAM.tables.tobytes())
        stride = window_stride(spec, Window.PARAMETERS)
        for i, word in enumerate(PROGRAM.parameters.astype("<u4")):
            for lane, fields in enumerate(word):
                address = (Window.PARAMETERS << 24) + i * stride + 32 * lane
                await host.write(address, fields[:5].tobytes())
        self.bytes[: len(PROGRAM.external)] = PROGRAM.external.tobytes()
        for name in PROGRAM.inputs:
            await self._place(PROGRAM.buffers[name], TENSORS[f"in_{name}"].tobytes())
        await self.set("interrupt", 1)

    async def _place(self, buffer, data: bytes) -> None:
        if buffer.external:
            self.bytes[buffer.base : buffer.base + len(data)] = data
        else:
            await self.host.write((Window.ACTIVATIONS << 24) + buffer.base, data)

    async def run(self) -> int:
        """Start, wait for the interrupt, return the status."""
        await self.set("control", 1)
        if not int(self.dut.irq.value):
            await First(RisingEdge(self.dut.irq), Timer(3, "ms"))
        assert int(self.dut.irq.value)
        return await self.get("status")

    async def check(self) -> None:
        for name in PROGRAM.outputs:
            want, buffer = TENSORS[f"out_{name}"].tobytes(), PROGRAM.buffers[name]
            if buffer.external:
                got = bytes(self.bytes[buffer.base : buffer.base + len(want)])
            else:
                got = await self.host.read((Window.ACTIVATIONS << 24) + buffer.base, len(want))
            assert got == want, name
            TALLY.add(bytes=len(want))
        TALLY.add(cases=1)


async def board(dut, clocks: tuple[int, int], often: float, seed: int) -> Board:
    cocotb.start_soon(Clock(dut.clk, clocks[0], unit="ps").start())
    if SEPARATE:
        await Timer(371, "ps")
        cocotb.start_soon(Clock(dut.bus_clk, clocks[1], unit="ps").start())
    result = Board(dut, often, seed)
    await reset(*result.resets)
    return result


@cocotb.test()
@cocotb.parametrize(clocks=CLOCKS, often=[0.0, 0.4])
async def programs(dut, clocks: tuple[int, int], often: float) -> None:
    """Load, run, compare every output with golden's; the interrupt tells the end."""
    top = await board(dut, clocks, often, seed=1)
    for _ in range(EFFORT):
        await top.load()
        assert await top.run() == 0b010
        await top.check()


@cocotb.test()
async def errors_and_resets(dut) -> None:
    """A memory that fails ends a run with an error; resets in runs; then a run that is right."""
    top = await board(dut, CLOCKS[-1], 0.2, seed=2)
    rng = random.Random(2)
    await top.load()
    top.memory.bad = set(range(SIZE // 4))
    assert await top.run() == 0b110
    assert await top.get("error") in (2, 3)
    top.memory.bad = set()
    for _ in range(2 * EFFORT):
        await top.load()
        await top.set("control", 1)
        await ClockCycles(dut.clk, rng.randrange(20, 600))
        rng.shuffle(top.resets)
        await reset(*top.resets, cycles=rng.randrange(1, 4))
        TALLY.add(resets=1)
        assert await top.get("status") == 0 and not int(dut.irq.value)
        await top.load()
        assert await top.run() == 0b010
        await top.check()


@cocotb.test(skip=not BUS.stream_bytes)
@cocotb.parametrize(often=[0.0, 0.5])
async def streams(dut, often: float) -> None:
    """An input that comes as a frame starts the program, and an output leaves as one."""
    top = await board(dut, CLOCKS[0], 0.2, seed=3)
    line, clock = top.resets[-1]
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), clock, line)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), clock, line)
    for number, model in enumerate((source, sink)):
        slow(model, often, number)
    names = [
        next(n for n in side if not PROGRAM.buffers[n].external)
        for side in (PROGRAM.inputs, PROGRAM.outputs)
    ]
    for side, name in zip(("input", "output"), names, strict=True):
        for field, value in stream_layout(PROGRAM.buffers[name]).items():
            await top.stream(f"{side}_{field}", value)
    for _ in range(2 * EFFORT):
        await top.stream("stream_control", 0)
        await top.load()
        data = TENSORS[f"in_{names[0]}"].tobytes()
        base = (Window.ACTIVATIONS << 24) + PROGRAM.buffers[names[0]].base
        await top.host.write(base, bytes(len(data)))
        await top.stream("stream_control", 0b111)
        source.send_nowait(data)
        assert bytes(await sink.recv()) == TENSORS[f"out_{names[1]}"].tobytes()
        await top.check()
    assert int.from_bytes(await top.host.read(STREAM["stream_sent"], 4), "little") == 2 * EFFORT
