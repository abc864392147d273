"""The Wishbone master behind cocotbext's AXI4 master; its slave waits, fails and retries."""

import random

import cocotb
from bus_bench import EFFORT, TALLY, reset, slow
from cocotb.clock import Clock
from cocotb.triggers import Combine, FallingEdge
from cocotbext.axi import AxiBus, AxiMaster, AxiResp

SIZE = 1 << 14
SINGLE, BURST, END = 0b000, 0b010, 0b111


class Memory:
    """A slave that checks the bus's rules, and answers between the clock's edges."""

    def __init__(self, dut, often: float, seed: int, prefix: str = "wbm") -> None:
        self.dut, self.often, self.rng = dut, often, random.Random(seed)
        self.prefix = prefix
        self.data = bytearray(SIZE)
        self.bad: set[int] = set()
        self.retries, self.beats, self.bursts = 0, 0, 0
        self.must_end = False
        cocotb.start_soon(self.run())

    def pin(self, name: str):
        return getattr(self.dut, f"{self.prefix}_{name}")

    def clear(self) -> None:
        for name in ("ack", "err", "rty"):
            self.pin(name).value = 0

    async def run(self) -> None:
        self.clear()
        waiting = expected = None
        while True:
            await FallingEdge(self.dut.clk)
            self.clear()
            cyc, stb = int(self.pin("cyc").value), int(self.pin("stb").value)
            if int(self.dut.rst.value):
                waiting = expected = None
                self.must_end = False
                continue
            if self.must_end:
                assert not cyc, "a cycle must end behind err and rty, and behind its last beat"
                self.must_end = False
            if not cyc:
                assert waiting is None, "a request must wait for its answer"
                assert expected is None or self.ended, "a burst must not be cut short"
                expected = None
            if not (cyc and stb):
                assert waiting is None, "the strobe must stay until the answer"
                continue
            names = (
                "adr",
                "we",
                "sel",
                "cti",
                "bte",
                *(("dat_w",) if int(self.pin("we").value) else ()),
            )
            request = tuple(int(self.pin(name).value) for name in names)
            assert waiting in (None, request), "a request must not change"
            waiting = request
            address, we, _, cti, bte = request[:5]
            assert expected in (None, (address, we)) and bte == 0 and cti in (SINGLE, BURST, END)
            assert expected is None or cti != SINGLE
            assert expected is not None or cti != END
            if self.rng.random() < self.often:
                TALLY.counts["stalls"] += 1
                continue
            waiting = None
            expected = self.answer(request, cti)

    def answer(self, request: tuple[int, ...], cti: int) -> tuple[int, int] | None:
        """Give one of the three answers; return the burst's next address."""
        address, we, sel = request[:3]
        self.ended = True
        if self.rng.random() < 0.3 * self.often:
            self.pin("rty").value = 1
            self.retries += 1
            self.must_end = True
            TALLY.counts["errors"] += 1
            return None
        self.beats += 1
        place = 4 * address % SIZE
        if address in self.bad:
            self.pin("err").value = 1
            self.must_end = True
            TALLY.counts["errors"] += 1
            return None
        self.pin("ack").value = 1
        if we:
            for k in range(4):
                if sel >> k & 1:
                    self.data[place + k] = request[5] >> 8 * k & 255
        else:
            self.pin("dat_r").value = int.from_bytes(self.data[place : place + 4], "little")
        self.ended = cti != BURST
        self.bursts += cti == END
        self.must_end = cti != BURST
        return (address + 1, we) if cti == BURST else None


async def machine(dut, often: float, seed: int) -> tuple[AxiMaster, Memory]:
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    memory = Memory(dut, often, seed)
    master = AxiMaster(AxiBus.from_prefix(dut, "wbm_axi"), dut.clk, dut.rst)
    slow(master, often, seed)
    await reset((dut.rst, dut.clk))
    return master, memory


@cocotb.test()
@cocotb.parametrize(often=[0.0, 0.3, 0.7])
async def bursts(dut, often: float) -> None:
    """Reads and writes of any address and length at once, each in its quarter of the memory."""
    master, memory = await machine(dut, often, seed=int(10 * often))
    rng, mirror = random.Random(7), bytearray(SIZE)

    async def worker(quarter: int) -> None:
        base = quarter * SIZE // 4
        for _ in range(6 * EFFORT):
            length = rng.choice([1, 4, 7, 64, rng.randrange(1, 400)])
            address = base + rng.randrange(SIZE // 4 - length)
            data = rng.randbytes(length)
            answer = await master.write(address, data, awid=0)
            assert answer.resp == AxiResp.OKAY
            mirror[address : address + length] = data
            begin = max(base, address - 9)
            answer = await master.read(begin, length, arid=0)
            assert answer.resp == AxiResp.OKAY
            assert answer.data == mirror[begin : begin + length]
            TALLY.add(cases=2, bytes=2 * length)

    await Combine(*(cocotb.start_soon(worker(k)) for k in range(4)))
    assert memory.data == mirror
    assert memory.bursts and (not often or memory.retries)


@cocotb.test()
async def errors(dut) -> None:
    """A beat that fails makes its burst fail, and no other."""
    master, memory = await machine(dut, 0.3, seed=9)
    rng = random.Random(9)
    memory.data[:] = rng.randbytes(SIZE)
    for _ in range(12 * EFFORT):
        address, length = 4 * rng.randrange(900), 4 * rng.randrange(1, 30)
        words = range(address // 4, (address + length) // 4)
        memory.bad = {rng.choice(words) + rng.choice([0, 0, 1000])}
        hit = bool(memory.bad & set(words))
        answer = await master.read(address, length, arid=0)
        assert answer.resp == (AxiResp.SLVERR if hit else AxiResp.OKAY)
        for word in set(words) - memory.bad:
            place = slice(4 * word - address, 4 * word - address + 4)
            assert answer.data[place] == memory.data[4 * word : 4 * word + 4]
        before, data = bytes(memory.data), rng.randbytes(length)
        answer = await master.write(address, data, awid=0)
        assert answer.resp == (AxiResp.SLVERR if hit else AxiResp.OKAY)
        after = bytearray(before)
        after[address : address + length] = data
        for word in memory.bad & set(words):
            after[4 * word : 4 * word + 4] = before[4 * word : 4 * word + 4]
        assert memory.data == after
        TALLY.add(cases=2, bytes=2 * length)


@cocotb.test()
async def resets(dut) -> None:
    """A reset inside of bursts leaves nothing of them behind."""
    master, memory = await machine(dut, 0.4, seed=11)
    rng = random.Random(11)
    for _ in range(6 * EFFORT):
        tasks = [
            cocotb.start_soon(master.write(0, bytes(300), awid=0)),
            cocotb.start_soon(master.read(0, 300, arid=0)),
        ]
        for _ in range(rng.randrange(5, 200)):
            await FallingEdge(dut.clk)
        await reset((dut.rst, dut.clk), cycles=2)
        for task in tasks:
            task.cancel()
        data = rng.randbytes(100)
        assert (await master.write(1024, data, awid=0)).resp == AxiResp.OKAY
        assert (await master.read(1024, 100, arid=0)).data == data
        TALLY.add(cases=2, resets=1, bytes=200)
