"""The shared end of the datapaths: shift with sticky bit, saturation, clamp."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.pipeline import Pipeline
from systolith.hw.rounding import (
    SATURATED_BITS,
    clamp,
    saturate,
    shift_coarse,
    shift_fine,
    sticky_mask,
)

LIMIT = 1 << (SATURATED_BITS - 1)


def test_shift_sticky_and_saturation() -> None:
    """All shifts 0 to 31 of values around powers of two and all small values of 34 bits."""
    m, value, shift = Module(), Signal(signed(34)), Signal(5)
    p = Pipeline(m)
    shift_coarse(p, value, shift, sticky_mask(shift, 31))
    p.advance()
    shift_fine(p)
    p.advance()
    saturate(p)
    p.advance()
    output = Signal(signed(SATURATED_BITS))
    sticky = Signal()
    m.d.comb += [output.eq(p["shifted"]), sticky.eq(p["sticky"])]
    powers = [sign * ((1 << k) + d) for k in range(33) for d in (-1, 0, 1) for sign in (1, -1)]
    samples = [(v, s) for v in powers for s in range(32)]
    samples += [(v, s) for v in range(-40, 40) for s in range(9)]
    got = []

    async def bench(ctx: SimulatorContext) -> None:
        for v, s in samples + [(0, 0)] * p.stage:
            ctx.set(Cat(value, shift), (v & ((1 << 34) - 1)) | s << 34)
            got.append((ctx.get(output), ctx.get(sticky)))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for (v, s), result in zip(samples, got[p.stage :], strict=True):
        limited = max(-LIMIT, min(LIMIT - 1, v >> s))
        assert result == (limited, int(v % (1 << s) != 0)), (v, s)


def test_clamp() -> None:
    """Every 14-bit value against a few limits of either sign."""
    m, value = Module(), Signal(signed(14))
    low, high, output = Signal(signed(9)), Signal(signed(9)), Signal(signed(9))
    m.d.comb += output.eq(clamp(value, low, high))
    limits = [(-256, 255), (-128, 127), (0, 255), (-7, -7), (200, 255)]

    async def bench(ctx: SimulatorContext) -> None:
        for smallest, greatest in limits:
            ctx.set(low, smallest)
            ctx.set(high, greatest)
            for v in range(-8192, 8192, 5):
                ctx.set(value, v)
                await ctx.delay(1e-9)
                assert ctx.get(output) == max(smallest, min(greatest, v))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
