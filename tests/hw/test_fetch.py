"""Command fetch: whole commands in order, END, and the ways to stop with an error."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.fetch import Fetcher
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, MemorySpec, PostSpec
from systolith.spec.commands import COMMANDS, Opcode, encode
from systolith.spec.registers import ErrorCode

QUEUED = (Opcode.MATMUL, Opcode.STORE, Opcode.FILL, Opcode.COPY, Opcode.SOFTMAX)
Pushed = list[tuple[Opcode, list[int]]]


def draw(rng: np.random.Generator) -> list[int]:
    opcode = QUEUED[int(rng.integers(len(QUEUED)))]
    fields = [f for f in COMMANDS[opcode].fields if f.name not in ("opcode", "words")]
    return encode(opcode, **{f.name: int(rng.integers(f.low, f.high + 1)) for f in fields})


class Bench:
    """A fetcher, what it has pushed, and how its runs ended."""

    def __init__(self, depth: int, words: list[int], seed: int = 0, ready: float = 0.5) -> None:
        memory, post = MemorySpec(command_words=depth), PostSpec(softmax_tables=1)
        self.fetcher = Fetcher(AcceleratorSpec(memory=memory, post=post))
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
        ctx.set(f.entry, entry)
        ctx.set(f.start, 1)
        await ctx.tick()
        ctx.set(f.start, 0)
        assert ctx.get(f.running)
        left = busy
        for self.cycles in range(20_000):
            ctx.set(f.units_busy, left > 0)
            pushes = {o: ctx.get(getattr(f, f"push_{o.name.lower()}")) for o in QUEUED}
            assert sum(pushes.values()) <= 1
            for opcode in QUEUED:
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
            assert not any(ctx.get(getattr(f, f"push_{o.name.lower()}")) for o in QUEUED)
            await ctx.tick()
        return error

    def _over(self, ctx: SimulatorContext) -> bool:
        return len(self.pushed) == sum(1 for _ in split(self.words))


def split(words: list[int]) -> Pushed:
    """The queued commands up to END, an unknown opcode or the end."""
    result, position = [], 0
    known = {int(o) for o in QUEUED}
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


@pytest.mark.parametrize("opcode", range(16))
def test_every_opcode(opcode: int) -> None:
    """Opcodes that do not exist stop with an error, after the commands before them."""
    before = encode(Opcode.FILL, length=3)
    bench = Bench(128, before + [opcode | 0xABCD0] + [0] * 40)

    async def run(ctx: SimulatorContext) -> None:
        error = await bench.run(ctx)
        exists = opcode in {int(o) for o in Opcode}
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
