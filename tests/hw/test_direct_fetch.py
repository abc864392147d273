"""Command fetch without queues: whole commands in their units' registers, jumps, errors."""

from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.direct_fetch import DirectFetcher
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec, MemorySpec, PostSpec
from systolith.spec.commands import COMMANDS, Opcode, Unit, encode
from systolith.spec.registers import ErrorCode

Pushed = list[tuple[Opcode, list[int]]]
Run = Callable[[SimulatorContext], Awaitable[None]]


def draw(rng: np.random.Generator, opcode: Opcode) -> list[int]:
    fields = [f for f in COMMANDS[opcode].fields if f.name not in ("opcode", "words")]
    return encode(opcode, **{f.name: int(rng.integers(f.low, f.high + 1)) for f in fields})


class Bench:
    """A fetcher and its units, each of which works for some cycles, on a command that stays."""

    def __init__(self, depth: int, *, data_bytes: int = 4, moves: bool = True, longest: int = 40):
        spec = AcceleratorSpec(
            memory=MemorySpec(command_words=depth),
            external=ExternalSpec(data_bytes=data_bytes),
            post=PostSpec(softmax_tables=int(moves)),
            queue_depth=0,
            moves=moves,
        )
        self.fetcher = DirectFetcher(spec)
        self.rng, self.longest = np.random.default_rng(depth), longest
        self.pushed: Pushed = []
        self.times: list[int] = []
        self.freed: list[int] = []
        self.cycles = 0

    async def load(self, ctx: SimulatorContext, words: list[int], base: int = 0) -> None:
        for i, word in enumerate(words):
            ctx.set(self.fetcher.h_valid, 1)
            ctx.set(self.fetcher.h_address, base + i)
            ctx.set(self.fetcher.h_data, word)
            await ctx.tick()
        ctx.set(self.fetcher.h_valid, 0)

    async def run(self, ctx: SimulatorContext, entry: int = 0) -> int:
        """Start, run to the end, return the error; cycles count from the first behind `start`."""
        f = self.fetcher
        for name, value in (("quiet", 1), ("entry", entry), ("start", 1)):
            ctx.set(getattr(f, name), value)
        await ctx.tick()
        ctx.set(f.start, 0)
        left: dict[Unit, int] = {}
        held: dict[Unit, int] = {}
        for self.cycles in range(20_000):
            ctx.set(f.units_busy, int(bool(left)))
            for opcode in f.queued:
                unit = COMMANDS[opcode].unit
                assert unit is not None
                ctx.set(getattr(f, f"ready_{opcode.name.lower()}"), int(unit not in left))
            ctx.set(f.jump_ready, int(self.rng.random() < 0.3))
            for unit, bits in held.items():
                assert ctx.get(f.command_of(unit)) == bits, "a running command has changed"
            left = {unit: n - 1 for unit, n in left.items() if n > 1}
            gone = [unit for unit in held if unit not in left]
            for unit in gone:
                del held[unit]
                self.freed.append(self.cycles)
            for opcode in f.queued:
                if ctx.get(getattr(f, f"push_{opcode.name.lower()}")):
                    unit = COMMANDS[opcode].unit
                    assert unit is not None and unit not in left
                    held[unit] = bits = ctx.get(f.command_of(unit))
                    left[unit] = int(self.rng.integers(1, self.longest + 1))
                    words = [bits >> 32 * i & 0xFFFFFFFF for i in range(COMMANDS[opcode].words)]
                    self.pushed.append((opcode, words))
                    self.times.append(self.cycles)
            finish = ctx.get(f.finish)
            await ctx.tick()
            if finish:
                break
        assert not ctx.get(f.running)
        return int(ctx.get(f.error))


def check(bench: Bench, run: Run) -> None:
    simulate(bench.fetcher, run)


@pytest.mark.parametrize(("data_bytes", "moves"), [(4, True), (0, True), (0, False)])
@pytest.mark.parametrize("longest", [1, 40])
def test_random_programs(data_bytes: int, moves: bool, longest: int) -> None:
    rng = np.random.default_rng(longest)
    bench = Bench(512, data_bytes=data_bytes, moves=moves, longest=longest)
    assert moves == (Opcode.FILL in bench.fetcher.queued)
    opcodes = [Opcode(int(o)) for o in rng.choice([int(o) for o in bench.fetcher.queued], 14)]
    commands = [(opcode, draw(rng, opcode)) for opcode in opcodes]

    async def run(ctx: SimulatorContext) -> None:
        await bench.load(ctx, sum((words for _, words in commands), []) + encode(Opcode.END))
        for _ in range(2):
            bench.pushed.clear()
            bench.times.clear()
            assert await bench.run(ctx) == ErrorCode.NONE
            assert bench.pushed == commands
            # A command follows the one before, if its unit is free, after its words and 2 cycles.
            lengths = [len(words) for _, words in commands]
            assert bench.times[0] == lengths[0] + 3
            gaps = np.diff(bench.times) - lengths[1:]
            assert gaps.min() == 2 and (longest == 40 or gaps.max() <= 3)

    check(bench, run)


