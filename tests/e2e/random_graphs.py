"""Random small networks in the arithmetic of every profile, and small accelerators for them."""

from dataclasses import dataclass

import numpy as np
from graph_builder import Net

from systolith.arithmetic import BinaryArithmetic, Codes, PoolArithmetic, Requant
from systolith.graph import Graph, Op
from systolith.profiles.pooling import mean_double, mean_xnnpack
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec

_KIB = 1024
_MACS = 60_000
_SIZE = 1400
"""Most multiply-accumulates of a layer, and elements of a tensor."""


def _spec(
    rows: int,
    columns: int,
    lanes: int,
    *,
    pipelined: bool = False,
    lines: int = 0,
    width: int = 256,
    **memory: int,
):
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows,
            columns=columns,
            pipelined=pipelined,
            depthwise_lines=lines,
            depthwise_width=width,
        ),
        memory=MemorySpec(
            weight_bytes=columns * 8 * _KIB,
            parameter_channels=lanes * 256,
            command_words=16 * _KIB,
            tables=8,
            **memory,
        ),
        post=PostSpec(lanes=lanes, product=True),
        queue_depth=3 if pipelined else 1,
    )


SPECS = {
    "3x5": _spec(3, 5, 5, activation_regions=3, activation_bytes=3 * _KIB, accumulator_depth=5),
    "4x4": _spec(
        4, 4, 2, activation_regions=2, activation_bytes=6 * _KIB, accumulator_depth=9,
        pipelined=True,
    ),
    "5x3": _spec(5, 3, 1, activation_regions=1, activation_bytes=9 * _KIB, accumulator_depth=16),
}  # fmt: skip
"""Arrays that divide nothing evenly, with memories that a network of some layers fills."""

DEPTHWISE_SPECS = {
    "16x16": _spec(16, 16, 16, lines=3),
    "9x16": _spec(9, 16, 4, lines=3, accumulator_depth=16),
    "8x8": _spec(8, 8, 4, lines=2, width=9, accumulator_depth=20),
    "5x3": _spec(5, 3, 1, lines=2, width=6, accumulator_depth=7),
    "6x6": _spec(6, 6, 3, lines=3, width=5, activation_regions=1, accumulator_depth=9),
    "4x2": _spec(4, 2, 2, lines=4, width=4, accumulator_depth=4),
}
"""Arrays with depthwise mode; some of their lines and accumulators are short for the images."""


@dataclass(frozen=True)
class Style:
    """The formulas of one profile."""

    conv: str
    dense: str
    add: str
    sub: str
    mul: str
    average: str
    mean: str


STYLES = {
    "tflite-reference": Style(
        "double", "f64away", "tflite_add", "tflite_sub", "tflite_mul", "divide", "double"
    ),
    "tflm": Style("double", "double", "tflite_add", "tflite_sub", "tflm_mul", "divide", "double"),
    "tflite-xnnpack": Style(
        "float32", "float32", "xnnpack_add", "xnnpack_sub", "xnnpack_mul", "divide", "xnn_mean"
    ),
    "onnxruntime": Style(
        "float32", "float32", "onnxruntime_add", "", "onnxruntime_mul", "ort_average", "float32"
    ),
}


