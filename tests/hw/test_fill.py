"""The load unit against nested loops: writes, back-pressure, tokens, end of command."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.fill import FillUnit
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec
from systolith.spec.commands import Opcode, encode


def spec_of(rows: int, queue_depth: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=4), post=PostSpec(lanes=4), queue_depth=queue_depth
    )


def draw(rng: np.random.Generator, line: int) -> dict[str, int]:
    lengths = [1, line - 1, line, line + 1, 3 * line, int(rng.integers(1, 60))]
    command = {f"{d}_count": int(rng.integers(1, 4)) for d in ("d2", "d1", "d0")}
    command |= {f"d_{d}_stride": int(rng.integers(-100, 100)) for d in ("d2", "d1", "d0")}
    return command | {
        "d_base": int(rng.integers(2000, 60000)),
        "length": int(rng.choice(lengths)),
        "value": int(rng.integers(256)),
        "wait": int(rng.integers(8)),
        "signal": int(rng.integers(8)),
    }


def addresses(command: dict[str, int]) -> list[list[int]]:
    """Addresses of each run's bytes, in order."""
    return [
        [command["d_base"] + a * command["d_d2_stride"] + b * command["d_d1_stride"]
         + c * command["d_d0_stride"] + i for i in range(command["length"])]
        for a in range(command["d2_count"])
        for b in range(command["d1_count"])
        for c in range(command["d0_count"])
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 5, 16])
@pytest.mark.parametrize("queue_depth", [1, 2])
@pytest.mark.parametrize("busy", [0.0, 0.5])
def test_runs(rows: int, queue_depth: int, busy: float) -> None:
    spec = spec_of(rows, queue_depth)
    rng = np.random.default_rng(rows)
    unit, line = FillUnit(spec), spec.line_bytes
    commands = [draw(rng, line) for _ in range(8)]
    written: list[tuple[int, int]] = []
    ends = []  # bytes written when a command finished
    cycles = {"started": [], "finished": [], "last": 0}

    async def push(ctx: SimulatorContext) -> None:
        for command in commands:
            ctx.set(unit.i, sum(w << 32 * i for i, w in enumerate(encode(Opcode.FILL, **command))))
            ctx.set(unit.push, 1)
            await ctx.tick().until(unit.push_ready)
            ctx.set(unit.push, 0)

    async def bench(ctx: SimulatorContext) -> None:
        cycle = 0
        while len(ends) < len(commands):
            # A token is there now and then; nothing starts without.
            ctx.set(unit.start_ready, int(rng.integers(4) == 0))
            ctx.set(unit.f_ready, int(rng.random() >= busy))
            if ctx.get(unit.start):
                assert ctx.get(unit.start_ready)
                assert ctx.get(unit.wait) == commands[len(ends)]["wait"]
                cycles["started"].append(cycle)
            if ctx.get(unit.f_valid) and ctx.get(unit.f_ready):
                assert len(cycles["started"]) == len(ends) + 1
                count, value = ctx.get(unit.f_count), ctx.get(unit.f_data) & 255
                assert ctx.get(unit.f_data) == int.from_bytes(bytes([value] * line), "little")
                assert 1 <= count <= line
                written.extend((ctx.get(unit.f_address) + i, value) for i in range(count))
                cycles["last"] = cycle
            if ctx.get(unit.finish):
                assert cycle == cycles["last"] + ActivationMemory.write_latency
                assert ctx.get(unit.signal) == commands[len(ends)]["signal"]
                assert ctx.get(unit.busy)
                ends.append(len(written))
            cycle += 1
            assert cycle < 20_000
            await ctx.tick()
        assert not ctx.get(unit.busy)

    simulate(unit, push, bench)
    want = [(a, c["value"]) for c in commands for run in addresses(c) for a in run]
    assert written == want
    sizes = [sum(len(run) for run in addresses(c)) for c in commands]
    assert ends == np.cumsum(sizes).tolist()


def test_a_line_a_cycle() -> None:
    """Long runs take one cycle a line, and runs follow each other without a pause."""
    spec = spec_of(8, 2)
    unit = FillUnit(spec)
    command = {"d_base": 3, "length": 4 * spec.line_bytes + 1, "d0_count": 3, "d_d0_stride": 99}
    busy = 0

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal busy
        ctx.set(unit.start_ready, 1)
        ctx.set(unit.f_ready, 1)
        ctx.set(unit.i, sum(w << 32 * i for i, w in enumerate(encode(Opcode.FILL, **command))))
        ctx.set(unit.push, 1)
        await ctx.tick()
        ctx.set(unit.push, 0)
        await ctx.tick().until(unit.f_valid)
        while ctx.get(unit.f_valid):
            busy += 1
            await ctx.tick()

    simulate(unit, bench)
    assert busy == 3 * 5 - 1  # `until` has passed the first
