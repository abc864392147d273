"""The queue of bytes: order, room, and bytes that find none."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.byte_queue import ByteQueue
from systolith.sim.pysim import simulate


@pytest.mark.parametrize(("depth", "pace"), [(2, 0.5), (16, 0.2), (16, 0.8)])
def test_random_traffic(depth: int, pace: float) -> None:
    dut, rng = ByteQueue(depth), np.random.default_rng(depth)

    async def bench(ctx: SimulatorContext) -> None:
        waiting: list[int] = []
        taken = dropped = most = 0
        was_valid = False
        for _ in range(2000):
            valid, byte = int(rng.random() < 0.5), int(rng.integers(256))
            ctx.set(dut.i_valid, valid)
            ctx.set(dut.i, byte)
            assert ctx.get(dut.o_valid) == bool(waiting)
            take = bool(waiting) and was_valid and rng.random() < pace
            ctx.set(dut.o_next, take)
            if take:
                assert ctx.get(dut.o) == waiting[0]
            room = len(waiting) < depth
            was_valid = bool(waiting) and not take
            if take:
                waiting.pop(0)
                taken += 1
            if valid and room:
                waiting.append(byte)
            dropped += valid and not room
            most = max(most, len(waiting))
            await ctx.tick()
        assert taken > 200 and most == depth and (dropped > 0 or pace > 0.5)

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [0, 1, 12])
def test_depth(depth: int) -> None:
    with pytest.raises(ValueError, match=f"^depth must be a power of two .* not {depth}$"):
        ByteQueue(depth)
