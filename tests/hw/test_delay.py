"""Delay lines and skewing triangles."""

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from systolith.hw.delay import delay, delay_samples, skew
from systolith.sim.pysim import simulate


class Delayed(wiring.Component):
    """A signed value delayed, with a clear input."""

    def __init__(self, cycles: int, cleared: bool):
        self.cycles, self.cleared = cycles, cleared
        super().__init__({"i": In(signed(5)), "clear": In(1), "o": Out(signed(5))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clear: Value | None = self.clear if self.cleared else None
        m.d.comb += self.o.eq(delay(m, self.i, self.cycles, "d", clear=clear))
        m.d.sync += Signal().eq(1)  # a clock even without delay
        return m


class Skewed(wiring.Component):
    """Elements of some width, element i delayed by i * step cycles."""

    def __init__(self, count: int, width: int, step: int):
        self.count, self.width, self.step = count, width, step
        super().__init__({"i": In(count * width), "o": Out(count * width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        elements = skew(m, self.i, self.width, "s", self.step)
        assert [len(e) for e in elements] == [self.width] * self.count
        m.d.comb += self.o.eq(Cat(*elements))
        m.d.sync += Signal().eq(1)
        return m


@pytest.mark.parametrize("cycles", [0, 1, 4])
@pytest.mark.parametrize("cleared", [False, True])
def test_delay(cycles: int, cleared: bool) -> None:
    rng = np.random.default_rng(cycles)
    values = rng.integers(-16, 16, 60).tolist()
    clears = (rng.integers(0, 8, 60) == 0).tolist()
    dut, seen = Delayed(cycles, cleared), []

    async def bench(ctx: SimulatorContext) -> None:
        for value, clear in zip(values, clears, strict=True):
            ctx.set(dut.i, value)
            ctx.set(dut.clear, clear)
            seen.append(ctx.get(dut.o))
            await ctx.tick()

    simulate(dut, bench)
    for t in range(cycles, 60):
        lost = cleared and any(clears[t - cycles : t])
        assert seen[t] == (0 if lost else values[t - cycles]), t


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(("count", "width"), [(1, 9), (2, 1), (5, 3)])
def test_skew(count: int, width: int, step: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.integers(0, 1 << width, (40, count)).tolist()
    dut, seen = Skewed(count, width, step), []

    async def bench(ctx: SimulatorContext) -> None:
        for row in values:
            ctx.set(dut.i, sum(v << width * i for i, v in enumerate(row)))
            word = ctx.get(dut.o)
            seen.append([word >> width * i & (1 << width) - 1 for i in range(count)])
            await ctx.tick()

    simulate(dut, bench)
    for t in range(count * step, 40):
        assert seen[t] == [values[t - i * step][i] for i in range(count)]


class Samples(wiring.Component):
    """Two values that belong to samples."""

    def __init__(self, cycles: int):
        self.cycles = cycles
        ports = {"valid": 1, "a": 7, "b": 3}
        super().__init__(
            {f"i_{n}": In(w) for n, w in ports.items()}
            | {f"o_{n}": Out(w) for n, w in ports.items()}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values = {"a": self.i_a, "b": self.i_b}
        found = delay_samples(m, self.i_valid, values, self.cycles, "ring")
        m.d.comb += [getattr(self, f"o_{name}").eq(value) for name, value in found.items()]
        return m


@pytest.mark.parametrize("cycles", [2, 3, 7, 8, 13])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_delay_samples(cycles: int, density: float) -> None:
    rng = np.random.default_rng(cycles)
    valid = rng.random(120) < density
    samples = rng.integers(0, [128, 8], (120, 2)).tolist()
    dut = Samples(cycles)

    async def bench(ctx: SimulatorContext) -> None:
        for cycle in range(120):
            ctx.set(dut.i_valid, int(valid[cycle]))
            ctx.set(dut.i_a, samples[cycle][0])
            ctx.set(dut.i_b, samples[cycle][1])
            there = cycle >= cycles and bool(valid[cycle - cycles])
            assert ctx.get(dut.o_valid) == there
            if there:
                assert [ctx.get(dut.o_a), ctx.get(dut.o_b)] == samples[cycle - cycles]
            await ctx.tick()

    simulate(dut, bench)
