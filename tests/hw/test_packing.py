"""The packer of nibbles: vectors of any length, cut into beats of any number of lanes."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import SimulatorContext

from systolith.hw.packing import NibblePacker
from systolith.sim.pysim import simulate


def clocked(dut: NibblePacker) -> Module:
    """With a clock, even where there is no register."""
    m = Module()
    m.submodules.dut = dut
    m.d.sync += Signal().eq(1)
    return m


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 8])
def test_vectors(lanes: int) -> None:
    """Vectors of up to four beats, packed or not, with idle cycles between their beats."""
    rng, dut = np.random.default_rng(lanes), NibblePacker(lanes)
    vectors = [
        (rng.integers(0, 256, int(rng.integers(1, 4 * lanes + 1))), packed)
        for packed in (1, 0, 1, 1, 0)
        for _ in range(12)
    ]
    got: list[list[int]] = [[] for _ in vectors]

    async def bench(ctx: SimulatorContext) -> None:
        for number, (codes, packed) in enumerate(vectors):
            ctx.set(dut.i_packed, packed)
            for beat, first in enumerate(range(0, len(codes), lanes)):
                for _ in range(int(rng.integers(3))):
                    ctx.set(dut.i_valid, 0)
                    ctx.set(dut.i, int(rng.integers(1 << 8 * min(lanes, 7))))
                    await ctx.tick()
                    assert not ctx.get(dut.o_valid)
                part = [int(c) for c in codes[first : first + lanes]]
                noise = [int(v) for v in rng.integers(0, 256, lanes - len(part))]
                ctx.set(dut.i_valid, 1)
                ctx.set(dut.i, sum(c << 8 * i for i, c in enumerate(part + noise)))
                ctx.set(dut.i_count, len(part))
                ctx.set(dut.i_last, first + lanes >= len(codes))
                if lanes % 2:
                    ctx.set(dut.i_late, packed and beat % 2)
                count, data = ctx.get(dut.o_count), ctx.get(dut.o)
                assert ctx.get(dut.o_valid) == (count > 0)
                got[number] += [data >> 8 * i & 255 for i in range(count)]
                await ctx.tick()

    simulate(clocked(dut), bench)
    for (codes, packed), bytes_ in zip(vectors, got, strict=True):
        nibbles = [int(c) & 15 for c in codes] + [0]
        pairs = [nibbles[i] | nibbles[i + 1] << 4 for i in range(0, len(codes), 2)]
        assert bytes_ == (pairs if packed else codes.tolist())
