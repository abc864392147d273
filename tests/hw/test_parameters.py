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