class RandomNet(Net):
    """Adds random operators; zero points and clamps are often at the ends of their ranges."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.profile = str(rng.choice(list(STYLES)))
        self.style = STYLES[self.profile]
        super().__init__(seed, str(rng.choice(["int8", "uint8"])), self.style.conv)

    def any(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True in that share of all cases."""
        return bool(self.rng.random() < share)

    def tensor(self, shape, zero=None, data=None):
        if zero is None and self.chance(0.3):
            zero = int(self.rng.choice(self.limits))
        return super().tensor(shape, zero, data)

    def requant(self, channels, depth, zero):
        """Scales of any size: codes spread, mostly saturated, or all next to the zero point."""
        if self.chance(0.3):
            zero = int(self.rng.choice(self.limits))
        made = super().requant(channels if self.chance(0.7) else 1, depth, zero)
        if self.chance(0.2):
            factor = 2.0 ** self.any(-6, 5)
            made = _scaled(made, factor)
        return made

    def mac(self, op, x, shape, weights, **attributes):
        self.formula = self.style.dense if op is Op.FULLY_CONNECTED else self.style.conv
        target = super().mac(op, x, shape, weights, **attributes)
        self.zero[target] = self.nodes[-1].arithmetic.requant.zero_point
        if self.chance(0.2):
            bias = self.nodes[-1].arithmetic.bias
            bias[:] = self.rng.integers(-(1 << 31), 1 << 31, bias.shape)
        return target

    def shape(self, x):
        return self.tensors[x].shape

    # One method per kind of layer; None if it cannot follow tensor x.

    def random_conv(self, x):
        height, width, depth = self.shape(x)
        groups = 1
        if self.chance(0.4):
            groups = int(self.rng.choice([g for g in range(1, depth + 1) if depth % g == 0]))
        channels = groups * self.any(1, max(1, min(3 if groups > 1 else 20, 40 // groups)))
        kernel, dilations, strides, pads = self.window(height, width, 7)
        rows, columns = self.extent((height, width), kernel, strides, pads, dilations)
        macs = rows * columns * channels * kernel[0] * kernel[1] * depth // groups
        if macs > _MACS or rows * columns * channels > _SIZE:
            return None
        kind = np.int8 if self.chance(0.7) else np.uint8
        return self.conv(x, channels, kernel, strides, pads, dilations, groups, kind)

    def random_depthwise(self, x):
        """Filters of one channel each; the array has a mode for most of the multipliers."""
        height, width, depth = self.shape(x)
        multiplier = int(self.rng.choice([1, 1, 1, 1, 2, 3, 4, 8]))
        kernel, dilations, strides, pads = self.window(height, width, 7, steps=5)
        if self.chance(0.4):
            kernel, dilations, pads = (3, 3), (1, 1), (1, 1, 1, 1)
        rows, columns = self.extent((height, width), kernel, strides, pads, dilations)
        size = rows * columns * depth * multiplier
        if min(rows, columns) < 1 or size * kernel[0] * kernel[1] > _MACS or size > _SIZE:
            return None
        kind = np.int8 if self.chance(0.7) else np.uint8
        channels = depth * multiplier
        return self.conv(x, channels, kernel, strides, pads, dilations, depth, kind)

    def random_blocks(self, x):
        """A convolution of groups that fill tiles, or more than tiles."""
        height, width, depth = self.shape(x)
        groups = int(self.rng.choice([g for g in range(1, depth + 1) if depth % g == 0]))
        channels = groups * self.any(1, 12)
        kernel, dilations, strides, pads = self.window(height, width, 3)
        rows, columns = self.extent((height, width), kernel, strides, pads, dilations)
        size = rows * columns * channels
        if size * kernel[0] * kernel[1] * depth // groups > _MACS or size > _SIZE:
            return None
        return self.conv(x, channels, kernel, strides, pads, dilations, groups)

    def window(self, height, width, most, *, dilated=True, steps=3):
        """Kernel, dilations, strides and pads with at least one position."""
        kernel, dilations, strides, pads = [], [], [], []
        for size in (height, width):
            k = self.any(1, most)
            d = self.any(1, 3) if dilated and self.chance(0.3) else 1
            span = (k - 1) * d + 1
            before = self.any(0, span - 1) if self.chance(0.7) else 0
            after = self.any(0, span - 1) if self.chance(0.7) else 0
            if size + before + after < span:
                k, d, before, after = min(k, size), 1, 0, 0
            kernel.append(k)
            dilations.append(d)
            strides.append(self.any(1, steps))
            pads += [before, after]
        return tuple(kernel), tuple(dilations), tuple(strides), tuple(pads)

    def random_dense(self, x):
        size, depth = self.tensors[x].size, self.shape(x)[2]
        rows = size // depth if self.chance(0.5) else 1
        flat = self.reshape(x, 1, rows, size // rows)
        channels = self.any(1, 30)
        if channels * size > _MACS or channels * rows > _SIZE:
            return flat
        return self.dense(flat, channels)

    def random_max_pool(self, x):
        height, width, _ = self.shape(x)
        kernel, dilations, strides, pads = self.window(height, width, 4)
        if any(p >= k for p, k in zip(pads, np.repeat(kernel, 2), strict=True)):
            pads = (0, 0, 0, 0)
        if min(self.extent((height, width), kernel, strides, pads, dilations)) < 1:
            return None
        return self.pool(Op.MAX_POOL, x, kernel, strides, pads, dilations)

    def random_average(self, x):
        """An average of windows, or of the whole image in the profile's own formula."""
        height, width, depth = self.shape(x)
        whole = self.chance(0.4)
        if whole:
            kernel, strides, pads = (height, width), (1, 1), (0, 0, 0, 0)
        else:
            kernel, _, strides, pads = self.window(height, width, 4, dilated=False)
            if any(p >= k for p, k in zip(pads, np.repeat(kernel, 2), strict=True)):
                pads = (0, 0, 0, 0)
            if min(self.extent((height, width), kernel, strides, pads, (1, 1))) < 1:
                return None
        target = self.pool(Op.AVG_POOL, x, kernel, strides, pads)
        formula = self.style.mean if whole else self.style.average
        if formula != "divide":
            self.zero[target] = zero = self.any(*self.limits)
            out = Codes(dtype=self.dtype, scale=float(np.float32(0.04)), zero_point=zero)
            source = self.codes(x, 0.05)
            counts = range(1, kernel[0] * kernel[1] + 1)
            arithmetic = PoolArithmetic(
                input_zero_point=0 if formula == "xnn_mean" else source.zero_point,
                requants={n: _average(formula, source, out, n) for n in counts},
                source=(source, out),
            )
            object.__setattr__(self.nodes[-1], "arithmetic", arithmetic)
        return target

    def random_add(self, x):
        shape = self.shape(x)
        same = [n for n in self.tensors if self.shape(n) == shape and n != x]
        pick = self.rng.random()
        if same and pick < 0.5:
            other = str(self.rng.choice(same))
        elif pick < 0.6:
            other = x
        elif pick < 0.7:
            other = self.input(1, 1, shape[2])
        else:
            other = self.conv(x, shape[2], (1, 1), pads=(0, 0, 0, 0))
        operands = (x, other) if self.chance(0.5) else (other, x)
        if self.style.sub and self.chance(0.3):
            return self.binary(Op.SUB, *operands, self.style.sub)
        return self.binary(Op.ADD, *operands, self.style.add)

    def random_product(self, x):
        """By a tensor or a constant of the same shape, or with sides of 1; a square; a swish."""
        height, width, depth = shape = self.shape(x)
        sides = [(1, 1, depth), (height, width, 1), (1, width, depth), (1, 1, 1), shape]
        wanted = sides[self.any(0, 4)]
        pick = self.rng.random()
        if pick < 0.1:
            other = self.lut(x) if self.chance(0.5) else x
        elif pick < 0.4 and wanted == shape:
            other = self.conv(x, depth, (1, 1), pads=(0, 0, 0, 0))
        elif pick < 0.5 and np.prod(wanted) < 100:
            other = self.tensor(wanted, data=self.weights(*wanted, dtype=np.dtype(self.dtype)))
        else:
            other = self.input(*wanted)
        operands = (x, other) if self.chance(0.5) else (other, x)
        return self.binary(Op.MUL, *operands, self.style.mul)

    def binary(self, op, a, b, formula="tflite_add"):
        target = super().binary(op, a, b, formula)
        k = self.nodes[-1].arithmetic
        if self.chance(0.3):  # ties: scales that are powers of two
            a_scale, b_scale, out = (2.0 ** self.any(-5, -3) for _ in range(3))
            codes = (
                Codes(dtype=c.dtype, scale=s, zero_point=c.zero_point)
                for c, s in zip((k.a, k.b, k.out), (a_scale, b_scale, out), strict=True)
            )
            a_codes, b_codes, out_codes = codes
            k = BinaryArithmetic(
                formula=formula, a=a_codes, b=b_codes, out=out_codes, low=k.low, high=k.high
            )
            object.__setattr__(self.nodes[-1], "arithmetic", k)
        return target

    def random_table(self, x):
        if self.chance(0.7):
            return self.lut(x)
        info = np.iinfo(self.dtype)
        value = np.full((1, 1, 1), self.any(info.min, info.max), self.dtype)
        return self.binary(Op.MUL, x, self.tensor((1, 1, 1), data=value), self.style.mul)

    def random_pad(self, x):
        pads = tuple(self.any(0, 2) for _ in range(4))
        channels = (self.any(0, 2), self.any(0, 2)) if self.chance(0.3) else (0, 0)
        return self.pad(x, pads, channels)

    def random_concat(self, x):
        axis = self.any(0, 2)
        shape = list(self.shape(x))
        others = [
            n
            for n in self.tensors
            if all(self.shape(n)[i] == shape[i] for i in range(3) if i != axis)
            and self.tensors[n].data is None
        ]
        names = [x, *self.rng.choice(others, self.any(1, 2))]
        self.rng.shuffle(names)
        return self.concat(*map(str, names), axis=axis, tables=self.chance(0.3))

    def random_reshape(self, x):
        height, width, depth = self.shape(x)
        shapes = [(1, 1, height * width * depth), (1, height * width, depth)]
        shapes += [(width, height, depth), (height, depth, width)]
        return self.reshape(x, *shapes[self.any(0, 3)])


def _scaled(made: Requant, factor: float) -> Requant:
    from dataclasses import replace

    return replace(
        made,
        scale=(made.scale * factor).astype(made.scale.dtype),
        shift=made.shift + int(np.log2(factor)),
    )


def _average(formula: str, source: Codes, out: Codes, count: int) -> Requant:
    """The requantizer of a mean over `count` codes."""
    if formula == "double":
        return mean_double(source, out, count)
    if formula == "xnn_mean":
        return mean_xnnpack(source, out, count)
    scale = np.float32(source.scale) / (np.float32(count) * np.float32(out.scale))
    plain = {"zero_point": out.zero_point, "low": out.low, "high": out.high}
    if formula == "float32":
        return Requant(formula="float32", scale=np.atleast_1d(scale), **plain)
    return Requant(
        formula="ort_average",
        scale=np.atleast_1d(np.float32(source.scale)),
        divisor=count,
        offset=float(out.zero_point),
        output_scale=out.scale,
        zero_point=0,
        low=out.low,
        high=out.high,
    )


_KINDS = ("conv", "conv", "conv", "depthwise", "depthwise", "depthwise", "blocks", "dense",
          "max_pool", "average", "add", "add", "product", "product", "table", "pad", "concat",
          "reshape")  # fmt: skip


def random_graph(seed: int) -> Graph:
    """Draw a network of one to five layers; all tensors that nothing reads are outputs."""
    net = RandomNet(seed)
    few = net.chance(0.2)  # channels of a first layer
    x = net.input(net.any(1, 11), net.any(1, 9), net.any(1, 3 if few else 20))
    made = [x]
    for _ in range(net.any(1, 5)):
        source = made[-1] if net.chance(0.8) else str(net.rng.choice(made))
        target = getattr(net, f"random_{net.rng.choice(_KINDS)}")(source)
        if target is not None and net.tensors[target].size <= 2 * _SIZE:
            made.append(target)
    if not net.nodes:
        net.conv(x, 3, (1, 1), pads=(0, 0, 0, 0))
    read = {name for node in net.nodes for name in node.inputs}
    written = [name for node in net.nodes for name in node.outputs]
    net.inputs = [name for name in net.inputs if name in read]
    return net.graph(*(name for name in written if name not in read))


def random_inputs(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """Draw inputs over the whole range, or at its two ends only."""
    rng = np.random.default_rng([seed, 2])
    result = {}
    for name in graph.inputs:
        tensor = graph.tensor(name)
        info = np.iinfo(tensor.dtype)
        values = rng.integers(info.min, info.max + 1, tensor.shape)
        if seed % 5 == 4:
            values = np.where(values > 0, info.max, info.min)
        result[name] = values.astype(tensor.dtype)
    return result
