"""LOAD and SAVE with the master and a memory: every target, any alignment, against golden."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.golden.memory import Chip
from systolith.golden.transfer import External, load, save
from systolith.hw.external import ExternalMemory
from systolith.sim.axi_monitor import AxiMonitor
from systolith.sim.external import AxiMemory, MemoryTiming
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, ParameterForm, Target, decode_one, encode
from systolith.spec.program import Program
from systolith.spec.registers import (
    ErrorCode,
    Window,
    lane_word_bytes,
    parameter_part_bytes,
    window_stride,
)

SIZE = 1 << 13
WORDS = ("target", "form")
Fields = dict[str, int]


def spec_of(data_bytes: int, beats: int, outstanding: int, columns: int = 6) -> AcceleratorSpec:
    lanes = next(n for n in (8, 3, 2) if columns % n == 0)
    return AcceleratorSpec(
        array=ArraySpec(rows=data_bytes, columns=columns),
        memory=MemorySpec(
            activation_regions=1, activation_bytes=4096, weight_bytes=columns * 64,
            parameter_channels=lanes * 40, command_words=256, tables=3,
        ),
        post=PostSpec(lanes=lanes, softmax_tables=1),
        external=ExternalSpec(data_bytes=data_bytes, burst_beats=beats, outstanding=outstanding),
    )  # fmt: skip


@dataclass
class Machine:
    """The component under test, a memory at its bus, and arrays as the memories on chip."""

    spec: AcceleratorSpec
    timing: MemoryTiming = field(default_factory=MemoryTiming)
    granted: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        spec, rng = self.spec, np.random.default_rng(self.seed)
        self.rng, self.dut = rng, ExternalMemory(spec)
        external = spec.external
        self.image = rng.integers(0, 256, SIZE).astype(np.uint8)
        self.program = Program(
            spec=spec, commands=np.zeros(0, np.uint32),
            weights=np.zeros((0, spec.array.columns), np.uint8),
            parameters=np.zeros((0, spec.post.lanes, 8), np.uint32),
            tables=np.zeros((0, 256), np.uint8), buffers={}, inputs=(), outputs=(), layers=(),
            external=self.image.copy(), external_bytes=SIZE,
        )  # fmt: skip
        self.golden, self.outside = Chip(self.program), External(self.image, SIZE)
        self.chip = Chip(self.program)
        self.golden.activations.bytes[:] = rng.integers(0, 256, len(self.chip.activations.bytes))
        self.chip.activations.bytes[:] = self.golden.activations.bytes
        self.memory = AxiMemory(self.image, external.data_bytes, self.timing)
        self.monitor = AxiMonitor(external.data_bytes, external.burst_beats, external.outstanding)
        self.finished: list[tuple[Opcode, int]] = []
        self.cycle = 0
        self._reads: list[int] = [0, 0, 0]

    def expect(self, opcode: Opcode, fields: Fields) -> None:
        """Run a command in golden."""
        command = decode_one(encode(opcode, **fields), 0)
        run = load if opcode is Opcode.LOAD else save
        run(self.golden, self.outside, command)

    def compare(self) -> None:
        """All memories are as golden's."""
        for name in ("weights", "parameters", "tables", "commands", "exponents"):
            want, got = getattr(self.golden, name), getattr(self.chip, name)
            np.testing.assert_array_equal(got, want, err_msg=name)
        np.testing.assert_array_equal(self.chip.activations.bytes, self.golden.activations.bytes)
        np.testing.assert_array_equal(self.image, self.outside.bytes)

    async def run(
        self, ctx: SimulatorContext, commands: list[tuple[Opcode, Fields]], until: Callable
    ) -> None:
        """Push commands, each to its unit, and serve all ports until a condition holds."""
        dut, left = self.dut, list(commands)
        ctx.set(dut.running, 1)
        ctx.set(dut.base, self.timing.base)
        units = {Opcode.LOAD: dut.load, Opcode.SAVE: dut.save}
        for _ in range(30_000):
            for opcode, unit in units.items():
                ctx.set(unit.start_ready, 1)
                here = bool(left) and left[0][0] is opcode
                ctx.set(unit.push, here)
                if here:
                    words = encode(opcode, **left[0][1])
                    ctx.set(unit.i, sum(w << 32 * i for i, w in enumerate(words)))
            taken = bool(left) and ctx.get(units[left[0][0]].push_ready)
            self._ports(ctx)
            self.memory.step(ctx, dut.bus)
            self.monitor.step(ctx, dut.bus)
            for opcode, unit in units.items():
                if ctx.get(unit.finish):
                    self.finished.append((opcode, self.cycle))
            self._writes(ctx)
            self.cycle += 1
            await ctx.tick()
            left = left[taken:]
            if not left and until():
                return
        raise AssertionError("transfers must end")

    def _ports(self, ctx: SimulatorContext) -> None:
        """Grants, and the data of the read that was granted three cycles ago."""
        dut, size = self.dut, self.spec.external.data_bytes
        ctx.set(dut.load.l_ready, self.rng.random() < self.granted)
        ctx.set(dut.save.s_ready, self.rng.random() < self.granted)
        address = self._reads.pop(0)
        run = self.chip.activations.bytes[address : address + size].tobytes()
        ctx.set(dut.save.s_data, int.from_bytes(run, "little"))
        granted = ctx.get(dut.save.s_valid) and ctx.get(dut.save.s_ready)
        self._reads.append(ctx.get(dut.save.s_address) if granted else 0)

    def _writes(self, ctx: SimulatorContext) -> None:
        """What LOAD writes in this cycle."""
        u, chip = self.dut.load, self.chip
        size = self.spec.external.data_bytes
        if ctx.get(u.l_valid) and ctx.get(u.l_ready):
            count, address = ctx.get(u.l_count), ctx.get(u.l_address)
            data = ctx.get(u.l_data).to_bytes(size, "little")[:count]
            chip.activations.bytes[address : address + count] = list(data)
        if ctx.get(u.w_valid):
            part = len(u.w_data) // 8
            word = np.zeros(window_stride(self.spec, Window.WEIGHTS), np.uint8)
            word[: chip.weights.shape[1]] = chip.weights[ctx.get(u.w_address)]
            start = ctx.get(u.w_part) * part
            word[start : start + part] = list(ctx.get(u.w_data).to_bytes(part, "little"))
            chip.weights[ctx.get(u.w_address)] = word[: chip.weights.shape[1]]
        if ctx.get(u.p_valid):
            word = chip.parameters[ctx.get(u.p_address)]
            biases, data = self.spec.bias_lanes, ctx.get(u.p_data)
            for lane, i in np.ndindex(*word.shape):
                if ctx.get(u.p_lanes) >> lane & ctx.get(u.p_enable) >> i & 1:
                    number = lane % biases if i == 0 else biases - 1 + i
                    word[lane, i] = data >> 32 * number & 0xFFFFFFFF
        if ctx.get(u.t_valid):
            chip.tables.reshape(-1)[ctx.get(u.t_address)] = ctx.get(u.t_data)
        if ctx.get(u.c_valid):
            chip.commands[ctx.get(u.c_address)] = ctx.get(u.c_data)
        if ctx.get(u.e_valid):
            chip.exponents.reshape(-1)[ctx.get(u.e_address)] = ctx.get(u.e_data)


