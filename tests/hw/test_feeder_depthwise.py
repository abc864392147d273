"""Depthwise streams of the compute unit: which pixels are read, which end an output, and when."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.feeder import Feeder
from systolith.sim.pysim import simulate
from systolith.sim.stress_depthwise import draw_depthwise, draw_pairs
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import MATMUL_LOOPS, Opcode, encode

Command = dict[str, int]
OUTER = MATMUL_LOOPS[:5]


def spec_of(depth: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=9, columns=4, depthwise_lines=3, depthwise_width=20),
        memory=MemorySpec(accumulator_depth=depth),
        post=PostSpec(lanes=4),
    )


@dataclass
class Pixel:
    """What is issued with it, and whether the stream may wait before it."""

    address: int
    column: int
    flags: dict[str, int]
    gate: bool
    results: int  # that must fit into the ring at the gate


def by_vector(c: Command) -> Command:
    """Count pairs of rows as rows: every vector is a pixel and the one below it."""
    if not c.get("pairs"):
        return c
    halves = {name: c[name] // 2 for name in ("y_first", "y_step", "my_count")}
    return c | halves | {"x_my_stride": 2 * c["x_my_stride"]}


def length(c: Command) -> int:
    """Pixels of a stream, up to its last output."""
    row = (c["oy_count"] - 1) * c["y_step"] + c["y_first"]
    return row * c["mx_count"] + c["x_first"] + (c["ox_count"] - 1) * c["x_step"] + 1


def stream(c: Command, at: dict[str, int], passes_left: bool) -> list[Pixel]:
    """Pixels of one pass, from the definition in places of a flat image."""
    width = c["mx_count"]
    rows = [
        [(c["y_first"] + i * c["y_step"]) * width + c["x_first"] + j * c["x_step"]
         for j in range(c["ox_count"])]
        for i in range(c["oy_count"])
    ]  # fmt: skip
    ends = {place for row in rows for place in row}
    # Before a row of outputs the place behind the row's last output, if there were one above it.
    gates = {max(0, row[-1] + 1 - width) for row in rows}
    assert length(c) == rows[-1][-1] + 1
    base = c["x_base"] + sum(i * c[f"x_{n}_stride"] for n, i in at.items())
    k_first = not any(at[n] for n in ("ky", "kx", "kc"))
    new_tile = not c["w_hold"] or not any(at.values())
    pixels = []
    for place in range(length(c)):
        y, x = divmod(place, width)
        flags = {
            "o_valid": int(place in ends),
            "o_pass_first": int(place == rows[0][0]),
            "o_k_first": int(k_first), "o_k_last": int(not passes_left),
            "o_maximum": c["maximum"], "o_switch": int(new_tile and place == 0),
            "o_expand": c["expand"], "x_signed": c["x_signed"], "x_pair": c.get("pairs", 0),
        }  # fmt: skip
        address = base + y * c["x_my_stride"] + x * c["x_mx_stride"]
        gate = place in gates and not passes_left
        pixels.append(Pixel(address, x, flags, gate, c["ox_count"] if gate else 0))
    return pixels


def streams(c: Command) -> list[list[Pixel]]:
    counts = [range(c[f"{n}_count"]) for n in OUTER]
    indices = [dict(zip(OUTER, index, strict=True)) for index in itertools.product(*counts)]
    last = {n: c[f"{n}_count"] - 1 for n in ("ky", "kx", "kc")}
    return [stream(c, at, any(at[n] != v for n, v in last.items())) for at in indices]


def run(
    spec: AcceleratorSpec, commands: list[Command], release: float, ready: float = 1
) -> list[list[int]]:
    """Issue the commands and check every pixel; return the cycles of each stream's pixels.

    Parameters
    ----------
    release: how often a result leaves the ring.
    ready: how often a weight tile is ready.
    """
    feeder, rng = Feeder(spec), np.random.default_rng(1)
    wanted = [s for c in commands for s in streams(by_vector(c))]
    pitches = [c["x_my_stride"] for c in commands for _ in streams(by_vector(c))]
    pixels = [(s, p) for s, pixels in enumerate(wanted) for p in pixels]
    cycles: list[list[int]] = [[] for _ in wanted]

    async def push(ctx: SimulatorContext) -> None:
        for command in commands:
            words = encode(Opcode.MATMUL, **command)
            ctx.set(feeder.i, sum(w << 32 * i for i, w in enumerate(words)))
            ctx.set(feeder.push, 1)
            await ctx.tick().until(feeder.push_ready)
            ctx.set(feeder.push, 0)

    async def bench(ctx: SimulatorContext) -> None:
        cycle, issued, space = 0, 0, spec.memory.accumulator_depth
        ctx.set(feeder.start_ready, 1)
        ctx.set(feeder.x_ready, 1)
        while issued < len(pixels):
            ctx.set(feeder.i_space, space)
            ctx.set(feeder.i_tile_ready, int(rng.random() < ready))
            number, pixel = pixels[issued]
            if ctx.get(feeder.o_issue):
                assert ctx.get(feeder.x_valid) and ctx.get(feeder.x_urgent)
                assert ctx.get(feeder.o_depthwise) and ctx.get(feeder.o_column) == pixel.column
                assert ctx.get(feeder.x_address) == pixel.address
                below = ctx.get(feeder.x_below) - pixel.address
                assert not pixel.flags["x_pair"] or below == pitches[number]
                got = {name: ctx.get(getattr(feeder, name)) for name in pixel.flags}
                assert got | {"o_pass_first": got["o_valid"] & got["o_pass_first"]} == pixel.flags
                assert space >= pixel.results
                cycles[number].append(cycle)
                issued += 1
                space -= pixel.flags["o_valid"] & pixel.flags["o_k_last"]
                assert space >= 0
            else:
                assert not ctx.get(feeder.o_switch) and not ctx.get(feeder.o_valid)
                if ctx.get(feeder.stall_accumulators) and cycles[number]:
                    assert pixel.gate and space < pixel.results
            cycle += 1
            assert cycle < 20_000
            released = int(space < spec.memory.accumulator_depth and rng.random() < release)
            ctx.set(feeder.i_release, released)
            space += released
            await ctx.tick()

    simulate(feeder, push, bench)
    for s, times in enumerate(cycles):
        for p, gap in zip(wanted[s][1:], np.diff(times).tolist(), strict=True):
            assert gap == 1 or p.gate, (s, p)
    return cycles


def draw(rng: np.random.Generator, spec: AcceleratorSpec) -> Command:
    results = 3 * spec.memory.accumulator_depth
    drawn = draw_depthwise(rng, spec, results=results, stride=12, tiles=20)
    if not drawn.shared and rng.integers(2):
        drawn = draw_pairs(rng, spec, drawn)
    return drawn.fields | {"x_base": int(rng.integers(10_000, 60_000))}


@pytest.mark.parametrize("depth", [4, 9])
@pytest.mark.parametrize(("release", "ready"), [(1.0, 1.0), (0.1, 1.0), (0.1, 0.5)])
def test_order_and_gates(depth: int, release: float, ready: float) -> None:
    """A stream waits at its gates only, there long enough, and issues what the definition says."""
    rng = np.random.default_rng([depth, int(10 * release)])
    spec = spec_of(depth)
    commands = [draw(rng, spec) for _ in range(9)]
    cycles = run(spec, commands, release, ready)
    waits = sum(int(sum(np.diff(times) - 1)) for times in cycles)
    assert (waits > 0) == (release < 1)


def test_tiles_follow_without_a_bubble() -> None:
    """A stream ends with its last output, and the next begins in the cycle after."""
    rng = np.random.default_rng(5)
    spec = spec_of(4096)
    for _ in range(8):
        command = draw(rng, spec)
        pixels = length(by_vector(command))
        if pixels < 3:  # the passes keep their distance
            continue
        cycles = run(spec, [command], 1.0)
        assert [len(times) for times in cycles] == [pixels] * len(cycles)
        assert set(np.diff(sum(cycles, []))) <= {1}
