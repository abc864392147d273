"""cocotb tests of an accelerator through its bus; `test_axi` builds the design and starts them."""

import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from systolith.spec.program import Program
from systolith.spec.registers import COUNTERS, REGISTERS, Window, window_stride

OFFSET = {r.name: r.offset for r in REGISTERS}
FOLDER = Path(os.environ["SYSTOLITH_BENCH"])
PROGRAM = Program.from_bytes((FOLDER / "program.bin").read_bytes())
TENSORS = np.load(FOLDER / "tensors.npz")
FREE = PROGRAM.spec.region_stride * (PROGRAM.spec.memory.activation_regions - 1)
"""The last region: the program leaves it to the host."""


def pauses(seed: int, often: float):
    rng = random.Random(seed)
    while True:
        yield rng.random() < often


class Board:
    """The accelerator with a host at its bus, whose ports begin with `prefix` and an underscore."""

    def __init__(self, dut, often: float, seed: int, prefix: str = "bus_") -> None:
        self.dut = dut
        self.axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, prefix), dut.clk, dut.rst)
        write, read = self.axi.write_if, self.axi.read_if
        channels = (
            write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
        )  # fmt: skip
        for k, channel in enumerate(channels):
            channel.log.setLevel("WARNING")
            if often:
                channel.set_pause_generator(pauses(10 * seed + k, often))
        for side in (write, read):
            side.log.setLevel("WARNING")

    async def write(self, address: int, data: bytes) -> AxiResp:
        return (await self.axi.write(address, data)).resp

    async def put(self, address: int, data: bytes) -> None:
        assert await self.write(address, data) == AxiResp.OKAY, hex(address)

    async def register(self, name: str) -> int:
        answer = await self.axi.read(OFFSET[name], 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def set(self, name: str, value: int) -> None:
        await self.put(OFFSET[name], value.to_bytes(4, "little"))

    async def load(self) -> None:
        """Write all constants of the program."""
        spec = PROGRAM.spec
        await self.put(Window.COMMANDS << 24, PROGRAM.commands.astype("<u4").tobytes())
        stride = window_stride(spec, Window.WEIGHTS)
        for i, row in enumerate(PROGRAM.weights):
            await self.put((Window.WEIGHTS << 24) + i * stride, row.tobytes())
        await self.put(Window.TABLES << 24, PROGRAM.tables.tobytes())
        stride = window_stride(spec, Window.PARAMETERS)
        for i, word in enumerate(PROGRAM.parameters.astype("<u4")):
            for lane, fields in enumerate(word):
                address = (Window.PARAMETERS << 24) + i * stride + 32 * lane
                await self.put(address, fields[:5].tobytes())

    async def feed(self) -> None:
        for name in PROGRAM.inputs:
            base = (Window.ACTIVATIONS << 24) + PROGRAM.buffers[name].base
            await self.put(base, TENSORS[f"in_{name}"].tobytes())

    async def check(self) -> None:
        for name in PROGRAM.outputs:
            want = TENSORS[f"out_{name}"].tobytes()
            base = (Window.ACTIVATIONS << 24) + PROGRAM.buffers[name].base
            answer = await self.axi.read(base, len(want))
            assert answer.resp == AxiResp.OKAY
            assert bytes(answer.data) == want, name

    async def finished(self) -> int:
        """Poll until the run is over; return the status."""
        for _ in range(2000):
            status = await self.register("status")
            if not status & 1:
                return status
        raise AssertionError("the accelerator must stop")


async def board(dut, often: float = 0.0, seed: int = 0, prefix: str = "bus_") -> Board:
    for port in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
        getattr(dut, f"{prefix}_{port}").value = 0
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    result = Board(dut, often, seed, prefix)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    return result


@cocotb.test()
@cocotb.parametrize(often=[0.0, 0.3, 0.8])
async def run_by_polling(dut, often: float) -> None:
    """Load, run, read back; and again with the same constants."""
    host = await board(dut, often, seed=int(10 * often))
    assert await host.register("identifier") == 0x53595354
    assert await host.register("status") == 0
    await host.load()
    cycles = []
    for _ in range(2):
        await host.feed()
        await host.set("control", 1)
        assert await host.finished() == 0b010
        assert await host.register("error") == 0
        await host.check()
        counters = {c.name: await host.register(c.name) for c in COUNTERS}
        cycles.append(counters["cycles"])
        assert 0 < counters["array_busy"] <= counters["cycles"]
        stamps = await host.register("stamps")
        answer = await host.axi.read(Window.STAMPS << 24, 4 * stamps)
        times = np.frombuffer(bytes(answer.data), "<u4")
        assert (np.diff(times) > 0).all() and times[-1] < counters["cycles"]
    assert cycles[0] == cycles[1]


@cocotb.test()
async def run_by_interrupt(dut) -> None:
    host = await board(dut)
    await host.load()
    await host.feed()
    await host.set("interrupt", 1)
    assert not int(dut.irq.value)
    await host.set("control", 1)
    await First(RisingEdge(dut.irq), Timer(200, "us"))
    assert int(dut.irq.value)
    assert await host.register("status") == 0b010
    await host.check()
    await host.set("interrupt", 0)
    await ClockCycles(dut.clk, 2)
    assert not int(dut.irq.value)


@cocotb.test()
@cocotb.parametrize(often=[0.0, 0.5])
async def host_at_work_during_a_run(dut, often: float) -> None:
    """Reads of what is in use, writes next to it, and starts, disturb nothing."""
    host = await board(dut, often, seed=5)
    await host.load()
    await host.feed()
    rng = random.Random(3)
    mirror = bytearray(PROGRAM.spec.memory.activation_bytes)
    await host.put((Window.ACTIVATIONS << 24) + FREE, bytes(mirror))
    await host.set("control", 1)
    busy = 0
    while await host.register("status") & 1:
        busy += 1
        if busy == 1:  # soon after the start: at the end it would begin another run
            await host.set("control", 1)  # ignored
        offset = rng.randrange(len(mirror) - 9)
        data = rng.randbytes(rng.randrange(1, 9))
        mirror[offset : offset + len(data)] = data
        await host.put((Window.ACTIVATIONS << 24) + FREE + offset, data)
        offset = rng.randrange(len(mirror) - 9)
        answer = await host.axi.read((Window.ACTIVATIONS << 24) + FREE + offset, 9)
        assert bytes(answer.data) == bytes(mirror[offset : offset + 9])
        name = rng.choice(PROGRAM.inputs)
        base = (Window.ACTIVATIONS << 24) + PROGRAM.buffers[name].base
        assert (await host.axi.read(base + rng.randrange(0, 60), 8)).resp == AxiResp.OKAY
        last = 4 * (PROGRAM.spec.memory.command_words - 1)
        await host.put((Window.COMMANDS << 24) + last, rng.randbytes(4))
    assert busy > 3
    await host.check()
    answer = await host.axi.read((Window.ACTIVATIONS << 24) + FREE, len(mirror))
    assert bytes(answer.data) == bytes(mirror)


@cocotb.test()
async def wrong_addresses(dut) -> None:
    host = await board(dut, 0.3, seed=7)
    memory = PROGRAM.spec.memory
    end_of_commands = (Window.COMMANDS << 24) + 4 * memory.command_words
    for address in (0x00, 0x20, OFFSET["status"], Window.STAMPS << 24, 8 << 24, end_of_commands):
        assert await host.write(address, bytes(4)) == AxiResp.SLVERR, hex(address)
    end_of_stamps = (Window.STAMPS << 24) + 4 * memory.stamps
    for address in (0x08, 0x20, Window.WEIGHTS << 24, 8 << 24, end_of_stamps):
        assert (await host.axi.read(address, 4)).resp == AxiResp.SLVERR, hex(address)
    # The bus works on, and nothing was changed.
    assert await host.register("status") == 0
    await host.load()
    await host.feed()
    await host.set("control", 1)
    assert await host.finished() == 0b010
    await host.check()


@cocotb.test()
async def illegal_opcode(dut) -> None:
    """Errors at the start, in the middle of work and behind the memory's end; then a good run."""
    host = await board(dut)
    await host.load()
    await host.set("interrupt", 1)
    words = PROGRAM.commands
    middle = int(np.flatnonzero(words & 0xF == 0)[-1])  # in the place of END
    last = PROGRAM.spec.memory.command_words - 1
    for where, entry in ((0, 0), (middle, 0), (last, last)):
        await host.feed()
        good = int(words[where]) if where < len(words) else 0
        bad = good & ~0xF | (0xC if where != last else 2)
        await host.put((Window.COMMANDS << 24) + 4 * where, bad.to_bytes(4, "little"))
        await host.set("entry", entry)
        await host.set("control", 1)
        assert await host.finished() == 0b110
        assert await host.register("error") == 1
        assert int(dut.irq.value)
        await host.put((Window.COMMANDS << 24) + 4 * where, good.to_bytes(4, "little"))
        await host.set("entry", 0)
        await host.feed()
        await host.set("control", 1)
        assert await host.finished() == 0b010
        assert await host.register("error") == 0
        await host.check()


@cocotb.test()
async def reset_in_the_middle(dut) -> None:
    """A reset during a run leaves memories as they are, and everything else as new."""
    host = await board(dut)
    await host.load()
    await host.feed()
    await host.set("control", 1)
    await ClockCycles(dut.clk, 90)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    assert await host.register("status") == 0
    await host.feed()
    await host.set("control", 1)
    assert await host.finished() == 0b010
    await host.check()
