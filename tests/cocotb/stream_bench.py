"""The stream ports and the switch, with a model of the core: frames of every length and shape."""

import random

import cocotb
from bus_bench import EFFORT, TALLY, Faulty, reset, slow
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiLiteSlave,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from systolith.spec.registers import REGISTERS, Window
from systolith.spec.stream import STREAM_BASE, STREAM_LAYOUT, STREAM_REGISTERS

OFFSET = {r.name: r.offset for r in REGISTERS}
STREAM = {r.name: STREAM_BASE + r.offset for r in STREAM_REGISTERS}
ACTIVATIONS, SIZE = Window.ACTIVATIONS << 24, 4096
RECEIVE, RUN, SEND, INVERT, ENDLESS = (1 << k for k in range(5))


class Core(Faulty):
    """A core: `control` starts a run of some cycles, which makes the output of the input."""

    def __init__(self, dut, seed: int) -> None:
        super().__init__(ACTIVATIONS + SIZE)
        self.dut, self.rng = dut, random.Random(seed)
        self.runs, self.fails = 0, False
        self.places: tuple[list[int], list[int]] = ([], [])

    async def _write(self, address: int, data: bytes, **_) -> None:
        await super()._write(address, data)
        if address == OFFSET["control"] and data[0] & 1:
            self.dut.st_running.value = 1
            cocotb.start_soon(self._run())

    async def _run(self) -> None:
        self.runs += 1
        await ClockCycles(self.dut.clk, self.rng.randrange(3, 60))
        given = bytes(self.mem[ACTIVATIONS + k] for k in self.places[0])
        for number, place in enumerate(self.places[1]):
            self.mem[ACTIVATIONS + place] = (given[number % len(given)] + number) & 255
        self.mem[OFFSET["status"]] = 0b110 if self.fails else 0b010
        self.dut.st_running.value = 0


def places(layout: dict[str, int]) -> list[int]:
    """Addresses of a frame's bytes."""
    return [
        layout["base"] + row * layout["row_stride"] + run * layout["run_stride"] + byte
        for row in range(layout["rows"])
        for run in range(layout["runs"])
        for byte in range(layout["run_bytes"])
    ]


