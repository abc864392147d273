"""Random networks with two of four weights, and accelerators that take them."""

from dataclasses import replace

import numpy as np
from graph_builder import Net
from random_layers import tiny_spec

from systolith.graph import Graph, Op
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import WeightFormat

__all__ = ["random_network", "sparse_spec"]

_DENSE = 0.15
"""Share of the layers whose weights are not pruned."""


class _Network:
    """Draws layers, one after the other."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 31])
        self.net = Net(seed, str(self.rng.choice(["int8", "uint8"])))
        self.net.weights = self.weights

    def any(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def channels(self) -> int:
        """A multiple of 4 most of the time, often of more."""
        return int(self.rng.choice([4, 8, 8, 12, 16, 16, 20, 24, 32, 7, 40]))

    def weights(self, *shape: int, dtype: type = np.int8) -> np.ndarray:
        """Of four neighbours at most two are not 0."""
        values = self.rng.integers(-128, 128, shape)
        if self.rng.random() > _DENSE and shape[-1] % 4 == 0:
            fours = values.reshape(-1, 4)
            order = self.rng.permuted(np.broadcast_to(np.arange(4), fours.shape), axis=1)
            np.put_along_axis(fours, order[:, :2], 0, axis=1)
        return values.astype(dtype)

    def conv(self, x: str) -> str:
        height, width, depth = self.net.tensors[x].shape
        kernel, strides, dilations, pads = [], [], [], []
        for size in (height, width):
            k = self.any(1, min(5, 2 * size))
            d = self.any(1, 2) if (k - 1) * 2 < size else 1
            before, after = self.any(0, k // 2), self.any(0, k // 2)
            if (k - 1) * d + 1 > size + before + after:
                k, d = 1, 1
            kernel.append(k)
            dilations.append(d)
            strides.append(self.any(1, 2))
            pads += [before, after]
        groups = 2 if depth % 8 == 0 and self.rng.random() < 0.1 else 1
        channels = groups * -(-self.channels() // groups)
        return self.net.conv(
            x, channels, tuple(kernel), tuple(strides), tuple(pads), tuple(dilations), groups
        )

    def residual(self, x: str) -> str:
        depth = self.net.tensors[x].shape[2]
        return self.net.binary(Op.ADD, self.net.conv(x, depth), x)

    def beside(self, x: str) -> str:
        """Tensors inside another, whose vectors begin anywhere."""
        return self.net.concat(self.net.conv(x, self.channels()), self.net.conv(x, self.any(1, 9)))

    def part(self, x: str) -> str:
        depth = self.net.tensors[x].shape[2]
        first = self.any(0, depth - 1)
        return self.net.gather(x, self.net.places(x)[:, :, first : first + self.any(1, 16)])


def random_network(seed: int) -> Graph:
    """Draw a network of a few layers, most of them pruned."""
    draw = _Network(seed)
    x = draw.net.input(draw.any(1, 7), draw.any(1, 7), draw.channels())
    for _ in range(draw.any(1, 3)):
        kind = str(draw.rng.choice(["conv", "conv", "conv", "residual", "beside", "part"]))
        x = getattr(draw, kind)(x)
    if draw.rng.random() < 0.5:
        size = draw.net.tensors[x].size
        x = draw.net.reshape(x, 1, 1, size)
        x = draw.net.dense(x, draw.any(1, 12))
    return draw.net.graph(x)


def sparse_spec(seed: int) -> AcceleratorSpec:
    """Draw an accelerator that takes two of four weights, with little memory or enough."""
    spec = tiny_spec(seed)
    formats = frozenset({WeightFormat.DENSE, WeightFormat.TWO_OF_FOUR})
    rows = spec.array.rows + spec.array.rows % 2
    array = replace(spec.array, rows=rows, weight_formats=formats)
    memory = spec.memory
    if seed % 2:
        memory = replace(
            memory,
            activation_bytes=1 << 14,
            weight_bytes=spec.array.columns << 12,
            parameter_channels=64 * spec.post.lanes,
            command_words=4000,
        )
    return replace(spec, array=array, memory=memory)
