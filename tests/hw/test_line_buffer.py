"""The line buffers: operands of all lines against the image, bubbles and unfinished streams in."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.line_buffer import LineBuffer
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec


def spec_of(rows: int, columns: int, lines: int, width: int) -> AcceleratorSpec:
    array = ArraySpec(rows=rows, columns=columns, depthwise_lines=lines, depthwise_width=width)
    memory = MemorySpec(weight_bytes=columns * 16)
    return AcceleratorSpec(array=array, memory=memory, post=PostSpec(lanes=1))


def operands(image: np.ndarray, y: int, x: int, lines: int, columns: int, expand: int) -> list:
    """Per line and column, from the definition; None above the image's first row."""
    rows = image.shape[2]
    return [
        [
            None if y + 1 - lines + line < 0
            else int(image[y + 1 - lines + line, x, c >> expand]) if c >> expand < rows else 0
            for c in range(columns)
        ]
        for line in range(lines)
    ]  # fmt: skip


def check(spec: AcceleratorSpec, bubbles: float, streams: int = 8) -> int:
    """Streams of random shape one after the other, the last row of some cut; return comparisons.

    Where the buffer can, some streams are of pairs of rows.
    """
    array, lines = spec.array, spec.array.depthwise_lines
    rng = np.random.default_rng([array.rows, array.columns, lines])
    buffer = LineBuffer(spec)
    sent: list[tuple] = []  # per cycle: what is issued, and what it leads to
    for _ in range(streams):
        height, width = int(rng.integers(1, 7)), int(rng.integers(2, array.depthwise_width + 1))
        signed, expand = int(rng.integers(2)), int(rng.integers(4))
        codes = rng.integers(0, 256, (height, width, array.rows)).astype(np.uint8)
        image = codes.view(np.int8) if signed else codes
        pairs = int(spec.row_pairs and height % 2 == 0)
        rows = height >> pairs
        for k in range(rows * width - int(rng.integers(width)) * int(rng.integers(2))):
            row, x = divmod(k, width)
            y = (row << pairs) + pairs
            want = operands(image, y, x, lines, array.columns, expand)
            pixels = codes[y - pairs, x], codes[y, x]
            sent.append((x, expand, signed, pixels, want, pairs))
            while rng.random() < bubbles:
                sent.append((None, expand, signed, pixels, want, pairs))
    compared = 0

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal compared
        latency = ActivationMemory.read_latency
        for t in range(len(sent) + latency + buffer.delay):
            x, expand, signed, *_, pairs = sent[min(t, len(sent) - 1)]
            valid = x is not None and t < len(sent)
            ctx.set(buffer.i_valid, valid)
            ctx.set(buffer.i_column, x if valid else int(rng.integers(array.depthwise_width)))
            ctx.set(buffer.i_expand, expand)
            ctx.set(buffer.i_signed, signed)
            if spec.row_pairs:
                ctx.set(buffer.i_pairs, pairs)
            if t >= latency:
                upper, lower = sent[min(t - latency, len(sent) - 1)][3]
                ctx.set(buffer.i_x, int.from_bytes(upper.tobytes(), "little"))
                if spec.row_pairs:
                    ctx.set(buffer.i_below, int.from_bytes(lower.tobytes(), "little"))
                lane = t - latency < len(sent) and sent[t - latency][0] is not None
                assert ctx.get(buffer.o_lane) == lane
            if t >= latency + buffer.delay:
                got = ctx.get(buffer.o)
                wanted = sent[t - latency - buffer.delay][4]
                for k, value in enumerate(v for line in wanted for v in line):
                    code = got >> 9 * k & 511
                    assert value is None or code - (code >> 8 << 9) == value, (t, k)
                    compared += value is not None
            await ctx.tick()

    simulate(buffer, bench)
    return compared


@pytest.mark.parametrize("bubbles", [0.0, 0.3])
@pytest.mark.parametrize(
    ("rows", "columns", "lines", "width"),
    [(9, 4, 3, 5), (5, 3, 2, 4), (6, 6, 3, 7), (4, 9, 1, 6), (3, 5, 3, 4), (8, 2, 8, 5)],
)
def test_lines(rows: int, columns: int, lines: int, width: int, bubbles: float) -> None:
    assert check(spec_of(rows, columns, lines, width), bubbles) > 200