class Machine:
    """The ports between a sensor, a consumer, a host and the core."""

    def __init__(self, dut, often: float, seed: int) -> None:
        self.dut, self.rng = dut, random.Random(seed)
        self.core = Core(dut, seed)
        clocked = (dut.clk, dut.rst)
        target = AxiLiteSlave(AxiLiteBus.from_prefix(dut, "st_core"), *clocked, target=self.core)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "st_host"), *clocked)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "st_i"), *clocked)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "st_o"), *clocked)
        for number, model in enumerate((target, self.host, self.source, self.sink)):
            slow(model, often, 9 * seed + number)

    async def set(self, name: str, value: int) -> None:
        answer = await self.host.write(STREAM[name], value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY

    async def get(self, name: str) -> int:
        answer = await self.host.read(STREAM[name], 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def layout(self) -> None:
        """Put the input and the output somewhere."""
        self.layouts = []
        for side, base in (("input", 0), ("output", SIZE // 2)):
            size, runs, rows = (self.rng.choice([1, 2, 3, 4, 7]) for _ in range(3))
            stride = size + self.rng.choice([0, 0, 1, 5])
            values = {
                "base": base + self.rng.randrange(9), "run_bytes": size, "runs": runs,
                "run_stride": stride, "rows": rows,
                "row_stride": stride * runs + self.rng.choice([0, 0, 3]),
            }  # fmt: skip
            for name in STREAM_LAYOUT:
                await self.set(f"{side}_{name}", values[name])
                assert await self.get(f"{side}_{name}") == values[name]
            self.layouts.append(values)
        self.core.places = tuple(places(layout) for layout in self.layouts)

    def frame(self, length: int) -> bytes:
        """Send bytes, with gaps in the beats; return them."""
        data, keep, sent = self.rng.randbytes(length), [], bytearray()
        holes = self.rng.random() < 0.5
        for byte in data:
            while holes and self.rng.random() < 0.2:
                keep.append(0)
                sent.append(0xEE)
            keep.append(1)
            sent.append(byte)
        self.source.send_nowait(AxiStreamFrame(bytes(sent), tkeep=keep))
        return data

    def result(self, data: bytes) -> bytes:
        count = len(self.core.places[1])
        return bytes((data[k % len(data)] + k) & 255 for k in range(count))

    async def receive(self) -> bytes:
        frame = await with_timeout(self.sink.recv(compact=False), 200, "us")
        size = len(self.core.places[1])
        assert frame.tkeep == [1] * size + [0] * (-size % 4)
        return bytes(frame.tdata[:size])

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        for _ in range(300):
            idle = self.source.idle() and not await self.get("stream_status") & 1
            if idle:
                return
            await Timer(1, "us")
        raise AssertionError("the stream port must come to rest")


async def machine(dut, often: float, seed: int) -> Machine:
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    dut.st_running.value = 0
    result = Machine(dut, often, seed)
    await reset((dut.rst, dut.clk))
    return result


@cocotb.test()
@cocotb.parametrize(often=[0.0, 0.5])
async def frames(dut, often: float) -> None:
    """Good frames are answered; short and long ones are dropped, counted, and start nothing."""
    m = await machine(dut, often, seed=3)
    counts = dict.fromkeys(("received", "dropped", "sent"), 0)
    for _ in range(3 * EFFORT):
        await m.layout()
        await m.set("stream_control", RECEIVE | RUN | SEND)
        length = len(m.core.places[0])
        want, flags = [], 0
        for _ in range(6):
            kind = m.rng.choice(["good", "good", "short", "long"]) if length > 1 else "good"
            extra = {"good": 0, "short": -m.rng.randrange(1, length) if length > 1 else 0}
            data = m.frame(length + extra.get(kind, m.rng.randrange(1, 20)))
            flags |= {"good": 0, "short": 2, "long": 4}[kind]
            if kind == "good":
                want.append(m.result(data))
            TALLY.add(cases=1, bytes=len(data), errors=int(kind != "good"))
            counts["received" if kind == "good" else "dropped"] += 1
        for result in want:
            assert await m.receive() == result
        counts["sent"] += len(want)
        await m.settled()
        assert m.sink.empty()
        for name, count in counts.items():
            assert await m.get(f"stream_{name}") == count
        assert await m.get("stream_status") == flags
        await m.set("stream_status", flags)
        assert await m.get("stream_status") == 0
        await m.set("stream_control", 0)
    assert m.core.runs == counts["received"]


@cocotb.test()
async def steps_left_to_the_host(dut) -> None:
    """Without RUN the host starts; without SEND nothing leaves; INVERT and ENDLESS."""
    m = await machine(dut, 0.3, seed=4)
    await m.layout()
    length = len(m.core.places[0])
    await m.set("stream_control", RECEIVE | SEND | INVERT)
    data = m.frame(length)
    await Timer(20, "us")
    assert not m.core.runs and await m.get("stream_received") == 1
    assert (await m.host.write(OFFSET["control"], b"\1\0\0\0")).resp == AxiResp.OKAY
    assert await m.receive() == m.result(bytes(b ^ 0x80 for b in data))
    await m.set("stream_control", RECEIVE | RUN)
    m.frame(length)
    await m.settled()
    assert m.core.runs == 2 and await m.get("stream_sent") == 1 and m.sink.empty()
    await m.set("stream_control", RECEIVE | RUN | SEND | ENDLESS)
    data = m.frame(5 * length)  # one packet, five frames
    for k in range(5):
        assert await m.receive() == m.result(data[k * length : (k + 1) * length])
    assert await m.get("stream_dropped") == 0 and await m.get("stream_status") & 0x1E == 0
    TALLY.add(cases=7, bytes=7 * length)


@cocotb.test()
async def errors(dut) -> None:
    """Programs that fail, addresses without memory, and registers that do not exist."""
    m = await machine(dut, 0.2, seed=5)
    await m.layout()
    await m.set("stream_control", RECEIVE | RUN | SEND)
    m.core.fails = True
    m.frame(len(m.core.places[0]))
    await m.settled()
    assert await m.get("stream_status") == 8 and m.sink.empty()
    await m.set("stream_status", 8)
    m.core.fails = False
    m.core.bad = {(ACTIVATIONS + m.core.places[0][-1]) // 4}
    m.frame(len(m.core.places[0]))
    await m.settled()
    assert await m.get("stream_status") == 16 and await m.get("stream_dropped") == 1
    m.core.bad = set()
    data = m.frame(len(m.core.places[0]))
    assert await m.receive() == m.result(data)
    for offset in (0x14, 0x38, 0x58, 0x1000):
        assert (await m.host.write(STREAM_BASE + offset, bytes(4))).resp == AxiResp.SLVERR
        assert (await m.host.read(STREAM_BASE + offset, 4)).resp == AxiResp.SLVERR
    assert (await m.host.write(STREAM["stream_sent"], bytes(4))).resp == AxiResp.SLVERR
    TALLY.add(cases=12, errors=11)


@cocotb.test()
async def receiving_stops(dut) -> None:
    """RECEIVE cleared inside of a frame drops it; with it set again the next one is whole."""
    m = await machine(dut, 0.3, seed=6)
    for _ in range(4 * EFFORT):
        await m.layout()
        await m.set("stream_control", RECEIVE | RUN | SEND)
        length = len(m.core.places[0])
        m.source.send_nowait(m.rng.randbytes(length))
        await ClockCycles(dut.clk, m.rng.randrange(1, 40))
        await m.set("stream_control", 0)
        await ClockCycles(dut.clk, 300)
        assert not await m.get("stream_status") & 1 or m.core.runs or m.sink.count()
        await m.set("stream_control", RECEIVE | RUN | SEND)
        await m.settled()
        while not m.sink.empty():
            m.sink.recv_nowait()
        data = m.frame(length)
        assert await m.receive() == m.result(data)
        await m.settled()
        assert m.sink.empty()
        await m.set("stream_control", 0)
        TALLY.add(cases=2, errors=1, bytes=2 * length)


@cocotb.test()
async def host_at_work(dut) -> None:
    """The host reads and writes the core through the switch while frames pass."""
    m = await machine(dut, 0.3, seed=7)
    await m.layout()
    await m.set("stream_control", RECEIVE | RUN | SEND)
    want = [m.result(m.frame(len(m.core.places[0]))) for _ in range(5 * EFFORT)]
    free = ACTIVATIONS + SIZE - 256

    async def host() -> None:
        for _ in range(30 * EFFORT):
            place, data = free + m.rng.randrange(200), m.rng.randbytes(m.rng.randrange(1, 20))
            assert (await m.host.write(place, data)).resp == AxiResp.OKAY
            assert (await m.host.read(place, len(data))).data == data
            await m.get("stream_received")
            TALLY.add(cases=3, bytes=2 * len(data))

    work = cocotb.start_soon(host())
    for result in want:
        assert await m.receive() == result
        TALLY.add(cases=1, bytes=len(result))
    await work


@cocotb.test()
async def resets(dut) -> None:
    """A reset inside of a frame, a run or an answer; then a frame that is answered."""
    m = await machine(dut, 0.3, seed=8)
    for _ in range(4 * EFFORT):
        await m.layout()
        await m.set("stream_control", RECEIVE | RUN | SEND)
        m.frame(len(m.core.places[0]))
        await ClockCycles(dut.clk, m.rng.randrange(1, 400))
        m.source.clear()
        await reset((dut.rst, dut.clk), cycles=2)
        await ClockCycles(dut.clk, 100)  # the model's run is not reset
        m.sink.clear()
        assert await m.get("stream_control") == 0 and await m.get("stream_status") == 0
        await m.layout()
        await m.set("stream_control", RECEIVE | RUN | SEND)
        data = m.frame(len(m.core.places[0]))
        assert await m.receive() == m.result(data)
        TALLY.add(cases=1, resets=1, bytes=len(data))
