"""Command fetch: whole commands in order, END, and the ways to stop with an error."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.fetch import Fetcher
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec, MemorySpec, PostSpec
from systolith.spec.commands import COMMANDS, Opcode, encode
from systolith.spec.registers import ErrorCode

QUEUED = (Opcode.MATMUL, Opcode.STORE, Opcode.FILL, Opcode.COPY, Opcode.SOFTMAX)
EXTERNAL = (*QUEUED, Opcode.LOAD, Opcode.SAVE)
Pushed = list[tuple[Opcode, list[int]]]


def draw(rng: np.random.Generator, queued: tuple[Opcode, ...] = QUEUED) -> list[int]:
    opcode = queued[int(rng.integers(len(queued)))]
    fields = [f for f in COMMANDS[opcode].fields if f.name not in ("opcode", "words")]
    return encode(opcode, **{f.name: int(rng.integers(f.low, f.high + 1)) for f in fields})


class Bench:
    """A fetcher, what it has pushed, and how its runs ended."""

    def __init__(
        self, depth: int, words: list[int], seed: int = 0, ready: float = 0.5, data_bytes: int = 0
    ) -> None:
        memory, external = MemorySpec(command_words=depth), ExternalSpec(data_bytes=data_bytes)
        post = PostSpec(softmax_tables=1)
        self.fetcher = Fetcher(AcceleratorSpec(memory=memory, external=external, post=post))
        self.queued = EXTERNAL if data_bytes else QUEUED
        self.rng, self.ready = np.random.default_rng(seed), ready
        self.words = words
        self.pushed: Pushed = []
        self.cycles = 0

    async def load(self, ctx: SimulatorContext, words: list[int], base: int = 0) -> None:
        for i, word in enumerate(words):
            ctx.set(self.fetcher.h_valid, 1)
            ctx.set(self.fetcher.h_address, base + i)
            ctx.set(self.fetcher.h_data, word)
            await ctx.tick()
        ctx.set(self.fetcher.h_valid, 0)

    async def run(self, ctx: SimulatorContext, entry: int = 0, busy: int = 0) -> int:
        """Start, run to the end, return the error; the units are busy ``busy`` cycles longer."""
        f = self.fetcher
        ctx.set(f.quiet, 1)
        ctx.set(f.entry, entry)
        ctx.set(f.start, 1)
        await ctx.tick()
        ctx.set(f.start, 0)
        assert ctx.get(f.running)
        left = busy
        for self.cycles in range(20_000):
            ctx.set(f.units_busy, left > 0)
            pushes = {o: ctx.get(getattr(f, f"push_{o.name.lower()}")) for o in self.queued}
            assert sum(pushes.values()) <= 1
            for opcode in self.queued:
                ready = self.rng.random() < self.ready
                ctx.set(getattr(f, f"ready_{opcode.name.lower()}"), int(ready))
                if pushes[opcode] and ready:
                    bits = ctx.get(f.command)
                    words = COMMANDS[opcode].words
                    self.pushed.append(
                        (opcode, [bits >> 32 * i & 0xFFFFFFFF for i in range(words)])
                    )
            if self._over(ctx):
                left -= 1
            finish = ctx.get(f.finish)
            await ctx.tick()
            if finish:
                break
        assert not ctx.get(f.running)
        error = ctx.get(f.error)
        for _ in range(8):  # nothing happens after the end
            assert not ctx.get(f.finish) and not ctx.get(f.running)
            assert not any(ctx.get(getattr(f, f"push_{o.name.lower()}")) for o in self.queued)
            await ctx.tick()
        return error

    def _over(self, ctx: SimulatorContext) -> bool:
        return len(self.pushed) == sum(1 for _ in split(self.words))


def split(words: list[int]) -> Pushed:
    """The queued commands up to END, an unknown opcode or the end."""
    result, position = [], 0
    known = {int(o) for o in EXTERNAL}
    while position < len(words) and words[position] & 15 in known:
        opcode = Opcode(words[position] & 15)
        length = COMMANDS[opcode].words
        if position + length > len(words):
            break
        result.append((opcode, words[position : position + length]))
        position += length
    return result


def check(bench: Bench, run) -> None:
    async def testbench(ctx: SimulatorContext) -> None:
        await bench.load(ctx, bench.words)
        await run(ctx)

    simulate(bench.fetcher, testbench)


@pytest.mark.parametrize("ready", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("busy", [0, 1, 30])
def test_random_programs(ready: float, busy: int) -> None:
    rng = np.random.default_rng(busy)
    words = sum((draw(rng) for _ in range(12)), []) + encode(Opcode.END)
    bench = Bench(512, words, ready=ready)

    async def run(ctx: SimulatorContext) -> None:
        for _ in range(2):
            bench.pushed.clear()
            assert await bench.run(ctx, busy=busy) == ErrorCode.NONE
            assert bench.pushed == split(words)
            assert bench.cycles >= busy
            if ready == 1:
                assert bench.cycles <= len(words) + 3 * 13 + busy

    check(bench, run)


def test_entry() -> None:
    rng = np.random.default_rng(5)
    first, second = draw(rng), draw(rng)
    bench = Bench(256, first + second + encode(Opcode.END))

    async def run(ctx: SimulatorContext) -> None:
        bench.pushed.clear()
        assert await bench.run(ctx, entry=len(first)) == ErrorCode.NONE
        assert bench.pushed == split(second)

    check(bench, run)


@pytest.mark.parametrize("data_bytes", [0, 4])
@pytest.mark.parametrize("opcode", sorted(set(range(16)) - {Opcode.JUMP}))
def test_every_opcode(opcode: int, data_bytes: int) -> None:
    """Opcodes that do not exist stop with an error, after the commands before them."""
    before = encode(Opcode.FILL, length=3)
    bench = Bench(128, before + [opcode | 0xABCD0] + [0] * 40, data_bytes=data_bytes)

    async def run(ctx: SimulatorContext) -> None:
        error = await bench.run(ctx)
        exists = opcode in (Opcode.END, *bench.queued)
        assert error == (ErrorCode.NONE if exists else ErrorCode.OPCODE)
        assert bench.pushed[0] == (Opcode.FILL, before)
        assert len(bench.pushed) == (2 if exists and opcode else 1)
        # The error is gone when the next run starts.
        await bench.load(ctx, encode(Opcode.END))
        assert await bench.run(ctx) == ErrorCode.NONE

    check(bench, run)


@pytest.mark.parametrize("depth", [64, 100, 128])
@pytest.mark.parametrize("missing", [0, 1, 5])
def test_running_off_the_end(depth: int, missing: int) -> None:
    """Without END, or with part of a command behind the last word: an error, and no such push."""
    fill = encode(Opcode.FILL, length=9)
    room = depth % len(fill)
    entry = room if not missing else (room + missing) % len(fill)
    words = (fill * (depth // len(fill) + 1))[: depth - entry]
    bench = Bench(depth, words)

    async def run(ctx: SimulatorContext) -> None:
        await bench.load(ctx, [0] * entry)
        await bench.load(ctx, words, base=entry)
        bench.pushed.clear()
        assert await bench.run(ctx, entry=entry) == ErrorCode.OPCODE
        assert bench.pushed == split(words)

    check(bench, run)


@pytest.mark.parametrize("entry", [100, 127, 128, 65535])
def test_entry_behind_the_end(entry: int) -> None:
    bench = Bench(100, encode(Opcode.END))

    async def run(ctx: SimulatorContext) -> None:
        assert await bench.run(ctx, entry=entry) == ErrorCode.OPCODE
        assert await bench.run(ctx, entry=0) == ErrorCode.NONE

    check(bench, run)


def test_last_word_is_used() -> None:
    depth = 100
    bench = Bench(depth, encode(Opcode.END))

    async def run(ctx: SimulatorContext) -> None:
        fill = encode(Opcode.FILL, length=1)
        await bench.load(ctx, fill + encode(Opcode.END), base=depth - len(fill) - 1)
        assert await bench.run(ctx, entry=depth - len(fill) - 1) == ErrorCode.NONE
        assert bench.pushed == [(Opcode.FILL, fill)]

    check(bench, run)


@pytest.mark.parametrize("given", [0, 1, 30])
def test_jumps(given: int) -> None:
    """A jump over rubbish, one back, and their tokens, which are there after some cycles."""
    rng = np.random.default_rng(given)
    parts = [draw(rng, EXTERNAL) for _ in range(3)]
    wait = int(rng.integers(64))
    last = 200
    words = parts[0] + encode(Opcode.JUMP, address=last, wait=wait)
    middle = len(words) + 7
    bench = Bench(256, words, ready=1.0, data_bytes=8)
    masks = []

    async def tokens(ctx: SimulatorContext) -> None:
        f, waited = bench.fetcher, 0
        while len(masks) < 2:
            ctx.set(f.jump_ready, waited >= given)
            masks.extend([ctx.get(f.wait)] if ctx.get(f.jump) else [])
            waited = 0 if ctx.get(f.jump) else waited + 1
            await ctx.tick()
        ctx.set(f.jump_ready, 0)

    async def run(ctx: SimulatorContext) -> None:
        await bench.load(ctx, [0xFFFF] * 256)
        await bench.load(ctx, words)
        await bench.load(ctx, parts[1] + encode(Opcode.END), base=middle)
        await bench.load(ctx, parts[2] + encode(Opcode.JUMP, address=middle), base=last)
        assert await bench.run(ctx) == ErrorCode.NONE
        assert [w for _, w in bench.pushed] == [parts[0], parts[2], parts[1]]
        assert masks == [wait, 0]

    simulate(bench.fetcher, run, tokens)


@pytest.mark.parametrize("at", [1, 9, 40])
def test_errors_of_transfers(at: int) -> None:
    """A run that fails ends when the bus is quiet, one that takes too long at once."""
    fetcher = Bench(128, encode(Opcode.FILL) + encode(Opcode.END)).fetcher

    async def start(ctx: SimulatorContext) -> None:
        ctx.set(fetcher.start, 1)
        await ctx.tick()
        ctx.set(fetcher.start, 0)
        await ctx.tick().repeat(at)
        assert ctx.get(fetcher.running) and not ctx.get(fetcher.stopping)

    async def run(ctx: SimulatorContext) -> None:
        for opcode in QUEUED:
            ctx.set(getattr(fetcher, f"ready_{opcode.name.lower()}"), 1)
        for address, word in enumerate(encode(Opcode.FILL) + encode(Opcode.END)):
            ctx.set(fetcher.h_valid, 1)
            ctx.set(fetcher.h_address, address)
            ctx.set(fetcher.h_data, word)
            await ctx.tick()
        ctx.set(fetcher.h_valid, 0)
        ctx.set(fetcher.units_busy, 1)
        for quiet_after in (0, 5):
            await start(ctx)
            ctx.set(fetcher.quiet, 0)
            ctx.set(fetcher.failure, ErrorCode.WRITE)
            await ctx.tick()
            ctx.set(fetcher.failure, 0)
            for _ in range(quiet_after):
                assert ctx.get(fetcher.stopping) and not ctx.get(fetcher.finish)
                await ctx.tick()
            ctx.set(fetcher.quiet, 1)
            assert ctx.get(fetcher.finish)
            await ctx.tick()
            assert not ctx.get(fetcher.running) and ctx.get(fetcher.error) == ErrorCode.WRITE
        await start(ctx)
        ctx.set(fetcher.quiet, 0)
        ctx.set(fetcher.timeout, 1)
        assert ctx.get(fetcher.finish)
        await ctx.tick()
        assert not ctx.get(fetcher.running) and ctx.get(fetcher.error) == ErrorCode.TIMEOUT

    simulate(fetcher, run)


def test_start_while_running_is_ignored() -> None:
    words = encode(Opcode.FILL, length=1) + encode(Opcode.END)
    bench = Bench(64, words, ready=1.0)

    async def run(ctx: SimulatorContext) -> None:
        f = bench.fetcher
        ctx.set(f.ready_fill, 1)
        ctx.set(f.start, 1)  # all the time, until it runs off into a second run
        pushes = 0
        await ctx.tick()
        while ctx.get(f.running):
            pushes += ctx.get(f.push_fill)
            await ctx.tick()
        assert pushes == 1

    check(bench, run)


def test_softmax_without_its_unit() -> None:
    bench = Bench(64, encode(Opcode.SOFTMAX) + encode(Opcode.END))
    bench.fetcher = Fetcher(AcceleratorSpec(memory=MemorySpec(command_words=64)))
    errors: list[int] = []

    async def run(ctx: SimulatorContext) -> None:
        await bench.load(ctx, bench.words)
        ctx.set(bench.fetcher.quiet, 1)
        ctx.set(bench.fetcher.start, 1)
        await ctx.tick().until(bench.fetcher.finish)
        ctx.set(bench.fetcher.start, 0)
        await ctx.tick()
        errors.append(ctx.get(bench.fetcher.error))

    simulate(bench.fetcher, run)
    assert errors == [ErrorCode.OPCODE]
