"""The softmax unit against golden: rows, strides, forms, grants that wait, tables from the host."""

from typing import Any

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.golden.softmax import softmax_rows
from systolith.hw.activation import ActivationMemory
from systolith.hw.softmax import SoftmaxUnit
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec
from systolith.spec.commands import Command, Opcode, encode
from systolith.spec.softmax import SoftmaxForm

TABLES = 3
READ_FROM, SPACE = 1 << 14, 1 << 15
"""Rows are read from the upper half of the memory and written to the lower."""


def exponentials(rng: np.random.Generator) -> np.ndarray:
    """A table for each form: FIXED 0, INVERSE 1, QUOTIENT 1 and 2."""
    values = np.exp(-np.arange(256) * 10 ** rng.uniform(-3, 0)).astype(np.float32)
    fixed = np.minimum(values.astype(np.float64) * 2**31, 2**31 - 1).astype(np.uint32)
    return np.stack([fixed, values.view(np.uint32), (values * np.float32(256)).view(np.uint32)])


def draw(rng: np.random.Generator, form: SoftmaxForm) -> dict[str, int]:
    low = int(rng.choice([0, -128]))
    return {
        "form": int(form),
        "table": int(form is not SoftmaxForm.FIXED),
        "s_base": READ_FROM + int(rng.integers(2000, 10_000)),
        "d_base": int(rng.integers(2000, 10_000)),
        "length": int(rng.choice([1, 2, 16, 17, rng.integers(1, 40)])),
        "row_count": int(rng.integers(1, 4)),
        "s_row_stride": int(rng.integers(-60, 60)),
        "d_row_stride": int(rng.choice([-45, 40])),
        "signed": int(rng.integers(2)),
        "scale": int(np.float32(rng.uniform(0.003, 0.01)).view(np.uint32)),
        "low": low,
        "high": low + int(rng.choice([255, 99])),
        "zero": low + int(rng.integers(0, 9)),
    }


class Bench:
    """A unit, its memory, and the bytes it wrote."""

    def __init__(self, rows: int, *, seed: int = 0, reads: float = 1, writes: float = 1) -> None:
        spec = AcceleratorSpec(
            array=ArraySpec(rows=rows, columns=4), post=PostSpec(lanes=4, softmax_tables=TABLES)
        )
        self.dut, self.line = SoftmaxUnit(spec), spec.line_bytes
        self.rng, self.rates = np.random.default_rng(seed), (reads, writes)
        self.tables = exponentials(self.rng)
        self.image = self.rng.integers(0, 256, SPACE, np.uint8)
        self.written: dict[int, int] = {}
        self.cycles = 0
        self._due: list[int | None] = [None] * ActivationMemory.read_latency

    async def load(self, ctx: SimulatorContext) -> None:
        dut = self.dut
        ctx.set(dut.h_valid, 1)
        for address, word in enumerate(self.tables.reshape(-1).tolist()):
            ctx.set(dut.h_address, address)
            ctx.set(dut.h_data, word)
            await ctx.tick()
        ctx.set(dut.h_valid, 0)

    async def run(self, ctx: SimulatorContext, fields: dict[str, int]) -> None:
        """Run a command; what it wrote must be what golden computes, and `done` its end."""
        dut = self.dut
        self.written.clear()
        words = encode(Opcode.SOFTMAX, **fields)
        ctx.set(dut.i, sum(word << 32 * i for i, word in enumerate(words)))
        ctx.set(dut.start, 1)
        wanted = self.expected(fields)
        for self.cycles in range(20_000):
            for port, rate in zip((dut.c_ready, dut.f_ready), self.rates, strict=True):
                ctx.set(port, int(self.rng.random() < rate))
            self._memory(ctx)
            self._write(ctx)
            done = ctx.get(dut.done)
            await ctx.tick()
            ctx.set(dut.start, 0)
            if done:
                assert self.written == wanted, fields
                return
        raise AssertionError("the command does not end")

    def expected(self, fields: dict[str, int]) -> dict[int, int]:
        steps, span = np.arange(fields["row_count"])[:, None], np.arange(fields["length"])
        source = fields["s_base"] + steps * fields["s_row_stride"] + span
        target = fields["d_base"] + steps * fields["d_row_stride"] + span
        codes = self.image[source].astype(np.int64)
        if fields["signed"]:
            codes = self.image[source].view(np.int8).astype(np.int64)
        rows = softmax_rows(codes, Command(Opcode.SOFTMAX, fields), self.tables) & 255
        return dict(zip(target.reshape(-1).tolist(), rows.reshape(-1).tolist(), strict=True))

    def _memory(self, ctx: SimulatorContext) -> None:
        """Data comes `read_latency` cycles after the grant, and is gone in the next cycle."""
        dut, arrived = self.dut, self._due.pop(0)
        junk = self.rng.integers(0, 256, self.line, np.uint8)
        data = junk if arrived is None else self.image[arrived : arrived + self.line]
        ctx.set(dut.c_data, int.from_bytes(data.tobytes(), "little"))
        granted = ctx.get(dut.c_valid) and ctx.get(dut.c_ready)
        self._due.append(ctx.get(dut.c_address) if granted else None)

    def _write(self, ctx: SimulatorContext) -> None:
        dut = self.dut
        if ctx.get(dut.f_valid) and ctx.get(dut.f_ready):
            data = ctx.get(dut.f_data).to_bytes(self.line, "little")[: ctx.get(dut.f_count)]
            for offset, value in enumerate(data):
                assert self.written.setdefault(ctx.get(dut.f_address) + offset, value) == value


