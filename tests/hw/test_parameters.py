"""The parameter memory: writes of 32-bit words of chosen lanes, reads of all lanes."""

from math import gcd

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.parameters import ParameterMemory
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.requant import PARAMETER_FIELDS


@pytest.mark.parametrize(("lanes", "bus"), [(1, 0), (3, 0), (8, 0), (6, 16), (8, 16), (4, 32)])
@pytest.mark.parametrize("words", [4, 7])
def test_random_writes(lanes: int, bus: int, words: int) -> None:
    spec = AcceleratorSpec(
        array=ArraySpec(rows=32, columns=lanes),
        memory=MemorySpec(parameter_channels=lanes * words, weight_bytes=lanes * 32),
        post=PostSpec(lanes=lanes), external=ExternalSpec(data_bytes=bus),
    )  # fmt: skip
    biases = gcd(lanes, bus // 4) if bus else 1
    dut = ParameterMemory(spec)
    rng = np.random.default_rng(lanes)
    image = np.zeros((words, lanes, 8), np.uint64)

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(40 * lanes * words):
            word, chosen, parts = (int(rng.integers(n)) for n in (words, 1 << lanes, 256))
            values = rng.integers(0, 1 << 32, biases + 7, np.uint64)
            valid = int(rng.integers(3) > 0)
            for name, data in (
                ("h_valid", valid), ("h_address", word), ("h_lanes", chosen), ("h_enable", parts),
                ("h_data", sum(int(v) << 32 * i for i, v in enumerate(values))),
            ):  # fmt: skip
                ctx.set(getattr(dut, name), data)
            await ctx.tick()
            if valid:
                for lane, part in np.ndindex(lanes, 8):
                    if chosen >> lane & parts >> part & 1:
                        number = part + biases - 1 if part else lane % biases
                        image[word, lane, part] = values[number]
        ctx.set(dut.h_valid, 0)
        for word in range(words):
            ctx.set(dut.r_address, word)
            await ctx.tick()
            for field in PARAMETER_FIELDS:
                got = ctx.get(getattr(dut, field.name))
                for lane in range(lanes):
                    low, high = (int(image[word, lane, field.word + i]) for i in (0, 1))
                    want = (low | high << 32) & (1 << field.bits) - 1
                    value = got >> field.bits * lane & (1 << field.bits) - 1
                    assert value == want, (word, lane, field.name)

    simulate(dut, bench)


@pytest.mark.parametrize("density", [0.4, 1.0])
def test_fields_that_come_later(density: float) -> None:
    """Every field a few cycles late, its read with or without others behind it."""
    spec = AcceleratorSpec(
        array=ArraySpec(rows=4, columns=2),
        memory=MemorySpec(parameter_channels=14),
        post=PostSpec(lanes=2),
    )
    delays = {"multiplier": 2, "offset": 5, "shift": 6}
    dut = ParameterMemory(spec, delays)
    rng = np.random.default_rng(3)
    image = rng.integers(0, 1 << 32, (7, 8), np.uint64)
    valid, words = rng.random(60) < density, rng.integers(0, 7, 60)

    async def bench(ctx: SimulatorContext) -> None:
        for word, part in np.ndindex(7, 8):
            for name, data in (
                ("h_valid", 1), ("h_address", word), ("h_lanes", 3), ("h_enable", 1 << part),
                ("h_data", int(image[word, part]) << 32 * part),
            ):  # fmt: skip
                ctx.set(getattr(dut, name), data)
            await ctx.tick()
        ctx.set(dut.h_valid, 0)
        for cycle in range(60):
            ctx.set(dut.r_valid, int(valid[cycle]))
            ctx.set(dut.r_address, int(words[cycle]))
            for field in PARAMETER_FIELDS:
                read = cycle - 1 - delays.get(field.name, 0)
                if read >= 0 and valid[read]:
                    low, high = (int(v) for v in image[words[read]][field.word :][:2])
                    want = (low | high << 32) & (1 << field.bits) - 1
                    got = ctx.get(getattr(dut, field.name)) & (1 << field.bits) - 1
                    assert got == want, (cycle, field.name)
            await ctx.tick()

    simulate(dut, bench)
