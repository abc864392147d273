"""The compute unit's issue: order of addresses and flags, and what each stall waits for."""

import itertools

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.accumulators import MINIMUM_PASS
from systolith.hw.feeder import Feeder
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, PostSpec
from systolith.spec.commands import MATMUL_LOOPS, Opcode, encode
from systolith.spec.precision import Precision, WeightFormat

STALLS = ("commands", "tokens", "weights", "accumulators", "activations")


def draw(rng: np.random.Generator, pixels: tuple[int, int] | None = None) -> dict[str, int]:
    command = {f"{n}_count": int(rng.integers(1, 3)) for n in MATMUL_LOOPS}
    if pixels:
        command |= {"my_count": pixels[0], "mx_count": pixels[1]}
    command |= {f"x_{n}_stride": int(rng.integers(-90, 90)) for n in MATMUL_LOOPS}
    command["x_base"] = int(rng.integers(5000, 60000))
    return command | {
        name: int(rng.integers(1 << bits))
        for name, bits in (
            ("x_signed", 1), ("w_hold", 1), ("maximum", 1), ("wait", 3), ("signal", 3),
            ("precision", 2), ("w_format", 3),
        )
    }  # fmt: skip


def expected(command: dict[str, int]) -> list[dict[str, int]]:
    """What is issued, in order."""
    vectors = []
    for index in itertools.product(*(range(command[f"{n}_count"]) for n in MATMUL_LOOPS)):
        at = dict(zip(MATMUL_LOOPS, index, strict=True))
        last = {n: at[n] == command[f"{n}_count"] - 1 for n in MATMUL_LOOPS}
        pass_first = at["my"] == at["mx"] == 0
        new_tile = not command["w_hold"] or not any(index)
        vectors.append(
            {
                "x_address": command["x_base"]
                + sum(at[n] * command[f"x_{n}_stride"] for n in MATMUL_LOOPS),
                "x_signed": command["x_signed"],
                "o_precision": command["precision"],
                "o_sparse": int(command["w_format"] == WeightFormat.TWO_OF_FOUR),
                "o_switch": int(pass_first and new_tile),
                "o_pass_first": int(pass_first),
                "o_k_first": int(at["ky"] == at["kx"] == at["kc"] == 0),
                "o_k_last": int(last["ky"] and last["kx"] and last["kc"]),
                "o_maximum": command["maximum"],
                "finish": int(all(last.values())),
            }
        )
    return vectors


def run(commands: list[dict[str, int]], rates: dict[str, float], depth: int = 2) -> tuple:
    """Issue commands while inputs are ready at random; return vectors, their cycles, stalls."""
    spec = AcceleratorSpec(
        array=ArraySpec(
            rows=4,
            columns=4,
            precisions=frozenset(Precision),
            weight_formats=frozenset({WeightFormat.DENSE, WeightFormat.TWO_OF_FOUR}),
        ),
        post=PostSpec(lanes=4),
        queue_depth=depth,
    )
    feeder = Feeder(spec)
    rng = np.random.default_rng(1)
    total = sum(len(expected(c)) for c in commands)
    issued, cycles, stalls = [], [], dict.fromkeys(STALLS, 0)

    async def push(ctx: SimulatorContext) -> None:
        for command in commands:
            words = encode(Opcode.MATMUL, **command)
            ctx.set(feeder.i, sum(w << 32 * i for i, w in enumerate(words)))
            ctx.set(feeder.push, 1)
            await ctx.tick().until(feeder.push_ready)
            ctx.set(feeder.push, 0)

    async def bench(ctx: SimulatorContext) -> None:
        cycle = starts = finishes = 0
        room = space = 1 if rates.get("i_release", 1) < 1 else 4
        while len(issued) < total:
            for name in ("start_ready", "i_tile_ready", "x_ready"):
                ctx.set(getattr(feeder, name), int(rng.random() < rates.get(name, 1)))
            released = int(space < room and rng.random() < rates.get("i_release", 1))
            ctx.set(feeder.i_release, released)
            ctx.set(feeder.i_space, space)
            assert ctx.get(feeder.o_valid) == ctx.get(feeder.o_issue)
            busy = ctx.get(feeder.o_valid) + ctx.get(feeder.start)
            reasons = [name for name in STALLS if ctx.get(getattr(feeder, f"stall_{name}"))]
            # Every cycle is counted once: an issue, a start, or one reason to wait.
            assert busy + len(reasons) == 1, reasons
            for name in reasons:
                stalls[name] += 1
            if ctx.get(feeder.start):
                assert ctx.get(feeder.start_ready) and starts == finishes
                assert ctx.get(feeder.wait) == commands[starts]["wait"]
                starts += 1
            if ctx.get(feeder.o_valid):
                vector = {name: ctx.get(getattr(feeder, name)) for name in expected(commands[0])[0]}
                assert ctx.get(feeder.x_ready) and ctx.get(feeder.x_valid)
                assert ctx.get(feeder.i_tile_ready) or not vector["o_switch"]
                assert space or not vector["o_k_last"]
                space -= vector["o_k_last"]
                if vector["finish"]:
                    assert ctx.get(feeder.signal) == commands[finishes]["signal"]
                    finishes += 1
                issued.append(vector)
                cycles.append(cycle)
            else:
                assert not ctx.get(feeder.o_switch) and not ctx.get(feeder.finish)
            space += released
            cycle += 1
            assert cycle < 20_000
            await ctx.tick()
        assert not ctx.get(feeder.busy)

    simulate(feeder, push, bench)
    return issued, cycles, stalls


@pytest.mark.parametrize("rate", [1.0, 0.7, 0.3])
@pytest.mark.parametrize("depth", [1, 2, 16])
def test_order(rate: float, depth: int) -> None:
    rng = np.random.default_rng(depth)
    commands = [draw(rng) for _ in range(6)]
    rates = dict.fromkeys(("start_ready", "i_tile_ready", "i_release", "x_ready"), rate)
    issued, _, stalls = run(commands, rates, depth)
    assert issued == [v for c in commands for v in expected(c)]
    if rate < 0.5:
        missed = [name for name in STALLS if name != "commands" and not stalls[name]]
        assert not missed


@pytest.mark.parametrize("pixels", [(1, 1), (1, 2), (2, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("lost", [0.0, 0.3, 0.6])
def test_passes_keep_their_distance(pixels: tuple[int, int], lost: float) -> None:
    """A vector is not issued again before its sum of the last pass can be read, stalls or not."""
    rng = np.random.default_rng(7)
    commands = [draw(rng, pixels) | {"kc_count": 4} for _ in range(3)]
    issued, cycles, _ = run(commands, {"x_ready": 1 - lost, "i_tile_ready": 1 - lost / 2})
    size = pixels[0] * pixels[1]
    distances = [
        later - cycles[k]
        for k, later in enumerate(cycles[size:])
        if not issued[k + size]["o_k_first"]
    ]
    assert min(distances) >= MINIMUM_PASS
    if not lost:
        assert min(distances) == max(MINIMUM_PASS, size)


def test_no_bubbles_inside_a_command() -> None:
    rng = np.random.default_rng(2)
    command = draw(rng, (2, 2)) | {"wait": 0}
    _, cycles, stalls = run([command], {})
    assert set(np.diff(cycles)) == {1}
    assert sum(stalls[name] for name in STALLS if name != "commands") == 0
