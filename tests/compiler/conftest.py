"""A builder of small random graphs, and the comparison of golden with the runtime's formulas."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    ConcatArithmetic,
    LutArithmetic,
    MacArithmetic,
    MaxPoolArithmetic,
    PadArithmetic,
    PoolArithmetic,
    Requant,
    SoftmaxArithmetic,
)
from systolith.compiler.compile import compile_graph
from systolith.golden.execute import execute
from systolith.graph import Graph, Node, Op, Tensor
from systolith.profiles.multipliers import quantize_multiplier
from systolith.profiles.reference import evaluate_graph


@dataclass
class Net:
    """Adds one operator at a time; every method returns the new tensor's name."""

    seed: int
    dtype: str = "int8"
    formula: str = "double"
    nodes: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)
    inputs: list = field(default_factory=list)

    def __post_init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.zero = {}

    @property
    def limits(self):
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def tensor(self, shape, zero=None, data=None):
        name = f"t{len(self.tensors)}"
        self.tensors[name] = Tensor(
            name=name, shape=tuple(shape), dtype=self.dtype, data=data, source_shape=(1, *shape)
        )
        self.zero[name] = int(self.rng.integers(*self.limits)) if zero is None else zero
        return name

    def input(self, *shape):
        name = self.tensor(shape)
        self.inputs.append(name)
        return name

    def node(self, op, inputs, shape, arithmetic=None, zero=None, **attributes):
        target = self.tensor(shape, zero)
        self.nodes.append(
            Node(
                name=f"{op}{len(self.nodes)}",
                op=op,
                inputs=tuple(inputs),
                outputs=(target,),
                attributes=attributes,
                arithmetic=arithmetic,
            )
        )
        return target

    def requant(self, channels, depth, zero):
        scale = self.rng.uniform(0.2, 2.0, channels) * 60 / (5000 * np.sqrt(depth))
        multiplier, shift = quantize_multiplier(scale)
        low, high = self.limits
        if self.rng.integers(2):
            low = max(low, zero)
        if self.formula == "float32":
            scale = scale.astype(np.float32)
        return Requant(
            formula=self.formula,
            zero_point=zero,
            low=low,
            high=high,
            scale=scale,
            multiplier=multiplier,
            shift=shift,
        )

    def mac(self, op, x, shape, weights, **attributes):
        channels = len(weights)
        zero = int(self.rng.integers(*self.limits))
        weight_zero = 0 if weights.dtype == np.int8 else int(self.rng.integers(0, 256))
        arithmetic = MacArithmetic(
            weights=weights,
            weight_zero_point=weight_zero,
            bias=self.rng.integers(-3000, 3000, channels).astype(np.int32),
            input_zero_point=self.zero[x],
            requant=self.requant(channels, weights[0].size, zero),
        )
        return self.node(op, [x], shape, arithmetic, zero, **attributes)

    def weights(self, *shape, dtype=np.int8):
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max + 1, shape).astype(dtype)

    def conv(
        self, x, channels, kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1),
        groups=1, dtype=np.int8,
    ):  # fmt: skip
        height, width, depth = self.tensors[x].shape
        rows, columns = self.extent((height, width), kernel, strides, pads, dilations)
        weights = self.weights(channels, *kernel, depth // groups, dtype=dtype)
        return self.mac(
            Op.CONV2D, x, (rows, columns, channels), weights, kernel=kernel, strides=strides,
            pads=pads, dilations=dilations, groups=groups,
        )  # fmt: skip

    @staticmethod
    def extent(size, kernel, strides, pads, dilations):
        return tuple(
            (n + before + after - (k - 1) * d - 1) // s + 1
            for n, k, s, d, before, after in zip(
                size, kernel, strides, dilations, pads[::2], pads[1::2], strict=True
            )
        )

    def dense(self, x, channels):
        _, rows, depth = self.tensors[x].shape
        weights = self.weights(channels, 1, 1, depth)
        return self.mac(Op.FULLY_CONNECTED, x, (1, rows, channels), weights)

    def codes(self, name, scale):
        return Codes(dtype=self.dtype, scale=float(np.float32(scale)), zero_point=self.zero[name])

    def pool(self, op, x, kernel, strides, pads, dilations=(1, 1)):
        height, width, depth = self.tensors[x].shape
        rows, columns = self.extent((height, width), kernel, strides, pads, dilations)
        low, high = self.limits
        arithmetic = MaxPoolArithmetic(low=low + 3, high=high - 2)
        if op is Op.AVG_POOL:
            requants = {
                n: Requant(
                    formula="divide", zero_point=0, low=low, high=high - 1, scale=np.ones(1) / n,
                    divisor=n,
                )
                for n in range(1, kernel[0] * kernel[1] + 1)
            }  # fmt: skip
            codes = self.codes(x, 1.0)
            arithmetic = PoolArithmetic(
                input_zero_point=0, requants=requants, source=(codes, codes)
            )
        return self.node(
            op, [x], (rows, columns, depth), arithmetic, self.zero[x], kernel=kernel,
            strides=strides, pads=pads, dilations=dilations,
        )  # fmt: skip

    def binary(self, op, a, b, formula="tflite_add"):
        shape = np.broadcast_shapes(self.tensors[a].shape, self.tensors[b].shape)
        zero = int(self.rng.integers(*self.limits))
        low, high = self.limits
        scales = self.rng.uniform(0.02, 0.1, 3)
        target = self.node(op, [a, b], shape, None, zero)
        arithmetic = BinaryArithmetic(
            formula=formula, a=self.codes(a, scales[0]), b=self.codes(b, scales[1]),
            out=self.codes(target, scales[2]), low=max(low, zero), high=high,
        )  # fmt: skip
        object.__setattr__(self.nodes[-1], "arithmetic", arithmetic)
        return target

    def lut(self, x):
        table = self.rng.integers(0, 256, 256).astype(np.uint8)
        arithmetic = LutArithmetic(table=table, formula="random")
        return self.node(Op.LUT, [x], self.tensors[x].shape, arithmetic)

    def pad(self, x, pads, channel_pads=(0, 0)):
        height, width, depth = self.tensors[x].shape
        shape = height + pads[0] + pads[1], width + pads[2] + pads[3], depth + sum(channel_pads)
        value = int(self.rng.integers(*self.limits))
        return self.node(
            Op.PAD, [x], shape, PadArithmetic(value=value), self.zero[x], pads=pads,
            channel_pads=channel_pads,
        )  # fmt: skip

    def concat(self, *names, axis=2, tables=False):
        shape = list(self.tensors[names[0]].shape)
        shape[axis] = sum(self.tensors[n].shape[axis] for n in names)
        mapped = tuple(
            self.rng.integers(0, 256, 256).astype(np.uint8) if tables and i % 2 else None
            for i in range(len(names))
        )
        return self.node(Op.CONCAT, names, shape, ConcatArithmetic(tables=mapped), axis=axis)

    def softmax(self, x, formula="tflite_reference", scale=0.1):
        zero = self.limits[0]
        out = Codes(dtype=self.dtype, scale=1 / 256, zero_point=zero)
        arithmetic = SoftmaxArithmetic(
            formula=formula, beta=1.0, codes=self.codes(x, scale), out=out
        )
        return self.node(Op.SOFTMAX, [x], self.tensors[x].shape, arithmetic, zero)

    def reshape(self, x, *shape):
        return self.node(Op.RESHAPE, [x], shape, None, self.zero[x])

    def places(self, x):
        """Places of a tensor's elements, in its shape: what numpy makes of it can be gathered."""
        return np.arange(self.tensors[x].size).reshape(self.tensors[x].shape)

    def gather(self, x, places):
        index = places.reshape(-1).astype(np.int64)
        return self.node(Op.GATHER, [x], places.shape, None, self.zero[x], index=index)

    def graph(self, *outputs):
        return Graph(
            name="net", nodes=tuple(self.nodes), tensors=self.tensors, inputs=tuple(self.inputs),
            outputs=outputs, profile="test",
        ).validate()  # fmt: skip


def compare(graph, spec, *, fuse=True, inputs=None):
    """Compile, run golden on random inputs, and require every layer's tensor to be right."""
    model = compile_graph(graph, spec, fuse=fuse)
    rng = np.random.default_rng(7)
    if inputs is None:
        inputs = {}
        for name in graph.inputs:
            tensor = graph.tensor(name)
            info = np.iinfo(tensor.dtype)
            values = rng.integers(info.min, info.max + 1, tensor.shape)
            inputs[name] = values.astype(tensor.dtype)
    wanted = evaluate_graph(graph, inputs) | inputs
    capture = [layer.tensor for layer in model.program.layers]
    given = {name: wanted[name] for name in model.program.inputs}
    found = execute(model.program, given, capture=capture)
    for name in (*capture, *model.program.outputs):
        message = f"{name} differs"
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=message)
    return model


@pytest.fixture(scope="session")
def nets():
    """``nets.Net`` builds graphs, ``nets.compare`` compiles and checks them."""
    return SimpleNamespace(Net=Net, compare=compare)