def placed(rng: np.random.Generator, stream: str, size: int, unit: int, words: int) -> Fields:
    """Base and strides of a stream of 2 * 2 * 3 runs inside of ``size`` bytes or words."""
    counts = {"d2": 2, "d1": 2, "d0": 3}
    room = max(1, (size // unit - words) // 8)
    strides = {n: int(rng.integers(-room, room + 1)) for n in counts}
    ends = [(counts[n] - 1) * s for n, s in strides.items()]
    low, high = sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends) + words
    base = int(rng.integers(-low, size // unit - high + 1))
    fields = {f"{stream}_{n}_stride": s * unit for n, s in strides.items()}
    return fields | {f"{stream}_base": base * unit} | {f"{n}_count": c for n, c in counts.items()}


def draw(rng: np.random.Generator, spec: AcceleratorSpec, target: Target, half: int = 0) -> Fields:
    """A LOAD of runs anywhere in the lower half of external memory."""
    form, size = ParameterForm(rng.integers(4)), spec.external.data_bytes
    unit, depth = {
        Target.ACTIVATIONS: (1, 2048),
        Target.WEIGHTS: (window_stride(spec, Window.WEIGHTS), spec.weight_words),
        Target.PARAMETERS: (lane_word_bytes(spec, form), spec.lane_words),
        Target.TABLES: (1, 256 * spec.memory.tables),
        Target.COMMANDS: (4, spec.memory.command_words),
        Target.EXPONENTS: (4, 256 * spec.post.softmax_tables),
    }[target]
    part = min(size, {Target.PARAMETERS: parameter_part_bytes(spec, form)}.get(target, unit))
    words = int(rng.integers(1, 30 if unit == 1 else 4))
    e = placed(rng, "e", SIZE // 2, part, -(-words * unit // part))
    m = placed(rng, "m", depth, 1, words)
    fields = e | m | {"length": words * unit, "target": int(target), "form": int(form)}
    fields["e_base"] += half * SIZE // 2
    fields["m_base"] += half * 2048
    return fields


@pytest.mark.parametrize(
    ("data_bytes", "beats", "outstanding", "columns"),
    [
        (4, 2, 1, 6),
        (4, 16, 4, 9),
        (8, 4, 2, 6),
        (16, 2, 3, 12),
        (16, 16, 4, 33),
        (32, 8, 4, 6),
        (8, 4, 2, 8),
        (16, 16, 4, 16),
        (32, 4, 2, 10),
    ],
)
@pytest.mark.parametrize("stalls", [None, 11])
def test_every_target(
    data_bytes: int, beats: int, outstanding: int, columns: int, stalls: int | None
) -> None:
    """LOADs from the lower half of external memory while SAVEs write the upper half."""
    spec = spec_of(data_bytes, beats, outstanding, columns)
    timing = MemoryTiming(latency=6, stalls=stalls, base=0x10000)
    machine = Machine(spec, timing, 1.0 if stalls is None else 0.6)
    commands: list[tuple[Opcode, Fields]] = []
    for target in Target:
        commands.append((Opcode.LOAD, draw(machine.rng, spec, target)))
        fields = draw(machine.rng, spec, Target.ACTIVATIONS, half=1)
        commands.append((Opcode.SAVE, {k: v for k, v in fields.items() if k not in WORDS}))
    for opcode, fields in commands:
        machine.expect(opcode, fields)

    async def bench(ctx: SimulatorContext) -> None:
        await machine.run(ctx, commands, lambda: len(machine.finished) == len(commands))
        assert not ctx.get(machine.dut.load.busy) and not ctx.get(machine.dut.save.busy)

    simulate(machine.dut, bench)
    machine.compare()


@pytest.mark.parametrize("data_bytes", [4, 16, 32])
@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.SAVE])
def test_long_runs_move_a_beat_a_cycle(data_bytes: int, opcode: Opcode) -> None:
    """Unaligned on both sides, through a memory whose latency is covered."""
    spec = spec_of(data_bytes, 16, 4)
    machine = Machine(spec, MemoryTiming(latency=40))
    fields = {"e_base": 5, "m_base": 3, "length": 60 * data_bytes}
    machine.expect(opcode, fields)

    async def bench(ctx: SimulatorContext) -> None:
        await machine.run(ctx, [(opcode, fields)], lambda: bool(machine.finished))

    simulate(machine.dut, bench)
    machine.compare()
    moved = machine.monitor.read_beats or machine.monitor.write_beats
    assert len(moved) == 61
    assert moved[-1] - moved[0] == 60


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.SAVE])
def test_short_runs_overlap(opcode: Opcode) -> None:
    """A gather of runs of two beats: as many under way as the bus allows, not one by one."""
    spec = spec_of(8, 16, 16)
    machine = Machine(spec, MemoryTiming(latency=18))
    fields = {"e_base": 4, "m_base": 1, "length": 12, "d0_count": 40, "e_d0_stride": 64}
    fields |= {"d1_count": 3, "e_d1_stride": 8, "m_d1_stride": 600, "m_d0_stride": 13}
    machine.expect(opcode, fields)

    async def bench(ctx: SimulatorContext) -> None:
        await machine.run(ctx, [(opcode, fields)], lambda: bool(machine.finished))

    simulate(machine.dut, bench)
    machine.compare()
    moved = machine.monitor.read_beats or machine.monitor.write_beats
    assert len(moved) == 240
    assert moved[-1] - moved[0] == 239
    assert machine.finished[0][1] < 240 + 18 + 15