def check(bench: Bench, commands: list[dict[str, int]]) -> list[int]:
    """Run commands one after the other; return the cycles of each."""
    cycles: list[int] = []

    async def run(ctx: Any) -> None:
        await bench.load(ctx)
        for fields in commands:
            await bench.run(ctx, fields)
            cycles.append(bench.cycles)
            await ctx.tick()

    simulate(bench.dut, run)
    return cycles


@pytest.mark.parametrize("rows", [1, 5, 16])
@pytest.mark.parametrize(("reads", "writes"), [(1, 1), (0.3, 1), (1, 0.1), (0.6, 0.5)])
def test_random_rows(rows: int, reads: float, writes: float) -> None:
    bench = Bench(rows, seed=rows, reads=reads, writes=writes)
    check(bench, [draw(bench.rng, SoftmaxForm(k % 3)) for k in range(6)])


@pytest.mark.parametrize("form", SoftmaxForm)
def test_equal_codes_and_extremes(form: SoftmaxForm) -> None:
    bench = Bench(16, seed=7)
    fields = draw(bench.rng, form) | {"row_count": 1, "length": 20}
    base = fields["s_base"]
    commands = []
    for k, codes in enumerate(([9] * 20, [0] * 20, [255] * 20, [0, 255] * 10, [128, 127] * 10)):
        bench.image[base + 20 * k :][:20] = codes
        commands.append(fields | {"s_base": base + 20 * k, "signed": k % 2})
    check(bench, commands)


@pytest.mark.parametrize(
    ("form", "slope", "constant"),
    [(SoftmaxForm.FIXED, 3, 60), (SoftmaxForm.INVERSE, 5, 55), (SoftmaxForm.QUOTIENT, 26, 25)],
)
def test_cycles_of_a_row(form: SoftmaxForm, slope: int, constant: int) -> None:
    """What the unit's description says, with lines of 16 bytes."""
    bench = Bench(16, seed=8)
    fields = draw(bench.rng, form) | {"row_count": 1}
    short, long = check(bench, [fields | {"length": n} for n in (10, 100)])
    assert abs(short - (10 * slope + constant)) <= 5
    assert abs(long - (100 * slope + constant)) <= 5
