"""Levels against a number."""

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import SimulatorContext

from systolith.hw.level import Level
from systolith.sim.pysim import simulate

MOST = 5


class Bench(wiring.Component):
    """A level, and what comes and goes."""

    def __init__(self) -> None:
        super().__init__({"comes": In(1), "goes": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.level = Level(m, "level", MOST, self.comes, self.goes)
        return m


def test_value_and_flags() -> None:
    """Both, one or none, from empty to full and back."""
    rng, bench = np.random.default_rng(5), Bench()

    async def run(ctx: SimulatorContext) -> None:
        expected, seen = 0, set()
        for cycle in range(600):
            filling = (cycle // 50) % 2 == 0
            comes = bool(rng.random() < (0.7 if filling else 0.3))
            goes = bool(rng.random() < (0.3 if filling else 0.7)) and expected > 0
            comes &= expected < MOST or goes
            ctx.set(bench.comes, comes)
            ctx.set(bench.goes, goes)
            assert ctx.get(bench.level.value) == expected
            assert ctx.get(bench.level.some) == (expected > 0)
            expected += comes - goes
            assert ctx.get(bench.level.will_have) == (expected > 0)
            seen.add(expected)
            await ctx.tick()
        assert seen == set(range(MOST + 1))

    simulate(bench, run)
