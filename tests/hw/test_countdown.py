"""Countdowns against a number."""

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import SimulatorContext

from systolith.hw.countdown import Countdown
from systolith.sim.pysim import simulate

BITS = 3


class Bench(wiring.Component):
    """A countdown that is loaded, counts, or stands."""

    def __init__(self) -> None:
        super().__init__({"load": In(1), "less": In(1), "count": In(1), "value": In(BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.counter = Countdown(m, "counter", Signal(BITS))
        with m.If(self.count):
            self.counter.count()
        with m.If(self.load):
            with m.If(self.less):
                self.counter.load(self.value, less=1)
            with m.Else():
                self.counter.load(self.value)
        return m


def test_value_and_flags() -> None:
    """Random loads and counts, through 0 and around; a load comes before a count."""
    rng, bench = np.random.default_rng(3), Bench()

    async def run(ctx: SimulatorContext) -> None:
        expected = 0
        for _ in range(500):
            counter = bench.counter
            assert ctx.get(counter.value) == expected
            assert ctx.get(counter.is_zero) == (expected == 0)
            assert ctx.get(counter.is_one) == (expected == 1)
            load, less, count = rng.random(3) < (0.2, 0.5, 0.7)
            value = int(rng.integers(1 << BITS))
            for name, now in (("load", load), ("less", less), ("count", count), ("value", value)):
                ctx.set(getattr(bench, name), int(now))
            await ctx.tick()
            if load or count:
                expected = (value - int(less) if load else expected - 1) % (1 << BITS)

    simulate(bench, run)
