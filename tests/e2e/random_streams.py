"""Random convolutions of any shape, and small accelerators with external memory for them."""

import numpy as np
from random_graphs import RandomNet

from systolith.graph import Graph
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)

__all__ = ["STREAMED_SPECS", "random_layer"]

_KIB = 1024
_LAYER_MACS = 300_000


def _streamed(
    rows: int, columns: int, lanes: int, *, tiles: int = 300, lines: int = 0, **numbers: int
):
    """A specification with external memory and little of any other."""
    regions = numbers.pop("regions", 2)
    bus = {n: numbers.pop(n) for n in ("data_bytes", "burst_beats", "outstanding")}
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns, depthwise_lines=lines, depthwise_width=24),
        memory=MemorySpec(
            activation_regions=regions, weight_bytes=rows * columns * tiles,
            parameter_channels=lanes * 16, command_words=512, tables=2, stamps=256, **numbers,
        ),
        post=PostSpec(lanes=lanes, softmax_tables=1),
        external=ExternalSpec(**bus),
        queue_depth=2,
    )  # fmt: skip


STREAMED_SPECS = {
    "3x5": _streamed(
        3, 5, 5, activation_bytes=3 * _KIB, accumulator_depth=8, regions=3,
        data_bytes=4, burst_beats=16, outstanding=2,
    ),
    "6x6": _streamed(
        6, 6, 3, lines=3, activation_bytes=6 * _KIB, accumulator_depth=40,
        data_bytes=8, burst_beats=4, outstanding=4,
    ),
    "9x4": _streamed(
        9, 4, 4, lines=2, activation_bytes=12 * _KIB, accumulator_depth=25, regions=1,
        data_bytes=16, burst_beats=256, outstanding=1,
    ),
    "16x16": _streamed(
        16, 16, 8, tiles=64, lines=3, activation_bytes=16 * _KIB, accumulator_depth=64,
        data_bytes=16, burst_beats=16, outstanding=4,
    ),
}  # fmt: skip
"""Arrays with external memory whose other memories are too small for most networks."""


def random_layer(seed: int) -> Graph:
    """Draw one convolution: kernels up to 11, channels up to 70, any strides, dilations, pads."""
    net = RandomNet(seed)
    while True:
        height, width = net.any(1, 16), net.any(1, 16)
        depth, channels = net.any(1, 70), net.any(1, 70)
        groups = 1
        if net.chance(0.4):
            groups = int(net.rng.choice([g for g in range(1, depth + 1) if depth % g == 0]))
            channels = groups * net.any(1, max(1, 70 // groups))
        kernel, dilations, strides, pads = net.window(height, width, 11, steps=4)
        rows, columns = net.extent((height, width), kernel, strides, pads, dilations)
        macs = rows * columns * channels * kernel[0] * kernel[1] * (depth // groups)
        if min(rows, columns) > 0 and macs <= _LAYER_MACS:
            break
    x = net.input(height, width, depth)
    kind = np.int8 if net.chance(0.7) else np.uint8
    return net.graph(net.conv(x, channels, kernel, strides, pads, dilations, groups, kind))
