"""The store unit's traffic: what it takes, reads and writes, and when; values are test_lane's."""

import itertools

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.store import StoreUnit
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import STORE_LOOPS, Opcode, encode
from systolith.spec.precision import Precision
from systolith.spec.requant import RequantMode


def spec_of(columns: int, lanes: int, depth: int, *precisions: Precision) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(
            rows=4, columns=columns, precisions=frozenset({Precision.W8A8, *precisions})
        ),
        memory=MemorySpec(
            weight_bytes=16 * columns, accumulator_depth=depth, parameter_channels=lanes * 32,
            tables=0,
        ),
        post=PostSpec(lanes=lanes, modes=frozenset({RequantMode.FIXED})),
    )  # fmt: skip


def draw(rng: np.random.Generator, spec: AcceleratorSpec) -> dict[str, int]:
    command = {f"{n}_count": int(rng.integers(1, 4)) for n in STORE_LOOPS}
    for s, n in itertools.product("yr", STORE_LOOPS):
        command[f"{s}_{n}_stride"] = int(rng.integers(-90, 90))
    width = int(rng.integers(1, spec.array.columns * spec.array.column_sums + 1))
    return command | {
        "y_base": int(rng.integers(3000, 60000)),
        "r_base": int(rng.integers(3000, 60000)),
        "tile_channels": width,
        "channels": (command["n_count"] - 1) * width + int(rng.integers(1, width + 1)),
        "mode": int(RequantMode.FIXED),
        "p_base": int(rng.integers(8)),
        "p_stride": int(rng.integers(4)),
        "residual": int(rng.integers(2)),
        "low": -128,
        "high": 127,
        "r_low": -128,
        "r_high": 127,
        "r_multiplier_y": 1,
        "r_multiplier_r": 1,
        **{name: int(rng.integers(8)) for name in ("wait", "signal")},
        "stamp": int(rng.integers(2)),
        "packed": int(rng.integers(2)) if spec.array.packs else 0,
    }


