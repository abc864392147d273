"""Windows of two lines: every place, every region, both times of arrival."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.window import ReadWindow
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec


def spec_of(rows: int, regions: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=1),
        memory=MemorySpec(activation_regions=regions),
        post=PostSpec(lanes=1),
    )


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("rows", "regions"), [(2, 1), (7, 3), (16, 2)])
def test_every_place(rows: int, regions: int, late: bool) -> None:
    """A request a cycle, with pauses; lines that nobody asked for are on the banks meanwhile."""
    spec = spec_of(rows, regions)
    dut, rng = ReadWindow(spec, late=late), np.random.default_rng(rows)
    line = spec.line_bytes
    requests = [(place, g) for place in range(2 * line) for g in range(regions)] * 2
    rng.shuffle(requests)
    arrival = 1 + late
    due: dict[int, tuple[int, int]] = {}
    lines: dict[int, tuple[int, int]] = {}  # place and region, by the cycle of arrival

    async def bench(ctx: SimulatorContext) -> None:
        cycle = compared = 0
        while requests or due:
            valid = bool(requests) and rng.random() < 0.8
            place, g = requests.pop() if valid else rng.integers(0, (2 * line, regions)).tolist()
            ctx.set(dut.i_valid, valid)
            ctx.set(dut.i_place, place)
            ctx.set(dut.i_region, g)
            if valid:
                lines[cycle + arrival] = place, g
            data = rng.integers(0, 256, (regions, 2 * line), np.uint8)
            for h in range(regions):
                ctx.set(getattr(dut, f"even{h}"), int.from_bytes(data[h, :line], "little"))
                ctx.set(getattr(dut, f"odd{h}"), int.from_bytes(data[h, line:], "little"))
            if cycle in lines:
                place, g = lines.pop(cycle)
                window = np.roll(data[g], -place)[:line]
                other = data[g, :line] if place >= line else data[g, line:]
                when = cycle + dut.latency - arrival
                due[when] = tuple(int.from_bytes(v.tobytes(), "little") for v in (window, other))
            if cycle in due:
                # `o_other` is the line of the other bank than the first byte's.
                want = due.pop(cycle)
                assert (ctx.get(dut.o), ctx.get(dut.o_other)) == want, cycle
                compared += 1
            cycle += 1
            await ctx.tick()
        assert compared == 4 * line * regions

    simulate(dut, bench)
