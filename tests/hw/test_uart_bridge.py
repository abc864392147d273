"""The UART bridge: requests, lost answers, and damage of every kind, at the line."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.uart_bridge import UartBridge
from systolith.spec.bus import BAUD_FRACTION
from systolith.spec.uart import END, ESCAPE, UartRequest, UartStatus

PERIOD = (4 << BAUD_FRACTION) + 37
"""4.14 cycles a bit."""
SIZE = 1024


def _helpers():
    path = Path(__file__).with_name("lite_memory.py")
    spec = importlib.util.spec_from_file_location("lite_memory", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HELP = _helpers()
READ, WRITE = UartRequest.READ, UartRequest.WRITE


class Line:
    """A bridge between a memory and a host that sends bytes and collects answers."""

    def __init__(self, *, often: float = 1.0, seed: int = 0, period: int = PERIOD) -> None:
        self.dut = UartBridge(period)
        self.memory = HELP.LiteMemory(self.dut.bus, SIZE, often=often, seed=seed)
        self.cycles = period / (1 << BAUD_FRACTION)
        self.received = bytearray()
        self.answers: list[bytes] = []

    def run(self, body) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-8)

        async def bench(ctx: SimulatorContext) -> None:
            await body(ctx)

        async def memory(ctx: SimulatorContext) -> None:
            await self.memory.run(ctx)

        async def listen(ctx: SimulatorContext) -> None:
            await self._listen(ctx)

        simulator.add_testbench(bench)
        simulator.add_testbench(memory, background=True)
        simulator.add_testbench(listen, background=True)
        simulator.run()

    async def _bits(self, ctx: SimulatorContext, cycles: float) -> None:
        self.due = getattr(self, "due", 0.0) + cycles
        whole = int(self.due)
        self.due -= whole
        if whole:
            await ctx.tick().repeat(whole)

    async def send(self, ctx: SimulatorContext, data: bytes, *, stop: int = 1) -> None:
        for byte in data:
            for bit in (0, *(byte >> k & 1 for k in range(8)), stop):
                ctx.set(self.dut.rx, bit)
                await self._bits(ctx, self.cycles)
        ctx.set(self.dut.rx, 1)
        if not stop:
            await self._bits(ctx, self.cycles)

    async def _listen(self, ctx: SimulatorContext) -> None:
        while True:
            await ctx.tick().until(~self.dut.tx)
            moment, byte = 0.0, 0
            for bit in range(10):
                target = (bit + 0.5) * self.cycles
                await ctx.tick().repeat(max(1, int(target - moment)))
                moment += max(1, int(target - moment))
                level = ctx.get(self.dut.tx)
                if 1 <= bit <= 8:
                    byte |= level << (bit - 1)
                assert level == {0: 0, 9: 1}.get(bit, level)
            self.received.append(byte)

    async def answer(self, ctx: SimulatorContext, characters: int = 1500) -> bytes:
        """Wait for the next answer."""
        for _ in range(characters):
            if self.received.count(END) >= 2:
                end = self.received.index(END, self.received.index(END) + 1)
                (result,) = HELP.frames(bytes(self.received[: end + 1]))
                del self.received[: end + 1]
                self.answers.append(result)
                return result
            await ctx.tick().repeat(int(10 * self.cycles))
        raise AssertionError("the bridge must answer")

    async def ask(self, ctx: SimulatorContext, *arguments) -> bytes:
        await self.send(ctx, HELP.frame(*arguments))
        return await self.answer(ctx)


@pytest.mark.parametrize("often", [1.0, 0.3])
def test_runs_of_bytes(often: float) -> None:
    """Any address and length, all bytes, the special ones often; each word once."""
    line, rng = Line(often=often, seed=4), random.Random(4)
    mirror = bytearray(SIZE)

    async def body(ctx: SimulatorContext) -> None:
        for sequence, length in enumerate((1, 2, 3, 4, 5, 9, 256, 31, 64)):
            address = rng.randrange(SIZE - length + 1)
            data = bytes(rng.choice([rng.randrange(256), END, ESCAPE, 0]) for _ in range(length))
            words = (address + length - 1) // 4 - address // 4 + 1
            line.memory.writes.clear()
            line.memory.reads.clear()
            answer = await line.ask(ctx, WRITE, sequence, address, length, data)
            assert answer == bytes([UartStatus.OK, sequence])
            assert len(line.memory.writes) == words
            mirror[address : address + length] = data
            assert line.memory.data == mirror
            answer = await line.ask(ctx, READ, 99, max(0, address - 2), length)
            begin = max(0, address - 2)
            assert answer == bytes([UartStatus.OK, 99]) + mirror[begin : begin + length]

    line.run(body)


def test_a_lost_answer() -> None:
    """The same WRITE again is answered and not done again; after a READ it is a new one."""
    line = Line()

    async def body(ctx: SimulatorContext) -> None:
        for _ in range(3):
            assert await line.ask(ctx, WRITE, 5, 8, 1, b"\1") == bytes([UartStatus.OK, 5])
        assert len(line.memory.writes) == 1
        for _ in range(2):  # a failed one fails again
            assert await line.ask(ctx, WRITE, 6, SIZE, 1, b"\1") == bytes([UartStatus.BUS, 6])
        assert len(line.memory.writes) == 2
        assert await line.ask(ctx, READ, 6, 8, 2) == bytes([UartStatus.OK, 6, 1, 0])
        assert await line.ask(ctx, WRITE, 6, 9, 1, b"\2") == bytes([UartStatus.OK, 6])
        assert await line.ask(ctx, READ, 6, 8, 2) == bytes([UartStatus.OK, 6, 1, 2])

    line.run(body)


def test_errors_of_the_bus() -> None:
    """The first access that fails ends the request; what follows works."""
    line = Line()

    async def body(ctx: SimulatorContext) -> None:
        answer = await line.ask(ctx, WRITE, 1, SIZE - 6, 20, bytes(range(1, 21)))
        assert answer == bytes([UartStatus.BUS, 1])
        assert line.memory.data[SIZE - 6 :] == bytes(range(1, 7))
        assert line.memory.writes[-1][0] == SIZE and len(line.memory.writes) == 3
        assert await line.ask(ctx, READ, 2, SIZE - 6, 20) == bytes([UartStatus.BUS, 2])
        assert line.memory.reads[-1] == SIZE and len(line.memory.reads) == 3
        assert await line.ask(ctx, READ, 3, SIZE - 6, 6) == bytes([0, 3, *range(1, 7)])

    line.run(body)


def test_malformed() -> None:
    """Frames with a good CRC that ask for nothing known."""
    line = Line()

    async def body(ctx: SimulatorContext) -> None:
        for request, address, length, data in (
            (0, 0, 1, b""), (3, 0, 1, b""), (255, 0, 1, b"\1"), (READ, 0, 1, b"\1"),
            (WRITE, 0, 4, b"\1\2\3"), (WRITE, 0, 4, bytes(5)), (WRITE, 0, 256, bytes(300)),
            (WRITE, 0, 1, bytes(600)), (READ, 1 << 28, 1, b""), (WRITE, 1 << 31, 1, b"\1"),
        ):  # fmt: skip
            answer = await line.ask(ctx, request, 7, address, length, data)
            assert answer == bytes([UartStatus.MALFORMED, 7])
        assert not line.memory.writes and not line.memory.reads
        await line.send(ctx, HELP.escaped(HELP.frame(READ, 1, 0, 1)[1:4]))
        assert await line.answer(ctx) == bytes([UartStatus.DAMAGED, 0])
        assert (await line.ask(ctx, READ, 1, 0, 1))[0] == UartStatus.OK

    line.run(body)


def damage(rng: random.Random, wire: bytes) -> bytes:
    """One of the ways in which a line loses, changes and invents bytes."""
    place = rng.randrange(1, len(wire) - 1)
    kind = rng.randrange(5)
    if kind == 0:
        return wire[:place] + bytes([wire[place] ^ 1 << rng.randrange(8)]) + wire[place + 1 :]
    if kind == 1:
        return wire[:place] + wire[place + 1 :]
    if kind == 2:
        return wire[:place] + bytes([rng.randrange(256)]) + wire[place:]
    if kind == 3:
        return wire[:place] + bytes([END])
    return wire[:place] + rng.randbytes(rng.randrange(1, 9)) + wire[place + 1 :]


@pytest.mark.parametrize("seed", range(3))
def test_damage(seed: int) -> None:
    """Damaged requests write nothing, and every good one after them is done."""
    line, rng = Line(seed=seed), random.Random(seed)
    mirror = bytearray(SIZE)

    async def body(ctx: SimulatorContext) -> None:
        for sequence in range(12):
            address, length = 4 * rng.randrange(64), rng.randrange(1, 12)
            wire = HELP.frame(WRITE, sequence, address, length, rng.randbytes(length))
            bad = damage(rng, wire)
            if bad != wire:
                await line.send(ctx, bad)
            await line.send(ctx, bytes([END]))
            await ctx.tick().repeat(int(10 * line.cycles) * 16)
            assert line.memory.data == mirror, (seed, sequence, bad)
            line.received.clear()
            data = rng.randbytes(length)
            answer = await line.ask(ctx, WRITE, sequence + 100, address, length, data)
            assert answer == bytes([UartStatus.OK, sequence + 100])
            mirror[address : address + length] = data
            assert line.memory.data == mirror

    line.run(body)


def test_characters_without_a_stop_bit() -> None:
    """A framing error in a request, and a break, cost that request alone."""
    line = Line()

    async def body(ctx: SimulatorContext) -> None:
        wire = HELP.frame(WRITE, 1, 0, 2, b"ab")
        await line.send(ctx, wire[:5])
        await line.send(ctx, wire[5:6], stop=0)
        await line.send(ctx, wire[6:])
        assert await line.answer(ctx) == bytes([UartStatus.DAMAGED, 0])
        ctx.set(line.dut.rx, 0)
        await ctx.tick().repeat(300)
        ctx.set(line.dut.rx, 1)
        await ctx.tick().repeat(50)
        assert await line.ask(ctx, WRITE, 1, 0, 2, b"ab") == bytes([UartStatus.OK, 1])
        assert line.memory.data[:3] == b"ab\0"

    line.run(body)


def test_requests_ahead() -> None:
    """As many bytes as the queue holds may be on their way."""
    line = Line()

    async def body(ctx: SimulatorContext) -> None:
        wire = b"".join(HELP.frame(WRITE, k, 16 * k, 16, bytes([k + 1] * 16)) for k in range(14))
        assert len(wire) < 512
        await line.send(ctx, HELP.frame(READ, 77, 0, 256) + wire)
        assert await line.answer(ctx) == bytes([UartStatus.OK, 77]) + bytes(256)
        for k in range(14):
            assert await line.answer(ctx) == bytes([UartStatus.OK, k])
        assert line.memory.data[: 14 * 16] == b"".join(bytes([k + 1] * 16) for k in range(14))

    line.run(body)