def beats(command: dict[str, int], lanes: int) -> list[dict[str, int]]:
    """What is written, lane vector by lane vector."""
    result = []
    for index in itertools.product(*(range(command[f"{n}_count"]) for n in STORE_LOOPS)):
        at = dict(zip(STORE_LOOPS, index, strict=True))
        y, r = (
            command[f"{s}_base"] + sum(at[n] * command[f"{s}_{n}_stride"] for n in STORE_LOOPS)
            for s in "yr"
        )
        width = command["tile_channels"]
        tile = min(width, command["channels"] - at["n"] * width)
        for first in range(0, tile, lanes):
            result.append(
                {
                    "y": y + (first // 2 if command["packed"] else first), "r": r + first,
                    "count": min(lanes, tile - first),
                    "beat": first // lanes, "ends": int(first + lanes >= tile),
                    "p": command["p_base"] + at["n"] * command["p_stride"] + first // lanes,
                }
            )  # fmt: skip
    return result


SHAPES = [(1, 1, 4), (4, 4, 5), (6, 2, 4), (6, 1, 16), (5, 5, 7)]


@pytest.mark.parametrize(("columns", "lanes", "depth"), SHAPES)
@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize("granted", [1.0, 0.4])
def test_traffic(columns: int, lanes: int, depth: int, rate: float, granted: float) -> None:
    """What is stored as bytes, of vectors as long as the array has columns."""
    run_traffic(spec_of(columns, lanes, depth), rate, granted)


@pytest.mark.parametrize(
    ("columns", "lanes", "depth"), [(1, 1, 4), (6, 2, 4), (3, 1, 16), (5, 5, 7), (9, 3, 5)]
)
def test_traffic_of_nibbles(columns: int, lanes: int, depth: int) -> None:
    """Vectors of two sums a column, stored as bytes or packed."""
    run_traffic(spec_of(columns, lanes, depth, *Precision), rate=0.7, granted=0.6)


def packed(beats: list[dict[str, int]], values: list[list[int]]) -> list[list[int]]:
    """Bytes in the place of the beats of one vector's codes."""
    codes = [v & 15 for beat in values for v in beat] + [0]
    pairs = [codes[i] | codes[i + 1] << 4 for i in range(0, len(codes) - 1, 2)]
    ends = np.cumsum([b["count"] for b in beats])
    cuts = [0, *(e // 2 for e in ends[:-1]), len(pairs)]
    return [pairs[a:b] for a, b in itertools.pairwise(cuts)]


def run_traffic(spec: AcceleratorSpec, rate: float, granted: float) -> None:
    """Run commands against a ring and memories of ours.

    Results are credited at some rate; each result's value tells its place in the order.

    The parameters pass accumulators through, and the low byte of a result is its place in the ring
    plus its column, so that a written byte shows which result and lane it came from. A residual
    byte is its address modulo 13; reads are granted at some rate.
    """
    lanes, depth = spec.post.lanes, spec.memory.accumulator_depth
    channels = spec.array.columns * spec.array.column_sums
    rng = np.random.default_rng(spec.array.columns * depth)
    unit = StoreUnit(spec)
    commands = [draw(rng, spec) for _ in range(5)]
    expected = [dict(b, command=k) for k, c in enumerate(commands) for b in beats(c, lanes)]
    total = sum(b["ends"] for b in expected)
    written, read, finished, last_write = [], [], [], {}

    async def push(ctx: SimulatorContext) -> None:
        for command in commands:
            words = encode(Opcode.STORE, **command)
            ctx.set(unit.i, sum(w << 32 * i for i, w in enumerate(words)))
            ctx.set(unit.push, 1)
            await ctx.tick().until(unit.push_ready)
            ctx.set(unit.push, 0)

    async def bench(ctx: SimulatorContext) -> None:
        memories = unit.parameters.memories
        for word in range(spec.lane_words):
            # FIXED with multiplier 1 and shift 0; the bias is the lane word's number.
            ones = sum(1 << 32 * i for i in range(lanes))
            ctx.set(memories["multiplier"].data[word], ones)
            ctx.set(memories["bias"].data[word], word * ones)
        await ctx.tick()
        credited = released = cycle = starts = 0
        address = 0
        residual: list[int | None] = [None] * ActivationMemory.read_latency
        while len(finished) < len(commands):
            # The ring answers one cycle later: result k has value k in column 0, k + c in c.
            ctx.set(unit.result_data, sum((address + c) << 32 * c for c in range(channels)))
            ctx.set(unit.start_ready, int(rng.integers(3) > 0))
            ctx.set(unit.r_ready, int(rng.random() < granted))
            arrived = residual.pop(0)
            if arrived is not None:
                ctx.set(unit.r_data, sum((arrived + i) % 13 << 8 * i for i in range(lanes)))
            credit = credited < total and credited - released < depth and rng.random() < rate
            ctx.set(unit.i_credit, int(credit))
            address = ctx.get(unit.result_address)
            credited += credit
            released += ctx.get(unit.o_release)
            if ctx.get(unit.start):
                assert ctx.get(unit.start_ready) and starts == len(finished)
                assert ctx.get(unit.wait) == commands[starts]["wait"]
                starts += 1
            reads = ctx.get(unit.r_valid) and ctx.get(unit.r_ready)
            residual.append(ctx.get(unit.r_address) if reads else None)
            if reads:
                assert ctx.get(unit.post_busy)
                read.append(ctx.get(unit.r_address))
            if ctx.get(unit.p_valid):
                data, count = ctx.get(unit.p_data), ctx.get(unit.p_count)
                values = [data >> 8 * i & 255 for i in range(count)]
                written.append((ctx.get(unit.p_address), values))
                last_write[starts] = cycle
            if ctx.get(unit.finish):
                command = commands[len(finished)]
                assert ctx.get(unit.signal) == command["signal"]
                assert ctx.get(unit.stamp) == command["stamp"]
                assert cycle == last_write[starts] + ActivationMemory.write_latency
                finished.append(cycle)
            cycle += 1
            assert cycle < 20_000
            await ctx.tick()
        assert not ctx.get(unit.busy) and released == credited == total

    simulate(unit, push, bench)
    results = np.cumsum([0] + [b["ends"] for b in expected])[:-1]
    want = []
    for _, group in itertools.groupby(
        zip(results, expected, strict=True), key=lambda item: item[0]
    ):
        vector, values = [], []
        for k, b in group:
            codes = [int(k) % depth + b["beat"] * lanes + i + b["p"] for i in range(b["count"])]
            if commands[b["command"]]["residual"]:
                codes = [v + (b["r"] + i) % 13 for i, v in enumerate(codes)]
            values.append([min(127, v) for v in codes])
            vector.append(b)
        if commands[vector[0]["command"]]["packed"]:
            values = packed(vector, values)
        want += [(b["y"], v) for b, v in zip(vector, values, strict=True) if v]
    assert written == want
    assert read == [b["r"] for b in expected if commands[b["command"]]["residual"]]


@pytest.mark.parametrize(("columns", "lanes"), [(4, 4), (4, 1), (6, 2)])
@pytest.mark.parametrize("residual", [0, 1])
def test_a_lane_vector_a_cycle(columns: int, lanes: int, residual: int) -> None:
    """With results at hand, a command takes one cycle a lane vector."""
    spec = spec_of(columns, lanes, 16)
    unit = StoreUnit(spec)
    command = {"mx_count": 15, "tile_channels": columns, "channels": columns, "mode": 2}
    command["residual"] = residual
    busy: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(unit.r_ready, 1)
        ctx.set(unit.i_credit, 1)
        await ctx.tick().repeat(15)
        ctx.set(unit.i_credit, 0)
        ctx.set(unit.start_ready, 1)
        ctx.set(unit.i, sum(w << 32 * i for i, w in enumerate(encode(Opcode.STORE, **command))))
        ctx.set(unit.push, 1)
        await ctx.tick()
        ctx.set(unit.push, 0)
        for _ in range(200):
            busy.append(ctx.get(unit.post_busy))
            assert not ctx.get(unit.post_wait)
            await ctx.tick()

    simulate(unit, bench)
    first = busy.index(1)
    assert busy[first : first + 15 * columns // lanes] == [1] * (15 * columns // lanes)
    assert sum(busy) == 15 * columns // lanes
