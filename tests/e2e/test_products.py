"""Products of tensors from files: runtime, golden, Verilator and cycle model must agree.

Random networks of products (same shapes, a value a channel, a pixel or in all, constants, squares;
fused behind a convolution or alone), and squeeze-and-excite blocks, as TFLite and ONNX files.
"""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith.compiler.compile import compile_graph
from systolith.cycles import predict
from systolith.graph import Graph
from systolith.host import run_model
from systolith.importers.onnx import import_onnx
from systolith.importers.tflite import import_tflite
from systolith.profiles import get_profile
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime
from systolith.sim.backend import Backend
from systolith.sim.backends import get_backend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec

PROFILES = ("tflite-reference", "tflite-xnnpack", "tflm")
SPEC = AcceleratorSpec(
    array=ArraySpec(rows=4, columns=6),
    memory=MemorySpec(
        activation_bytes=16384, weight_bytes=6 * 4096, parameter_channels=1536, tables=8
    ),
    post=PostSpec(lanes=3, product=True),
)
MICROSOFT = "com.microsoft"


@pytest.fixture(scope="module")
def backends() -> dict[str, Backend]:
    """One backend of each kind for all networks."""
    return {name: get_backend(name) for name in ("golden", "verilator")}


def verify(graph: Graph, backends: dict[str, Backend], seed: int, *, fuse: bool = True) -> int:
    """Compare every visible tensor of three inputs; return the number of values."""
    rng = np.random.default_rng([seed, 9])
    model = compile_graph(graph, SPEC, fuse=fuse)
    assert not [note for note in model.notes if note.where == "host"]
    compared = 0
    for _ in range(3):
        inputs = {}
        for name in graph.inputs:
            tensor = graph.tensors[name]
            info = np.iinfo(tensor.dtype)
            codes = rng.integers(info.min, info.max + 1, tensor.source_shape)
            inputs[name] = codes.astype(tensor.dtype)
        canonical = {n: graph.tensors[n].canonical(v) for n, v in inputs.items()}
        # The runtimes that show no more than outputs: the formulas for what lies between.
        wanted = evaluate_graph(graph, canonical)
        for name, value in run_runtime(graph, inputs).items():
            live = graph.tensors[name].canonical(value)
            np.testing.assert_array_equal(wanted[name], live, err_msg=f"seed {seed}: {name}")
        for way, backend in backends.items():
            run = run_model(model, backend, canonical, capture=True)
            for name in (n for node in graph for n in node.outputs if n not in model.hidden):
                message = f"seed {seed}, {way}: {name}"
                np.testing.assert_array_equal(run.tensors[name], wanted[name], err_msg=message)
                compared += wanted[name].size
        predicted = predict(model.program)
        assert (predicted.cycles, predicted.stamps) == (run.result.cycles, run.result.stamps)
    return compared


