"""The weight loader's side of LOAD: words written in parts, and commands that wait for them."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.weights import WeightLoader
from systolith.hw.words import weight_part_bytes
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, Unit, encode
from systolith.spec.registers import Window, window_stride


def spec_of(columns: int, data_bytes: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=32, columns=columns),
        memory=MemorySpec(weight_bytes=columns * 64),
        post=PostSpec(lanes=1),
        external=ExternalSpec(data_bytes=data_bytes),
    )


@pytest.mark.parametrize(
    ("columns", "data_bytes"), [(1, 4), (3, 32), (5, 4), (12, 8), (16, 16), (33, 32), (40, 16)]
)
def test_writes(columns: int, data_bytes: int) -> None:
    """Parts of words, between writes of the host, which come second."""
    spec = spec_of(columns, data_bytes)
    loader, rng = WeightLoader(spec), np.random.default_rng(columns)
    part, stride = weight_part_bytes(spec), window_stride(spec, Window.WEIGHTS)
    image = np.zeros((64, stride), np.uint8)

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(200):
            d_valid, h_valid = (int(rng.integers(2)) for _ in range(2))
            address, index = int(rng.integers(64)), int(rng.integers(stride // part))
            data = rng.integers(0, 256, part).astype(np.uint8)
            word, lane = int(rng.integers(64)), int(rng.integers(-(-columns // 4)))
            for name, value in (
                ("d_valid", d_valid), ("d_address", address), ("d_part", index),
                ("d_data", int.from_bytes(data.tobytes(), "little")), ("h_valid", h_valid),
                ("h_address", word), ("h_lane", lane), ("h_strobe", 15), ("h_data", 0x04030201),
            ):  # fmt: skip
                ctx.set(getattr(loader, name), value)
            if d_valid:
                image[address, index * part : (index + 1) * part] = data
            elif h_valid:
                image[word, 4 * lane : 4 * lane + 4] = [1, 2, 3, 4]
            await ctx.tick()
        for i, row in enumerate(image[:, :columns]):
            assert ctx.get(loader.memory.data[i]) == int.from_bytes(row.tobytes(), "little")

    simulate(loader, bench)


@pytest.mark.parametrize("late", [0, 1, 50])
def test_a_token_of_load(late: int) -> None:
    """The command with the bit reads nothing until the token is there, the one without does."""
    loader = WeightLoader(spec_of(4, 4))
    starts: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        for wait in (0, 1 << Unit.LOAD | 1 << Unit.MOVE):
            words = encode(Opcode.MATMUL, wait=wait)
            ctx.set(loader.i, sum(w << 32 * i for i, w in enumerate(words)))
            ctx.set(loader.push, 1)
            await ctx.tick()
        ctx.set(loader.push, 0)
        shifts = 0
        for cycle in range(200):
            ctx.set(loader.load_ready, cycle >= 60 + late)
            ctx.set(loader.i_switch, cycle == 50)
            if ctx.get(loader.load_start):
                starts.append(cycle)
            shifts += ctx.get(loader.o_shift) & 1
            assert shifts <= 32 + 32 * bool(starts)
            await ctx.tick()
        assert shifts == 64

    simulate(loader, bench)
    assert starts == [60 + late]
