"""The stream ports in brief; tests/cocotb/stream_bench.py has the rest."""

import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.stream_port import StreamPort
from systolith.sim.lite_memory import LiteMemory, lite_access
from systolith.spec.registers import REGISTERS, Window
from systolith.spec.stream import STREAM_BASE, STREAM_REGISTERS

OFFSET = {r.name: r.offset for r in REGISTERS}
STREAM = {r.name: STREAM_BASE + r.offset for r in STREAM_REGISTERS}
ACTIVATIONS = Window.ACTIVATIONS << 24


class Core(LiteMemory):
    """Registers, and activations behind them in one small memory."""

    def _note(self, ctx: SimulatorContext, seen: list[int]) -> None:
        for place in (1, 6):
            if seen[place] >= ACTIVATIONS:
                seen[place] += 256 - ACTIVATIONS
        super()._note(ctx, seen)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_frame(size: int) -> None:
    """Two rows of two runs of three bytes in, five bytes out, a program between them."""
    port = StreamPort(size)
    core = Core(port.bus, 512)
    core.data[OFFSET["status"]] = 2
    core.data[256 + 64 : 256 + 69] = b"hello"
    data, want = bytes(range(1, 13)), {0: 1, 4: 4, 16: 7, 20: 10}
    layouts = {
        "input": (0, 3, 2, 4, 2, 16),
        "output": (64, 5, 1, 0, 1, 0),
    }
    result = bytearray()

    async def bench(ctx: SimulatorContext) -> None:
        names = ("base", "run_bytes", "runs", "run_stride", "rows", "row_stride")
        for side, values in layouts.items():
            for name, value in zip(names, values, strict=True):
                await lite_access(ctx, port.registers, STREAM[f"{side}_{name}"], value)
        await lite_access(ctx, port.registers, STREAM["stream_control"], 0b111)
        ctx.set(port.o.tready, 1)
        for k in range(0, len(data), size):
            ctx.set(port.i.tdata, int.from_bytes(data[k : k + size], "little"))
            ctx.set(port.i.tkeep, (1 << size) - 1)
            ctx.set(port.i.tlast, k + size >= len(data))
            ctx.set(port.i.tvalid, 1)
            await ctx.tick().until(port.i.tready)
        ctx.set(port.i.tvalid, 0)
        last = 0
        for _ in range(300):
            ctx.set(port.running, len(core.writes) > 4 and not result and _ < 150)
            *_, valid, word, keep, last = await ctx.tick().sample(
                port.o.tvalid, port.o.tdata, port.o.tkeep, port.o.tlast
            )
            if valid:
                assert not result or len(result) % size == 0
                assert last == (len(result) + keep.bit_count() == 5)
                result.extend(word.to_bytes(size, "little")[: keep.bit_count()])

    simulator = Simulator(port)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.add_testbench(core.run, background=True)
    simulator.run()
    for place, first in want.items():
        assert core.data[256 + place : 259 + place] == bytes(range(first, first + 3))
    assert (OFFSET["control"], 1) in [(a, d & 1) for a, d, s in core.writes if a < 256]
    assert result == b"hello"