@dataclass
class Tflite:
    """Adds operators to a TFLite file; every method returns the new tensor's index."""

    writer: ModuleType
    rng: np.random.Generator
    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)

    def tensor(self, *shape: int, scale: float = 0.0, zero: int | None = None, data: Any = None):
        zero = (
            int(self.rng.choice([-128, 127, *self.rng.integers(-128, 128, 3)]))
            if (zero is None)
            else zero
        )
        scale = scale or float(self.rng.choice([self.rng.uniform(0.01, 0.1), 1 / 16, 3 / 64]))
        self.tensors.append(self.writer.T(shape, scale=scale, zero=zero, data=data))
        return len(self.tensors) - 1

    def constant(self, *shape: int):
        return self.tensor(*shape, data=self.rng.integers(-128, 128, shape).astype(np.int8))

    def operator(self, kind: str, inputs: tuple, out: int, options: str, *fields):
        self.operators.append(self.writer.O(kind, inputs, (out,), options, fields))
        return out

    def conv(self, x: int, channels: int, activation: int = 0):
        _, height, width, depth = self.tensors[x].shape
        weights = self.constant(channels, 1, 1, depth)
        self.tensors[weights] = self.writer.T(
            (channels, 1, 1, depth), scale=0.01, zero=0, data=self.tensors[weights].data
        )
        bias = self.rng.integers(-900, 900, channels).astype(np.int32)
        scale = 0.01 * self.tensors[x].scale
        self.tensors.append(self.writer.T((channels,), "int32", scale=scale, zero=0, data=bias))
        out = self.tensor(1, height, width, channels, scale=float(scale * 9 * np.sqrt(depth)))
        fields = (("StrideH", 1), ("StrideW", 1), ("DilationHFactor", 1), ("DilationWFactor", 1))
        return self.operator(
            "CONV_2D", (x, weights, len(self.tensors) - 2), out, "Conv2DOptions", *fields,
            ("FusedActivationFunction", activation),
        )  # fmt: skip

    def multiply(self, a: int, b: int):
        one, two = self.tensors[a], self.tensors[b]
        shape = np.broadcast_shapes(one.shape, two.shape)
        # From a few codes to many times what a code can be.
        reach = one.scale * two.scale * float(self.rng.choice([16, 64, 100, 256, 700]))
        out = self.tensor(*shape, scale=reach)
        activation = ("FusedActivationFunction", int(self.rng.choice([0, 0, 1, 3])))
        return self.operator("MUL", (a, b), out, "MulOptions", activation)

    def graph(self, profile: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Graph:
        data = self.writer.write_tflite(self.tensors, self.operators, inputs, outputs)
        return import_tflite(data, get_profile(profile), name="test")


def products(writer: ModuleType, seed: int, profile: str) -> Graph:
    """A network of eight products of random shapes and scales."""
    net = Tflite(writer, np.random.default_rng(seed))
    height, width, depth = (int(n) for n in net.rng.integers(2, 8, 3))
    x, y = net.tensor(1, height, width, depth), net.tensor(1, height, width, depth)
    gate, mask = net.tensor(1, 1, 1, depth), net.tensor(1, height, width, 1)
    scalar, row = net.tensor(1, 1, 1, 1), net.tensor(1, 1, width, depth)
    fused = net.multiply(net.conv(x, depth), y)
    chain = net.multiply(gate, fused)
    others = [
        net.multiply(chain, net.constant(1, 1, 1, depth)),
        net.multiply(mask, chain),
        net.multiply(y, scalar),
        net.multiply(net.constant(1, height, 1, depth), row),
        net.multiply(y, y),
        net.multiply(x, net.constant(1, 1, 1, 1)),
    ]
    return net.graph(profile, (x, y, gate, mask, scalar, row), tuple(others))


@pytest.mark.parametrize("profile", PROFILES)
def test_random_products(writer: ModuleType, backends: dict[str, Backend], profile: str) -> None:
    for seed in range(3):
        graph = products(writer, seed, profile)
        assert verify(graph, backends, seed, fuse=seed != 1) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_many_random_products(
    writer: ModuleType, backends: dict[str, Backend], profile: str
) -> None:
    for seed in range(100, 140):
        verify(products(writer, seed, profile), backends, seed, fuse=bool(seed % 3))


@pytest.mark.parametrize("profile", PROFILES)
def test_squeeze_and_excite_tflite(
    writer: ModuleType, backends: dict[str, Backend], profile: str
) -> None:
    """Mean, two layers on its channels, logistic, and the product with what was averaged."""
    net = Tflite(writer, np.random.default_rng(21))
    x = net.tensor(1, 6, 5, 9)
    body = net.conv(x, 9, activation=1)
    axes = writer.T((2,), "int32", data=np.array([1, 2], np.int32))
    net.tensors.append(axes)
    source = net.tensors[body]
    pooled = net.tensor(1, 1, 1, 9, scale=source.scale * 0.3137, zero=source.zero)
    fields = ("KeepDims", True)
    net.operator("MEAN", (body, len(net.tensors) - 2), pooled, "ReducerOptions", fields)
    gate = net.tensor(1, 1, 1, 9, scale=1 / 256, zero=-128)
    net.operator("LOGISTIC", (net.conv(net.conv(pooled, 4, activation=1), 9),), gate, "")
    out = net.conv(net.multiply(body, gate), 5)
    graph = net.graph(profile, (x,), (out,))
    assert [str(node.op) for node in graph].count("mul") == 1
    assert verify(graph, backends, 21) > 1000


def excite(dtype: str, *, float_form: bool) -> bytes:
    """A squeeze-and-excite block as an ONNX file, in QOperator form or as QDQ."""
    rng = np.random.default_rng(5)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(value: Any, kind: str) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, kind), f"c{len(constants)}"))
        return constants[-1].name

    def codes(scale: float, zero: int, kind: str = dtype) -> list[str]:
        return [constant(scale, "float32"), constant(zero, kind)]

    def node(kind: str, inputs: list[str], output: str, domain: str = "") -> str:
        nodes.append(helper.make_node(kind, inputs, [output], f"n{len(nodes)}", domain=domain))
        return output

    middle = 0 if dtype == "int8" else 128
    quantized = {
        "x": codes(0.05, middle - 7),
        "body": codes(0.04, middle - 128),
        "pooled": codes(0.02, middle - 128),
        "fewer": codes(0.03, middle - 128),
        "more": codes(0.06, middle + 11),
        "gate": codes(1 / 256, middle - 128),
        "y": codes(0.03, middle - 128),
    }

    def operator(kind: str, op: str, names: tuple[str, ...], out: str, *extra: str) -> None:
        """``out = op(names)`` in the chosen form; ``extra`` are weights and their codes."""
        if not float_form:
            inputs = [i for n in names for i in (n, *quantized[n])]
            domain = "" if kind == "QLinearConv" else MICROSOFT
            node(kind, [*inputs, *extra[:3], *quantized[out], *extra[3:]], out, domain)
            return
        inputs = [node("DequantizeLinear", [n, *quantized[n]], f"{n}_{out}") for n in names]
        if extra:
            inputs += [node("DequantizeLinear", list(extra[:3]), f"w_{out}")]
        result = node(op, inputs, f"{out}_float")
        node("QuantizeLinear", [result, *quantized[out]], out)

    def conv(source: str, target: str, outputs: int, inputs: int) -> None:
        weights = constant(rng.integers(-127, 128, (outputs, inputs, 1, 1)), "int8")
        operator("QLinearConv", "Conv", (source,), target, weights, *codes(0.01, 0, "int8"))

    conv("x", "body", 9, 6)
    operator("QLinearGlobalAveragePool", "GlobalAveragePool", ("body",), "pooled")
    conv("pooled", "fewer", 4, 9)
    conv("fewer", "more", 9, 4)
    operator("QLinearSigmoid", "Sigmoid", ("more",), "gate")
    operator("QLinearMul", "Mul", ("body", "gate"), "y")
    kind = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}[dtype]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, (1, 6, 5, 4))],
        [helper.make_tensor_value_info("y", kind, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


@pytest.mark.parametrize("float_form", [False, True], ids=["qoperator", "qdq"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_squeeze_and_excite_onnx(
    backends: dict[str, Backend], dtype: str, float_form: bool
) -> None:
    graph = import_onnx(excite(dtype, float_form=float_form), get_profile("onnxruntime"), name="se")
    assert [str(node.op) for node in graph].count("mul") == 1
    assert verify(graph, backends, 5) > 1000
