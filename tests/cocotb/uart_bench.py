"""The UART bridge at its line, with cocotbext's UART and a memory that stalls and fails."""

import random

import cocotb
from bus_bench import EFFORT, TALLY, Faulty, answers, frame, reset, slow
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer
from cocotbext.axi import AxiLiteBus, AxiLiteSlave
from cocotbext.uart import UartSink, UartSource

from systolith.spec.uart import END, ESCAPE, UartRequest, UartStatus

READ, WRITE = UartRequest.READ, UartRequest.WRITE
SIZE = 4096
BIT = 41
"""Nanoseconds of a bit; the bridge's are 41.4, 4.14 of its clock cycles, and 2.5 % are allowed."""


class Line:
    """A host at the line, and the memory behind the bridge."""

    def __init__(self, dut, often: float, seed: int, bit: int) -> None:
        self.dut, self.bit = dut, bit
        self.source, self.sink = (
            kind(pin, baud=1e9 / (bit + 0.01))
            for kind, pin in ((UartSource, dut.uart_rx), (UartSink, dut.uart_tx))
        )
        for end in (self.source, self.sink):
            end.log.setLevel("ERROR")
        self.memory = Faulty(SIZE)
        bus = AxiLiteBus.from_prefix(dut, "uart_bus")
        slow(AxiLiteSlave(bus, dut.clk, dut.rst, target=self.memory), often, seed)

    async def send(self, data: bytes) -> None:
        await self.source.write(data)
        await self.source.wait()

    async def answer(self) -> bytes:
        """The next answer."""
        received = bytearray()
        while received.count(END) < 2:
            await self.sink.wait(timeout=400 * 10 * self.bit, timeout_unit="ns")
            assert not self.sink.empty(), "the bridge must answer"
            received += self.sink.read_nowait(1)
        (result,) = answers(bytes(received))
        return result

    async def ask(self, *request) -> bytes:
        await self.send(frame(*request))
        return await self.answer()

    async def quiet(self) -> None:
        """Let answers to damage come, and forget them."""
        await Timer(25 * 10 * self.bit, "ns")
        self.sink.clear()


async def line(dut, often: float = 0.0, seed: int = 0, bit: int = BIT) -> Line:
    dut.uart_rx.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    result = Line(dut, often, seed, bit)
    await reset((dut.rst, dut.clk))
    return result


@cocotb.test()
@cocotb.parametrize(often=[0.0, 0.7])
async def transfers(dut, often: float) -> None:
    """Runs of bytes of any address and length, the special bytes often; each word once."""
    bit = BIT + (often > 0)
    host = await line(dut, often, bit, bit)
    rng, mirror = random.Random(bit), bytearray(SIZE)
    for number in range(4 * EFFORT):
        length = rng.choice([1, 2, 3, 4, rng.randrange(5, 40), 256 if number % 8 == 3 else 17])
        address = rng.randrange(SIZE - length + 1)
        data = bytes(rng.choice([rng.randrange(256), END, ESCAPE]) for _ in range(length))
        before = host.memory.writes
        answer = await host.ask(WRITE, number & 255, address, length, data)
        assert answer == bytes([UartStatus.OK, number & 255])
        assert host.memory.writes - before == (address + length - 1) // 4 - address // 4 + 1
        mirror[address : address + length] = data
        begin = max(0, address - 2)
        answer = await host.ask(READ, 99, begin, length)
        assert answer == bytes([UartStatus.OK, 99]) + mirror[begin : begin + length]
        TALLY.add(cases=2, bytes=2 * length)
    assert host.memory.mem == mirror


def damage(rng: random.Random, wire: bytes) -> bytes:
    """One of the ways in which a line loses, changes and invents bytes."""
    place = rng.randrange(1, len(wire) - 1)
    middle = (
        bytes([wire[place] ^ 1 << rng.randrange(8)]),
        b"",
        bytes([wire[place], rng.randrange(256)]),
        bytes([wire[place], END]),
        bytes([ESCAPE]),
        rng.randbytes(rng.randrange(1, 9)),
    )
    cut = rng.random() < 0.1
    return wire[:place] + rng.choice(middle) + (b"" if cut else wire[place + 1 :])


@cocotb.test()
async def damaged_frames(dut) -> None:
    """Damaged requests write nothing, and every good one after them is done."""
    host = await line(dut, 0.2)
    rng, mirror = random.Random(5), bytearray(SIZE)
    for number in range(10 * EFFORT):
        address, length = rng.randrange(SIZE - 40), rng.randrange(1, 16)
        wire = frame(WRITE, 2 * number & 255, address, length, rng.randbytes(length))
        bad = damage(rng, wire)
        if wire[1:-1] not in bad.split(bytes([END])):  # an END more is no damage
            TALLY.add(errors=1)
            await host.send(bad + bytes([END]))
            await host.quiet()
        assert host.memory.mem == mirror, (number, wire, bad)
        data = rng.randbytes(length)
        sequence = (2 * number + 1) & 255
        assert await host.ask(WRITE, sequence, address, length, data) == bytes([0, sequence])
        mirror[address : address + length] = data
        assert host.memory.mem == mirror
        TALLY.add(cases=1, bytes=length)


