"""The save unit by itself: beats, strobes, speed, and when it finishes."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.save import SaveUnit
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, ExternalSpec
from systolith.spec.commands import Opcode, encode


@pytest.mark.parametrize("size", [4, 8, 32])
@pytest.mark.parametrize(("e_base", "m_base"), [(0, 0), (3, 0), (0, 5), (2, 7)])
@pytest.mark.parametrize("slow", [False, True])
def test_beats(size: int, e_base: int, m_base: int, slow: bool) -> None:
    """One run: every byte once, in its place on the bus; a beat a cycle if all is ready."""
    spec = AcceleratorSpec(
        array=ArraySpec(rows=32), external=ExternalSpec(data_bytes=size, burst_beats=8)
    )
    unit = SaveUnit(spec)
    rng = np.random.default_rng(size + e_base)
    memory = rng.integers(0, 256, 4096).astype(np.uint8)
    length = 9 * size + 1
    image = np.full(1024, 256)
    cycles: list[int] = []

    async def bench(ctx: SimulatorContext) -> None:
        words = encode(Opcode.SAVE, e_base=e_base, m_base=m_base, length=length)
        ctx.set(unit.i, sum(w << 32 * i for i, w in enumerate(words)))
        ctx.set(unit.push, 1)
        ctx.set(unit.start_ready, 1)
        await ctx.tick()
        ctx.set(unit.push, 0)
        reads, bursts, done, total = [0] * ActivationMemory.read_latency, [], 0, None
        for cycle in range(2000):
            grants = [int(not slow or rng.random() < 0.5) for _ in range(3)]
            for name, grant in zip(("s_ready", "o_ready", "b_ready"), grants, strict=True):
                ctx.set(getattr(unit, name), grant)
            address = reads.pop(0)
            ctx.set(
                unit.s_data, int.from_bytes(memory[address : address + size].tobytes(), "little")
            )
            reads.append(ctx.get(unit.s_address) if ctx.get(unit.s_valid) else 0)
            if ctx.get(unit.b_valid) and grants[2]:
                bursts += range(ctx.get(unit.b_len) + 1)
            if ctx.get(unit.o_valid) and grants[1]:
                data, strobe = ctx.get(unit.o_data), ctx.get(unit.o_strobe)
                for i in range(size):
                    if strobe >> i & 1:
                        assert image[done * size + i] == 256
                        image[done * size + i] = data >> 8 * i & 255
                done += 1
                cycles.append(cycle)
            # The master answers some cycles after the last beat.
            answered = done == len(bursts) and bool(cycles) and cycle > cycles[-1] + 5
            ctx.set(unit.written, answered)
            if ctx.get(unit.finish):
                total = cycle
                assert answered
            await ctx.tick()
            if total is not None:
                break
        assert total is not None and not ctx.get(unit.busy)

    simulate(unit, bench)
    want = np.full(1024, 256)
    want[e_base : e_base + length] = memory[m_base : m_base + length]
    np.testing.assert_array_equal(image, want)
    assert slow or cycles[-1] - cycles[0] == len(cycles) - 1
