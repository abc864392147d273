"""Pipeline: alignment of values written and read at different stages."""

from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.pipeline import Pipeline


def test_values_of_one_sample_meet() -> None:
    """A square made at stage 1 meets, at stage 3, the input and its negative made at stage 0."""
    m, x, y = Module(), Signal(signed(9)), Signal(signed(24))
    p = Pipeline(m)
    p["x"] = x
    p["negative"] = -p["x"]
    p.advance()
    p["square"] = p["x"] * p["x"]
    p.advance()
    p.advance()
    m.d.comb += y.eq(p["square"] + p["x"] * 8 + p["negative"])
    values = [3, -5, 0, 255, -256, 7, 7, -1]
    got = []

    async def bench(ctx: SimulatorContext) -> None:
        for value in [*values, 0, 0, 0]:
            ctx.set(x, value)
            got.append(ctx.get(y))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert got[p.stage :] == [v * v + 7 * v for v in values]


def test_a_name_can_be_redefined() -> None:
    """A later definition replaces the earlier one and starts anew."""
    m = Module()
    p = Pipeline(m)
    p["x"] = Signal(8, name="a")
    p.advance()
    first = p["x"]
    p["x"] = p["x"][:4]
    assert len(first) == 8
    assert len(p["x"]) == 4
    p.advance()
    assert p["x"] is p["x"]
    assert len(p["x"]) == 4