def test_jumps() -> None:
    """Over words that are no commands, backwards and forwards."""
    rng = np.random.default_rng(3)
    bench = Bench(200)
    first, second = draw(rng, Opcode.STORE), draw(rng, Opcode.COPY)
    places = {60: first + encode(Opcode.JUMP, address=150), 150: second + encode(Opcode.END)}
    places[0] = encode(Opcode.JUMP, address=60)

    async def run(ctx: SimulatorContext) -> None:
        for place, words in places.items():
            await bench.load(ctx, words, base=place)
        assert await bench.run(ctx) == ErrorCode.NONE
        assert bench.pushed == [(Opcode.STORE, first), (Opcode.COPY, second)]

    check(bench, run)


@pytest.mark.parametrize("opcode", sorted(set(range(16)) - {Opcode.JUMP, Opcode.END}))
def test_every_opcode(opcode: int) -> None:
    """Opcodes that do not exist stop with an error, after the commands before them."""
    before = encode(Opcode.FILL, length=3)
    bench = Bench(128, data_bytes=0)

    async def run(ctx: SimulatorContext) -> None:
        await bench.load(ctx, before + [opcode | 0xABCD0] + [0] * 40)
        exists = opcode in bench.fetcher.queued
        assert await bench.run(ctx) == (ErrorCode.NONE if exists else ErrorCode.OPCODE)
        assert bench.pushed[0] == (Opcode.FILL, before)
        assert len(bench.pushed) == (2 if exists else 1)
        await bench.load(ctx, encode(Opcode.END))
        assert await bench.run(ctx) == ErrorCode.NONE

    check(bench, run)


@pytest.mark.parametrize("depth", [64, 100, 128])
@pytest.mark.parametrize("missing", [0, 1, 5])
def test_running_off_the_end(depth: int, missing: int) -> None:
    """Without END, or with part of a command behind the last word: an error, and no such push."""
    fill = encode(Opcode.FILL, length=9)
    count = depth // len(fill) - 1
    entry = depth - count * len(fill) - (len(fill) - missing) % len(fill)
    bench = Bench(depth, longest=3)

    async def run(ctx: SimulatorContext) -> None:
        await bench.load(ctx, (fill * (count + 1))[: depth - entry], base=entry)
        assert await bench.run(ctx, entry=entry) == ErrorCode.OPCODE
        assert bench.pushed == [(Opcode.FILL, fill)] * count

    check(bench, run)


@pytest.mark.parametrize("entry", [100, 127, 128, 65535])
def test_entry_behind_the_end(entry: int) -> None:
    bench = Bench(100)

    async def run(ctx: SimulatorContext) -> None:
        await bench.load(ctx, encode(Opcode.END))
        assert await bench.run(ctx, entry=entry) == ErrorCode.OPCODE
        assert await bench.run(ctx, entry=0) == ErrorCode.NONE

    check(bench, run)


def test_timeout() -> None:
    """A run that waits for a unit ends at once."""
    rng = np.random.default_rng(5)
    bench = Bench(128, longest=10_000)
    bench.rng = np.random.default_rng(8)

    async def run(ctx: SimulatorContext) -> None:
        words = draw(rng, Opcode.STORE)
        await bench.load(ctx, words * 2 + encode(Opcode.END))
        f = bench.fetcher
        for name in ("start", "quiet", "ready_store"):
            ctx.set(getattr(f, name), 1)
        await ctx.tick()
        ctx.set(f.start, 0)
        for _ in range(100):
            if ctx.get(f.push_store):
                ctx.set(f.ready_store, 0)
            await ctx.tick()
        assert ctx.get(f.running)
        ctx.set(f.timeout, 1)
        assert ctx.get(f.finish)
        await ctx.tick()
        assert not ctx.get(f.running) and ctx.get(f.error) == ErrorCode.TIMEOUT

    check(bench, run)
