"""Random single layers of every kind, with sizes that divide nothing, and very small memories."""

from dataclasses import replace

import numpy as np
from graph_builder import Net

from systolith.graph import Graph, Op
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)

__all__ = ["random_layer", "tiny_spec"]

_MACS, _SIZE = 30_000, 800
"""Most multiply-accumulates of a layer, and elements of a tensor."""


class _Layer:
    """Draws one layer."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 21])
        self.net = Net(seed, str(self.rng.choice(["int8", "uint8"])))

    def any(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def zero(self) -> int | None:
        """Often at the ends of the range."""
        limits = (-128, 127) if self.net.dtype == "int8" else (0, 255)
        return int(self.rng.choice(limits)) if self.rng.random() < 0.4 else None

    def image(self, most: int = 70) -> tuple[int, int, int]:
        depth = self.any(1, most)
        side = max(1, int((_SIZE / depth) ** 0.5))
        return self.any(1, min(24, side)), self.any(1, min(24, side)), depth

    def window(self, height: int, width: int) -> tuple[list, list, list, list]:
        """Kernel, strides, dilations and pads with at least one output."""
        kernel, strides, dilations, pads = [], [], [], []
        for size in (height, width):
            k, d = self.any(1, 11), self.any(1, 3)
            while (k - 1) * d + 1 > 2 * size:
                k, d = max(1, k // 2), 1
            span = (k - 1) * d + 1
            least = max(0, span - size)
            before = self.any(0, span - 1) if span > 1 else 0
            after = max(self.any(0, span - 1) if span > 1 else 0, least - before)
            kernel, strides, dilations = [*kernel, k], [*strides, self.any(1, 3)], [*dilations, d]
            pads += [before, after]
        return kernel, strides, dilations, pads

    def conv(self) -> str:
        height, width, depth = self.image()
        groups = int(self.rng.choice([1, 1, depth, *(g for g in (2, 3, 5) if depth % g == 0)]))
        x = self.net.input(height, width, depth)
        kernel, strides, dilations, pads = self.window(height, width)
        channels = groups * self.any(1, max(1, 70 // groups))
        out = [
            (s + p + q - (k - 1) * d - 1) // t + 1
            for s, k, t, d, p, q in zip(
                (height, width), kernel, strides, dilations, pads[::2], pads[1::2], strict=True
            )
        ]
        each = out[0] * out[1] * kernel[0] * kernel[1] * depth // groups
        while channels > groups and channels * each > _MACS:
            channels = max(groups, channels // 2 // groups * groups)
        return self.net.conv(
            x, channels, tuple(kernel), tuple(strides), tuple(pads), tuple(dilations), groups
        )

    def dense(self) -> str:
        rows, depth = int(self.rng.choice([1, 1, self.any(2, 9)])), self.any(1, 400)
        x = self.net.input(1, rows, depth)
        return self.net.dense(x, self.any(1, max(1, min(70, _MACS // (rows * depth)))))

    def pool(self) -> str:
        height, width, depth = self.image()
        op = Op.MAX_POOL if self.rng.random() < 0.5 else Op.AVG_POOL
        x = self.net.input(height, width, depth)
        if self.rng.random() < 0.4:
            return self.net.pool(op, x, (height, width), (1, 1), (0, 0, 0, 0))
        kernel = tuple(self.any(1, min(n, 11)) for n in (height, width))
        pads = [self.any(0, k // 2) for k in np.repeat(kernel, 2)]
        return self.net.pool(op, x, kernel, (self.any(1, 3), self.any(1, 3)), tuple(pads))

    def add(self) -> str:
        shape = self.image()
        x = self.net.input(*shape)
        pick = self.any(0, 3)
        if pick == 0:
            other = x
        elif pick == 1:
            other = self.net.input(1, 1, shape[2])
        else:
            other = self.net.input(*shape)
        if pick == 3:
            x = self.net.conv(x, shape[2], (1, 1), pads=(0, 0, 0, 0), groups=shape[2])
        return self.net.binary(Op.ADD, x, other)

    def lut(self) -> str:
        return self.net.lut(self.net.input(*self.image()))

    def pad(self) -> str:
        x = self.net.input(*self.image(20))
        y = self.net.pad(x, tuple(self.any(0, 3) for _ in range(4)))
        return y if self.rng.random() < 0.5 else self.net.lut(y)

    def concat(self) -> str:
        height, width, depth = self.image(30)
        axis = self.any(0, 2)
        shapes = [[height, width, depth] for _ in range(self.any(2, 3))]
        for shape in shapes:
            shape[axis] = self.any(1, 9)
        names = [self.net.input(*shape) for shape in shapes]
        return self.net.concat(*names, axis=axis, tables=bool(self.rng.random() < 0.5))

    def reshape(self) -> str:
        height, width, depth = self.image()
        x = self.net.conv(self.net.input(height, width, 1), depth, (1, 1), pads=(0, 0, 0, 0))
        y = self.net.reshape(x, width, depth, height)
        return self.net.conv(y, 3, (3, 3), pads=(1, 1, 1, 1))


_KINDS = ("conv", "conv", "conv", "dense", "pool", "add", "lut", "pad", "concat", "reshape")


def random_layer(seed: int) -> Graph:
    """Draw a network of one layer, or a few that belong together."""
    layer = _Layer(seed)
    kind = str(layer.rng.choice(_KINDS))
    target = getattr(layer, kind)()
    return layer.net.graph(target)


def tiny_spec(seed: int) -> AcceleratorSpec:
    """Draw an array of 3x5 to 16x16 with memories of some hundred bytes to some KiB."""
    rng = np.random.default_rng([seed, 22])
    rows, columns = ((3, 5), (4, 4), (5, 3), (8, 8), (7, 6), (16, 16))[int(rng.integers(6))]
    lanes = int(rng.choice([n for n in range(1, columns + 1) if columns % n == 0]))
    array = ArraySpec(rows=rows, columns=columns, depthwise_lines=int(rng.choice([0, 2, 3])))
    unit = 2 * (1 << (max(rows, lanes, 4) - 1).bit_length())
    weights = -(-int(rows * columns * 2 ** rng.uniform(-0.5, 5)) // columns) * columns
    memory = MemorySpec(
        activation_regions=int(rng.integers(1, 4)),
        activation_bytes=max(64, int(64 * 2 ** rng.uniform(0, 5)) // unit * unit),
        weight_bytes=max(weights, -(-16 // columns) * columns),
        accumulator_depth=int(rng.choice([4, 5, 8, 16, 64])),
        parameter_channels=max(4, lanes * int(rng.integers(1, 2 * columns // lanes + 1))),
        command_words=int(rng.choice([64, 100, 300, 2000, 2000, 2000])),
        tables=int(rng.integers(1, 4)),
    )
    if memory.parameter_channels % lanes:
        memory = replace(memory, parameter_channels=-(-memory.parameter_channels // lanes) * lanes)
    bus = int(rng.choice([n for n in (4, 8, 16) if n <= unit // 2]))
    return AcceleratorSpec(
        array=array,
        post=PostSpec(lanes=lanes),
        memory=memory,
        external=ExternalSpec(data_bytes=bus),
        queue_depth=int(rng.integers(1, 5)),
    )
