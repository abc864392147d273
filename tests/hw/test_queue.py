"""Command queues against a deque."""

from collections import deque

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.queue import CommandQueue
from systolith.sim.pysim import simulate


@pytest.mark.parametrize("depth", [1, 2, 3, 16])
@pytest.mark.parametrize("pushing", [0.2, 0.5, 0.9])
def test_first_in_first_out(depth: int, pushing: float) -> None:
    rng = np.random.default_rng(depth)
    queue, model = CommandQueue(40, depth), deque()
    levels = set()

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(400):
            assert ctx.get(queue.valid) == bool(model)
            assert ctx.get(queue.ready) == (len(model) < depth)
            if model:
                assert ctx.get(queue.o) == model[0]
            push, value = rng.random() < pushing, int(rng.integers(1 << 40))
            pop = bool(model) and rng.random() < 0.5
            ctx.set(queue.push, push)
            ctx.set(queue.i, value)
            ctx.set(queue.pop, pop)
            accepted = push and len(model) < depth
            if pop:
                model.popleft()
            if accepted:
                model.append(value)
            levels.add(len(model))
            await ctx.tick()

    simulate(queue, bench)
    assert pushing < 0.9 or depth in levels
    assert pushing > 0.2 or 0 in levels


def test_without_registers() -> None:
    """Depth 0: whoever pushes holds the command; the queue knows whether there is one."""
    rng = np.random.default_rng(0)
    queue, there = CommandQueue(40, 0), False

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal there
        for _ in range(300):
            assert ctx.get(queue.valid) == there
            assert ctx.get(queue.ready) == (not there)
            push, pop = not there and rng.random() < 0.5, there and rng.random() < 0.5
            value = int(rng.integers(1 << 40))
            ctx.set(queue.push, push)
            ctx.set(queue.i, value)
            ctx.set(queue.pop, pop)
            assert ctx.get(queue.o) == value
            there = push or (there and not pop)
            await ctx.tick()

    simulate(queue, bench)