@pytest.mark.parametrize("target", [Target.WEIGHTS, Target.PARAMETERS, Target.COMMANDS])
def test_alignment(target: Target) -> None:
    spec = spec_of(8, 4, 2)
    machine = Machine(spec)
    fields = {"e_base": 2, "length": 96, "target": int(target)}
    codes = []

    async def bench(ctx: SimulatorContext) -> None:
        def failed() -> bool:
            codes.append(ctx.get(machine.dut.failure))
            return codes[-1] != 0

        await machine.run(ctx, [(Opcode.LOAD, fields)], failed)

    simulate(machine.dut, bench)
    assert codes[-1] == ErrorCode.ALIGNMENT


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.SAVE])
@pytest.mark.parametrize("stalls", [None, 2])
def test_errors_and_the_run_after(opcode: Opcode, stalls: int | None) -> None:
    """An error is reported, the bus becomes quiet, and after a stop all works."""
    spec = spec_of(8, 4, 3)
    machine = Machine(spec, MemoryTiming(latency=8, stalls=stalls, error_address=700))
    bad = {"e_base": 100, "m_base": 3, "length": 900}
    good = {"e_base": 800, "m_base": 77, "length": 90}
    want = ErrorCode.READ if opcode is Opcode.LOAD else ErrorCode.WRITE

    async def bench(ctx: SimulatorContext) -> None:
        dut = machine.dut
        await machine.run(ctx, [(opcode, bad)], lambda: bool(ctx.get(dut.failure)))
        assert ctx.get(dut.failure) == want
        ctx.set(dut.stopping, 1)
        await machine.run(ctx, [], lambda: bool(ctx.get(dut.quiet)))
        ctx.set(dut.stopping, 0)
        ctx.set(dut.running, 0)
        machine.memory.step(ctx, dut.bus)
        await ctx.tick()
        machine.golden.activations.bytes[:] = machine.chip.activations.bytes
        machine.outside.bytes[:] = machine.image
        machine.expect(opcode, good)
        assert not machine.finished
        await machine.run(ctx, [(opcode, good)], lambda: bool(machine.finished))
        assert not ctx.get(dut.failure)

    simulate(machine.dut, bench)
    machine.compare()
