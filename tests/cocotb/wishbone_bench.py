"""The Wishbone slaves, classic and pipelined, in front of a memory that stalls and fails."""

import random

import cocotb
from bus_bench import EFFORT, TALLY, Faulty, reset, slow
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteSlave

WORDS = 256
BAD = {7, 100, 101}


class Wishbone:
    """A master: everything changes between the clock's edges."""

    def __init__(self, dut, mode: str, often: float, seed: int) -> None:
        self.dut, self.mode, self.rng = dut, mode, random.Random(seed)
        self.often = often
        self.memory = Faulty(4 * WORDS)
        self.memory.bad = BAD
        bus = AxiLiteBus.from_prefix(dut, f"{mode}_bus")
        slow(AxiLiteSlave(bus, dut.clk, dut.rst, target=self.memory), often, seed)
        self.answered: list[tuple[int, int]] = []  # (error, data)
        self.wrong = 0

    def pin(self, name: str):
        return getattr(self.dut, f"{self.mode}_{name}")

    def request(self, we: int, address: int, data: int, sel: int) -> None:
        values = {"cyc": 1, "stb": 1, "we": we, "adr": address, "dat_w": data, "sel": sel}
        for name, value in values.items():
            self.pin(name).value = value

    def release(self, cycle: int) -> None:
        self.pin("stb").value = 0
        self.pin("cyc").value = cycle

    async def edge(self) -> bool:
        """Between the next edges: note an answer."""
        await FallingEdge(self.dut.clk)
        ack, err = int(self.pin("ack").value), int(self.pin("err").value)
        assert not (ack and err)
        if ack or err:
            self.answered.append((err, int(self.pin("dat_r").value)))
        return bool(ack or err)

    async def idle(self) -> None:
        while self.rng.random() < self.often:
            TALLY.counts["stalls"] += 1
            assert not await self.edge()

    async def classic(self, requests: list[tuple[int, int, int, int]]) -> None:
        for request in requests:
            self.request(*request)
            for _ in range(500):
                if await self.edge():
                    break
            # The strobe stays through the edge of the answer, and is no new request there.
            assert not await self.edge()
            keep = self.rng.random() < 0.5
            if not keep:
                self.release(int(self.rng.random() < 0.5))
                await self.idle()
        self.release(0)

    async def pipelined(self, requests: list[tuple[int, int, int, int]]) -> None:
        for request in requests:
            self.request(*request)
            while int(self.pin("stall").value):
                TALLY.counts["stalls"] += 1
                await self.edge()
            await self.edge()  # taken by the edge before
            if self.rng.random() < self.often:
                self.release(1)
                await self.edge()
        self.release(1)
        for _ in range(500):
            if len(self.answered) >= len(requests):
                break
            await self.edge()
        self.release(0)

    async def run(self, requests: list[tuple[int, int, int, int]]) -> list[tuple[int, int]]:
        """Do requests (we, word address, data, select); return their answers."""
        self.answered = []
        await getattr(self, self.mode)(requests)
        for _ in range(3):
            await self.edge()
        return self.answered


async def master(dut, mode: str, often: float, seed: int) -> Wishbone:
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    result = Wishbone(dut, mode, often, seed)
    result.release(0)
    await reset((dut.rst, dut.clk))
    await FallingEdge(dut.clk)
    return result


@cocotb.test()
@cocotb.parametrize(mode=["classic", "pipelined"], often=[0.0, 0.6])
async def transfers(dut, mode: str, often: float) -> None:
    """Random reads and writes with strobes, to words that fail, too: each has one answer."""
    host = await master(dut, mode, often, seed=3)
    rng, mirror = host.rng, bytearray(4 * WORDS)
    for _ in range(4 * EFFORT):
        requests, want = [], []
        for _ in range(20):
            we, address = rng.randrange(2), rng.choice([rng.randrange(WORDS), rng.choice([7, 100])])
            data, sel = rng.getrandbits(32), rng.choice([15, rng.randrange(1, 16)])
            requests.append((we, address, data, sel))
            fails = address in BAD
            if we and not fails:
                for k in range(4):
                    if sel >> k & 1:
                        mirror[4 * address + k] = data >> 8 * k & 255
            place = slice(4 * address, 4 * address + 4)
            want.append((int(fails), None if we or fails else mirror[place].hex()))
        got = await host.run(requests)
        assert len(got) == len(want)
        for (error, data), (fails, text), (we, *_) in zip(got, want, requests, strict=True):
            assert error == fails
            assert text is None or data.to_bytes(4, "little").hex() == text
            assert we in (0, 1)
        assert host.memory.mem == mirror
        TALLY.add(cases=len(requests), bytes=4 * len(requests))


@cocotb.test()
@cocotb.parametrize(mode=["classic", "pipelined"])
async def cycles_given_up(dut, mode: str) -> None:
    """A master that ends its cycle gets no answer to it, and the right one to the next request."""
    host = await master(dut, mode, 0.7, seed=4)
    for k in range(WORDS):
        host.memory.mem[4 * k : 4 * k + 4] = (k * 0x01010101).to_bytes(4, "little")
    for _ in range(15 * EFFORT):
        host.request(0, host.rng.randrange(8, 90), 0, 15)
        for _ in range(host.rng.randrange(1, 12)):
            if await host.edge():
                break
        host.release(0)
        for _ in range(host.rng.randrange(1, 4)):
            assert not await host.edge()
        address = host.rng.randrange(8, 90)
        assert await host.run([(0, address, 0, 15)]) == [(0, address * 0x01010101)]
        TALLY.add(cases=1, errors=1, bytes=4)


@cocotb.test()
@cocotb.parametrize(mode=["classic", "pipelined"])
async def resets(dut, mode: str) -> None:
    """A reset inside of a request leaves nothing of it behind."""
    host = await master(dut, mode, 0.6, seed=5)
    for number in range(8 * EFFORT):
        host.request(number & 1, 20, 0xFFFFFFFF, 15)
        for _ in range(host.rng.randrange(1, 9)):
            await host.edge()
        host.release(0)
        await reset((dut.rst, dut.clk), cycles=host.rng.randrange(1, 4))
        await FallingEdge(dut.clk)
        host.memory.mem[:] = bytes(4 * WORDS)
        word = host.rng.getrandbits(32)
        assert [e for e, _ in await host.run([(1, 21, word, 15)])] == [0]
        assert await host.run([(0, 21, 0, 15), (0, 20, 0, 15)]) == [(0, word), (0, 0)]
        TALLY.add(cases=3, resets=1, bytes=12)