@cocotb.test()
async def noise(dut) -> None:
    """Any bytes, breaks, glitches and characters without stop bit, then a request that is done."""
    host = await line(dut)
    rng = random.Random(6)
    for number in range(4 * EFFORT):
        kind = number % 4
        if kind == 0:
            await host.send(rng.randbytes(rng.choice([3, 30, 700 if number % 8 == 4 else 60])))
        else:
            for level in (0, 1):
                dut.uart_rx.value = level
                await Timer(rng.choice([7, 15, 100, 385, 5000]) if kind > 1 else 3000, "ns")
            dut.uart_rx.value = 1
            await Timer(600, "ns")
        await host.send(bytes([END]))
        await host.quiet()
        assert not host.memory.writes
        assert await host.ask(READ, number, 0, 4) == bytes([UartStatus.OK, number, 0, 0, 0, 0])
        TALLY.add(cases=1, errors=1, bytes=4)


@cocotb.test()
async def lost_answers(dut) -> None:
    """The same WRITE again is answered and not done again; after a READ it is a new one."""
    host = await line(dut)
    host.memory.bad = {25}
    for _ in range(3):
        assert await host.ask(WRITE, 5, 8, 1, b"\1") == bytes([UartStatus.OK, 5])
    assert host.memory.writes == 1
    for _ in range(2):  # a failed one fails again
        assert await host.ask(WRITE, 6, 100, 1, b"\1") == bytes([UartStatus.BUS, 6])
    assert host.memory.writes == 2
    assert await host.ask(READ, 6, 8, 2) == bytes([UartStatus.OK, 6, 1, 0])
    assert await host.ask(WRITE, 6, 9, 1, b"\2") == bytes([UartStatus.OK, 6])
    assert await host.ask(READ, 6, 8, 2) == bytes([UartStatus.OK, 6, 1, 2])
    TALLY.add(cases=8, errors=3)


@cocotb.test()
async def errors_of_the_bus(dut) -> None:
    """The first access that fails ends the request; what follows works."""
    host = await line(dut, 0.3)
    host.memory.bad = {25}
    data = bytes(range(1, 21))
    assert await host.ask(WRITE, 1, 94, 20, data) == bytes([UartStatus.BUS, 1])
    assert host.memory.mem[94:120] == data[:6] + bytes(20)
    assert host.memory.writes == 3
    assert await host.ask(READ, 2, 94, 20) == bytes([UartStatus.BUS, 2])
    assert host.memory.reads == 3
    assert await host.ask(READ, 3, 94, 6) == bytes([0, 3]) + data[:6]
    TALLY.add(cases=3)


@cocotb.test()
async def malformed(dut) -> None:
    """Frames with a good CRC that ask for nothing known."""
    host = await line(dut)
    for request, address, length, data in (
        (0, 0, 1, b""), (3, 0, 1, b""), (255, 0, 1, b"\1"), (READ, 0, 1, b"\1"),
        (WRITE, 0, 4, b"\1\2\3"), (WRITE, 0, 4, bytes(5)), (WRITE, 0, 256, bytes(265)),
        (WRITE, 0, 1, bytes(20)), (READ, 1 << 28, 1, b""), (WRITE, 1 << 31, 1, b"\1"),
    ):  # fmt: skip
        answer = await host.ask(request, 7, address, length, data)
        assert answer == bytes([UartStatus.MALFORMED, 7])
        TALLY.add(cases=1, errors=1)
    assert not host.memory.writes and not host.memory.reads


@cocotb.test()
async def requests_ahead(dut) -> None:
    """As many bytes as the queue holds may be on their way; what is too much writes nothing."""
    host = await line(dut)
    wire = b"".join(frame(WRITE, k, 16 * k, 16, bytes([k + 1] * 16)) for k in range(14))
    assert len(wire) < 512
    await host.send(frame(READ, 77, 0, 256) + wire)
    assert await host.answer() == bytes([UartStatus.OK, 77]) + bytes(256)
    for k in range(14):
        assert await host.answer() == bytes([UartStatus.OK, k])
    want = b"".join(bytes([k + 1] * 16) for k in range(14))
    assert host.memory.mem[: len(want)] == want
    TALLY.add(cases=15, bytes=480)


@cocotb.test()
async def resets(dut) -> None:
    """A reset inside of a request, of an access or of an answer; then a request that is done."""
    host = await line(dut, 0.5)
    rng = random.Random(8)
    for number in range(4 * EFFORT):
        wire = frame(READ if number % 2 else WRITE, 1, 0, 9, b"" if number % 2 else b"123456789")
        host.source.write_nowait(wire)
        await ClockCycles(dut.clk, rng.randrange(1, 1900))
        host.source.clear()
        await host.source.wait()
        await reset((dut.rst, dut.clk), cycles=2)
        await host.quiet()
        host.memory.mem[:] = bytes(SIZE)
        assert await host.ask(WRITE, 1, 4, 5, b"abcde") == bytes([UartStatus.OK, 1])
        assert host.memory.mem[:12] == b"\0\0\0\0abcde\0\0\0"
        TALLY.add(cases=1, resets=1, bytes=5)
