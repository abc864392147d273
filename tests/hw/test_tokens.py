"""Tokens between units against counters."""

import numpy as np
from amaranth.sim import SimulatorContext

from systolith.hw.tokens import Tokens
from systolith.sim.pysim import simulate
from systolith.spec.commands import Unit

LOADER = (Unit.LOAD, Unit.COMPUTE)


def test_random_traffic() -> None:
    """Any units finish and start in the same cycle; a unit starts only when it is ready."""
    rng = np.random.default_rng(8)
    tokens = Tokens(bits=3)
    counts = {(a, b): 0 for a in Unit for b in Unit}
    highest = 0

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal highest
        for _ in range(1500):
            moves = dict.fromkeys(counts, 0)
            for u in Unit:
                wait, signal = int(rng.integers(64)), int(rng.integers(64))
                room = all(counts[u, v] < 6 for v in Unit)
                finish = int(rng.integers(2)) if room else 0
                ctx.set(getattr(tokens, f"wait{int(u)}"), wait)
                ctx.set(getattr(tokens, f"signal{int(u)}"), signal)
                ctx.set(getattr(tokens, f"finish{int(u)}"), finish)
                needed = [v for v in Unit if wait >> v & 1 and v != u and (v, u) != LOADER]
                ready = all(counts[v, u] for v in needed)
                assert ctx.get(getattr(tokens, f"ready{int(u)}")) == ready
                start = ready and bool(rng.integers(2))
                ctx.set(getattr(tokens, f"start{int(u)}"), start)
                for v in Unit:
                    moves[u, v] += finish and signal >> v & 1 and v != u
                    moves[v, u] -= start and v in needed
            assert ctx.get(tokens.loader_ready) == (counts[LOADER] > 0)
            loader = counts[LOADER] > 0 and bool(rng.integers(2))
            ctx.set(tokens.loader_start, loader)
            moves[LOADER] -= loader
            for pair, move in moves.items():
                counts[pair] += move
            highest = max(highest, *counts.values())
            await ctx.tick()

    simulate(tokens, bench)
    assert highest >= 5


def test_pairs_that_are_not_built() -> None:
    """Their tokens are lost, and to wait for one is to wait for ever."""
    tokens = Tokens(pairs=[(Unit.MOVE, Unit.STORE)])

    async def bench(ctx: SimulatorContext) -> None:
        for giver in Unit:
            ctx.set(getattr(tokens, f"finish{int(giver)}"), 1)
            ctx.set(getattr(tokens, f"signal{int(giver)}"), 63)
        await ctx.tick().repeat(3)
        for taker in Unit:
            for giver in set(Unit) - {taker}:
                ctx.set(getattr(tokens, f"wait{int(taker)}"), 1 << giver)
                ready = ctx.get(getattr(tokens, f"ready{int(taker)}"))
                assert ready == (
                    (giver, taker) == (Unit.MOVE, Unit.STORE) or (giver, taker) == LOADER
                )
        assert not ctx.get(tokens.loader_ready)

    simulate(tokens, bench)
