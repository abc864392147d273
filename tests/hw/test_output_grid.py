"""The pixels that complete an output, against their definition in places of a flat image."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.sim import SimulatorContext

from systolith.hw.output_grid import OutputGrid
from systolith.sim.pysim import simulate

NAMES = ("x_first", "x_step", "ox_count", "y_first", "y_step", "oy_count")
WIDTH = 12


class Bench(wiring.Component):
    """A grid whose fields are ports."""

    def __init__(self) -> None:
        super().__init__(
            {name: In(6) for name in NAMES} | {"issue": In(1), "idle": In(1), "row_ends": In(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = {name: getattr(self, name) for name in NAMES}
        self.grid = OutputGrid(m, fields, WIDTH)
        self.grid.advance(m, issue=self.issue, idle=self.idle, row_ends=self.row_ends)
        return m


def draw(rng: np.random.Generator) -> tuple[int, dict[str, int]]:
    """Columns of an image and a grid; outputs of a row may lie in the next row of the image."""
    columns = int(rng.integers(1, WIDTH + 1))
    c = {
        "x_first": int(rng.integers(columns)),
        "x_step": int(rng.integers(1, 4)),
        "y_first": int(rng.integers(3)),
        "y_step": int(rng.integers(1, 4)),
        "oy_count": int(rng.integers(1, 4)),
    }
    # A row's outputs end before those of the next row of the image would begin.
    c["ox_count"] = int(rng.integers(1, 1 + (columns - 1) // c["x_step"] + 1))
    return columns, c


def outputs(columns: int, c: dict[str, int]) -> list[list[int]]:
    """Places of the outputs, row by row."""
    rows = [(c["y_first"] + i * c["y_step"]) * columns for i in range(c["oy_count"])]
    return [[row + c["x_first"] + j * c["x_step"] for j in range(c["ox_count"])] for row in rows]


@pytest.mark.parametrize("seed", range(4))
def test_streams(seed: int) -> None:
    """Streams one after the other, with pauses, each run twice: the second follows at once."""
    rng, bench = np.random.default_rng(seed), Bench()

    async def stream(ctx: SimulatorContext, columns: int, c: dict[str, int]) -> None:
        rows = outputs(columns, c)
        places = [place for row in rows for place in row]
        # Where a row of the image has its last output, or would have, and the next row has some.
        gates = {row[-1] - columns for row in rows[c["y_first"] == 0 :]}
        for place in range(places[-1] + 1):
            ctx.set(bench.issue, 0)
            if rng.integers(4) == 0:
                await ctx.tick().repeat(int(rng.integers(1, 3)))
            assert ctx.get(bench.grid.column) == place % columns
            assert ctx.get(bench.grid.is_output) == (place in places), (c, place)
            assert ctx.get(bench.grid.ends) == (place == places[-1]), (c, place)
            assert ctx.get(bench.grid.fresh) == (place <= places[0])
            ctx.set(bench.row_ends, place % columns == columns - 1)
            ctx.set(bench.issue, 1)
            assert ctx.get(bench.grid.will_gate) == (place in gates), (c, place)
            await ctx.tick()

    async def run(ctx: SimulatorContext) -> None:
        for _ in range(12):
            columns, c = draw(rng)
            ctx.set(bench.issue, 0)
            ctx.set(bench.idle, 1)
            for name, value in c.items():
                ctx.set(getattr(bench, name), value)
            await ctx.tick()
            ctx.set(bench.idle, 0)
            for _ in range(2):
                await stream(ctx, columns, c)

    simulate(bench, run)
