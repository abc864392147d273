"""The move unit against nested loops: reads, writes, back-pressure, tokens, end of command."""

import itertools

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.move import MoveUnit
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec
from systolith.spec.commands import COPY_LOOPS, FILL_LOOPS, Opcode, encode

Command = tuple[Opcode, dict[str, int]]
LOOPS = {Opcode.FILL: FILL_LOOPS, Opcode.COPY: COPY_LOOPS}
SPACE = 1 << 16
READ_FROM = 1 << 15  # copies read the upper half and write the lower


def spec_of(rows: int, queue_depth: int = 2) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=4), post=PostSpec(lanes=4), queue_depth=queue_depth
    )


def draw(rng: np.random.Generator, line: int) -> Command:
    opcode = (Opcode.FILL, Opcode.COPY)[int(rng.integers(2))]
    lengths = [1, line - 1, line, line + 1, 3 * line, int(rng.integers(1, 60))]
    command = {f"{d}_count": int(rng.integers(1, 4)) for d in LOOPS[opcode]}
    streams = "sd" if opcode is Opcode.COPY else "d"
    for stream, d in itertools.product(streams, LOOPS[opcode]):
        command[f"{stream}_{d}_stride"] = int(rng.integers(-100, 100))
    command |= {
        "d_base": int(rng.integers(2000, 30000)),
        "length": max(1, int(rng.choice(lengths))),
        "wait": int(rng.integers(8)),
        "signal": int(rng.integers(8)),
    }
    if opcode is Opcode.FILL:
        return opcode, command | {"value": int(rng.integers(256))}
    return opcode, command | {"s_base": READ_FROM + int(rng.integers(2000, 30000))}


def starts(command: Command, stream: str) -> list[int]:
    """Addresses of the runs, in order."""
    opcode, fields = command
    indices = itertools.product(*(range(fields.get(f"{d}_count", 1)) for d in LOOPS[opcode]))
    strides = [fields.get(f"{stream}_{d}_stride", 0) for d in LOOPS[opcode]]
    return [
        fields[f"{stream}_base"] + sum(i * s for i, s in zip(index, strides, strict=True))
        for index in indices
    ]


def writes(command: Command, image: np.ndarray) -> list[tuple[int, int]]:
    """Address and value of every byte that the command writes, in order."""
    opcode, fields = command
    length = fields["length"]
    if opcode is Opcode.FILL:
        return [(a + i, fields["value"]) for a in starts(command, "d") for i in range(length)]
    pairs = zip(starts(command, "s"), starts(command, "d"), strict=True)
    return [(d + i, int(image[s + i])) for s, d in pairs for i in range(length)]


def bits(command: Command) -> int:
    return sum(word << 32 * i for i, word in enumerate(encode(command[0], **command[1])))


class Bench:
    """A move unit, the bytes it reads, and what it does cycle by cycle.

    Parameters
    ----------
    reads, writable, tokens: how often reads and writes are granted, and tokens there.
    """

    def __init__(
        self, spec: AcceleratorSpec, commands: list[Command], *, seed: int = 0,
        reads: float = 1, writable: float = 1, tokens: float = 1,
    ) -> None:  # fmt: skip
        self.unit, self.line, self.commands = MoveUnit(spec), spec.line_bytes, commands
        self.rates = reads, writable, tokens
        self.rng = np.random.default_rng(seed)
        self.image = self.rng.integers(0, 256, SPACE, np.uint8)
        self.written: list[tuple[int, int]] = []
        self.started: list[int] = []  # cycles
        self.finished: list[int] = []
        self.ends: list[int] = []  # bytes written when each command finished
        self.granted: list[int] = []  # cycles
        self.last = 0
        self._due: list[int | None] = [None] * ActivationMemory.read_latency

    def run(self) -> None:
        simulate(self.unit, self._push, self._watch)
        want = [w for command in self.commands for w in writes(command, self.image)]
        assert self.written == want
        sizes = [len(writes(command, self.image)) for command in self.commands]
        assert self.ends == np.cumsum(sizes).tolist()

    async def _push(self, ctx: SimulatorContext) -> None:
        for command in self.commands:
            ctx.set(self.unit.i, bits(command))
            ctx.set(self.unit.push, 1)
            await ctx.tick().until(self.unit.push_ready)
            ctx.set(self.unit.push, 0)

    async def _watch(self, ctx: SimulatorContext) -> None:
        cycle = 0
        while len(self.ends) < len(self.commands):
            unit = self.unit
            ports = (unit.c_ready, unit.f_ready, unit.start_ready)
            for port, rate in zip(ports, self.rates, strict=True):
                ctx.set(port, int(self.rng.random() < rate))
            self._start(ctx, cycle)
            self._read(ctx)
            self._write(ctx, cycle)
            if ctx.get(unit.finish):
                assert cycle == self.last + ActivationMemory.write_latency
                assert ctx.get(unit.signal) == self.commands[len(self.ends)][1].get("signal", 0)
                assert ctx.get(unit.busy)
                self.ends.append(len(self.written))
                self.finished.append(cycle)
            cycle += 1
            assert cycle < 40_000
            await ctx.tick()
        assert not ctx.get(self.unit.busy)

    def _start(self, ctx: SimulatorContext, cycle: int) -> None:
        if ctx.get(self.unit.start):
            assert ctx.get(self.unit.start_ready)
            assert ctx.get(self.unit.wait) == self.commands[len(self.ends)][1].get("wait", 0)
            self.started.append(cycle)

    def _read(self, ctx: SimulatorContext) -> None:
        """Data comes `read_latency` cycles after the grant, and is gone in the next cycle."""
        unit, arrived = self.unit, self._due.pop(0)
        junk = self.rng.integers(0, 256, self.line, np.uint8)
        data = junk if arrived is None else self.image[arrived : arrived + self.line]
        ctx.set(unit.c_data, int.from_bytes(data.tobytes(), "little"))
        granted = ctx.get(unit.c_valid) and ctx.get(unit.c_ready)
        self._due.append(ctx.get(unit.c_address) if granted else None)

    def _write(self, ctx: SimulatorContext, cycle: int) -> None:
        unit = self.unit
        if ctx.get(unit.f_valid) and ctx.get(unit.f_ready):
            assert len(self.started) == len(self.ends) + 1
            count, address = ctx.get(unit.f_count), ctx.get(unit.f_address)
            assert 1 <= count <= self.line
            data = ctx.get(unit.f_data).to_bytes(self.line, "little")[:count]
            self.written.extend((address + i, value) for i, value in enumerate(data))
            self.last = cycle
            self.granted.append(cycle)


@pytest.mark.parametrize("rows", [1, 5, 16])
@pytest.mark.parametrize("queue_depth", [1, 2])
@pytest.mark.parametrize(
    ("reads", "writable"), [(1, 1), (1, 0.5), (0.5, 1), (0.3, 0.4), (0.9, 0.1)]
)
def test_runs(rows: int, queue_depth: int, reads: float, writable: float) -> None:
    rng = np.random.default_rng(rows + 100 * queue_depth)
    spec = spec_of(rows, queue_depth)
    commands = [draw(rng, spec.line_bytes) for _ in range(8)]
    assert {opcode for opcode, _ in commands} == {Opcode.FILL, Opcode.COPY}
    Bench(
        spec, commands, seed=rows, reads=reads, writable=writable, tokens=0.25
    ).run()  # a token is there now and then; nothing starts without


@pytest.mark.parametrize(("opcode", "first"), [(Opcode.FILL, 1), (Opcode.COPY, 4)])
@pytest.mark.parametrize("rows", [4, 8])
def test_a_line_a_cycle(opcode: Opcode, first: int, rows: int) -> None:
    """Long runs take one cycle a line, and runs follow each other without a pause."""
    spec = spec_of(rows)
    fields = {"d_base": 3, "length": 4 * spec.line_bytes + 1, "d0_count": 3, "d_d0_stride": 999}
    if opcode is Opcode.COPY:
        fields |= {"s_base": READ_FROM + 5, "s_d0_stride": 77}
    else:
        fields["value"] = 200
    bench = Bench(spec, [(opcode, fields)] * 2)
    bench.run()
    for k, start in enumerate(bench.started):
        assert bench.granted[15 * k : 15 * k + 15] == list(range(start + first, start + first + 15))
        assert bench.finished[k] == start + first + 14 + ActivationMemory.write_latency


def test_windows_of_an_image() -> None:
    """The 10 x 4 windows, 2 apart, of a 49 x 10 image with its halo: a kernel row a cycle."""
    height, width, rows, taps = 25, 5, 10, 4
    command = Opcode.COPY, {
        "s_base": READ_FROM, "d_base": 0, "length": taps,
        "d2_count": height, "s_d2_stride": 2 * 12, "d_d2_stride": width * rows * taps,
        "d1_count": width, "s_d1_stride": 2, "d_d1_stride": rows * taps,
        "d0_count": rows, "s_d0_stride": 12, "d_d0_stride": taps,
    }  # fmt: skip
    bench = Bench(spec_of(16), [command])
    bench.run()
    assert len(bench.written) == height * width * rows * taps
    assert bench.finished[0] - bench.started[0] == height * width * rows + 5
