"""Single operators of random shape and scale, against the live onnxruntime."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import helper

from systolith.graph import Graph, Op
from systolith.importers.onnx import import_onnx
from systolith.profiles import get_profile
from systolith.profiles.formulas import requantize_codes
from systolith.profiles.pooling import average_pool_bounds, average_window
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime

MICROSOFT = "com.microsoft"
Model = Any
"""Of the module onnx_writer."""


def check(data: bytes, inputs: dict[str, np.ndarray]) -> Graph:
    """Compare every tensor of the runtime with the formulas', for all samples."""
    graph = import_onnx(data, get_profile("onnxruntime"), name="test")
    expected = run_runtime(graph, inputs)
    for index in range(len(next(iter(inputs.values())))):
        given = {n: graph.tensors[n].canonical(v[index : index + 1]) for n, v in inputs.items()}
        values = evaluate_graph(graph, given)
        for name, want in expected.items():
            got = graph.tensors[name].source(values[name])
            np.testing.assert_array_equal(got[0], want[index], err_msg=f"{name}, sample {index}")
    return graph


def random_codes(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def zero_of(rng: np.random.Generator, dtype: str) -> int:
    return int(random_codes(rng, dtype, 1)[0])


@pytest.mark.parametrize("types", [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])
@pytest.mark.parametrize("seed", range(8))
def test_conv(onnx_writer: ModuleType, types: tuple[str, str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2, 6]))
    channels = groups * int(rng.integers(1, 5))
    kernel = [int(v) for v in rng.integers(1, 4, 2)]
    weights = random_codes(rng, types[1], channels, 6 // groups, *kernel)
    scales = rng.uniform(0.001, 0.02, channels if seed % 2 else 1).astype(np.float32)
    model = onnx_writer.Model()
    zeros = np.full(scales.shape, 0 if types[1] == "int8" else 131)
    shapes = {} if seed % 2 else {"auto_pad": "SAME_UPPER"}
    if seed % 2:
        shapes["pads"] = [int(v) for v in rng.integers(0, 3, 4)]
        shapes["dilations"] = [2, 1]
    model.add(
        "QLinearConv",
        [
            "x",
            *model.codes(rng.uniform(0.01, 0.1), zero_of(rng, types[0]), types[0]),
            model.constant(weights, types[1]),
            *(model.codes(scales, zeros, types[1])),
            *model.codes(rng.uniform(0.05, 0.2), zero_of(rng, types[0]), types[0]),
            model.constant(rng.integers(-5000, 5000, channels), "int32"),
        ],
        "y",
        group=groups,
        kernel_shape=kernel,
        strides=[int(v) for v in rng.integers(1, 3, 2)],
        **shapes,
    )
    data = model.bytes({"x": (types[0], ("N", 6, 9, 8))}, {"y": types[0]})
    check(data, {"x": random_codes(rng, types[0], 4, 6, 9, 8)})


@pytest.mark.parametrize("types", [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
@pytest.mark.parametrize("kind", ["QLinearMatMul", "QGemm"])
def test_matrix(onnx_writer: ModuleType, types: tuple[str, str], kind: str) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        depth, columns = (int(v) for v in rng.integers(2, 60, 2))
        model = onnx_writer.Model()
        weights = random_codes(rng, types[1], depth, columns)
        scales = rng.uniform(0.001, 0.02, columns if seed % 2 else 1).astype(np.float32)
        zeros = np.full(scales.shape, zero_of(rng, types[1]))
        a = model.codes(rng.uniform(0.01, 0.1), zero_of(rng, types[0]), types[0])
        y = model.codes(rng.uniform(0.05, 0.2), zero_of(rng, types[0]), types[0])
        if kind == "QGemm":
            turned = bool(seed % 3 == 0)
            w = [model.constant(weights.T if turned else weights, types[1])]
            w += [*model.codes(scales, zeros, types[1])]
            bias = model.constant(rng.integers(-5000, 5000, columns), "int32")
            model.add(kind, ["x", *a, *w, bias, *y], "y", MICROSOFT, alpha=1.3, transB=int(turned))
        else:
            w = [model.constant(weights, types[1]), *model.codes(scales, zeros, types[1])]
            model.add(kind, ["x", *a, *w, *y], "y")
        data = model.bytes({"x": (types[0], ("N", depth))}, {"y": types[0]})
        check(data, {"x": random_codes(rng, types[0], 20, depth)})


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
def test_binary_all_pairs(onnx_writer: ModuleType, dtype: str, kind: str) -> None:
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    x, y = (each.reshape(1, 1, 256, 256) for each in np.meshgrid(codes, codes))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scales = rng.uniform(0.01, 0.1, 3) * [1, 1, 0.1 if kind == "QLinearMul" else 1]
        if seed % 2:  # scales that make ties
            scales = rng.choice([1, 0.5, 0.25, 0.75, 0.375], 3)
        model = onnx_writer.Model()
        a, b, c = (model.codes(scale, zero_of(rng, dtype), dtype) for scale in scales)
        model.add(kind, ["x", *a, "y", *b, *c], "z", MICROSOFT)
        shape = (dtype, ("N", 1, 256, 256))
        check(model.bytes({"x": shape, "y": shape}, {"z": dtype}), {"x": x, "y": y})


@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    "shapes",
    [
        (("N", 5, 4, 3), ("N", 5, 1, 1)),
        (("N", 1, 4, 3), ("N", 5, 4, 3)),
        (("N", 1, 1, 1), ("N", 5, 4, 3)),
        (("N", 5, 1, 3), ("N", 5, 4, 1)),
        (("N", 6, 5), ("N", 1, 5)),
        (("N", 5), ("N", 5)),
    ],
)
def test_broadcast_operands(
    onnx_writer: ModuleType, kind: str, constant: bool, shapes: tuple
) -> None:
    """Tensors with sides of 1; constants of as many sides, or of fewer."""
    rng = np.random.default_rng(11)
    model = onnx_writer.Model()
    scales = rng.uniform(0.01, 0.1, 3) * [1, 1, 0.1 if kind == "QLinearMul" else 1]
    a, b, c = (model.codes(scale, zero_of(rng, "uint8"), "uint8") for scale in scales)
    given = {"x": shapes[0], "y": shapes[1]}
    if constant:
        own = given.pop("x")[1:]
        value = random_codes(rng, "uint8", *(own if own[0] > 1 else (1, *own)))
        names = (model.constant(value, "uint8"), "y")
    else:
        names = ("x", "y")
    model.add(kind, [names[0], *a, names[1], *b, *c], "z", MICROSOFT)
    inputs = {n: random_codes(rng, "uint8", 3, *shape[1:]) for n, shape in given.items()}
    data = model.bytes({n: ("uint8", shape) for n, shape in given.items()}, {"z": "uint8"})
    graph = check(data, inputs)
    scalar = constant and shapes[0][1:] == (1, 1, 1)
    assert graph.nodes[-1].op == ("lut" if scalar else kind.removeprefix("QLinear").lower())


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_global_average_pool(onnx_writer: ModuleType, dtype: str) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        height, width = (int(v) for v in rng.integers(1, 9, 2))
        model = onnx_writer.Model()
        x, y = (model.codes(rng.uniform(0.05, 0.1), zero_of(rng, dtype), dtype) for _ in "xy")
        model.add("QLinearGlobalAveragePool", ["x", *x, *y], "y", MICROSOFT)
        data = model.bytes({"x": (dtype, ("N", 5, height, width))}, {"y": dtype})
        check(data, {"x": random_codes(rng, dtype, 40, 5, height, width)})


@pytest.mark.parametrize("padded", [0, 1])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_average_pool_and_its_bounds(onnx_writer: ModuleType, dtype: str, padded: int) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        model = onnx_writer.Model()
        scale, zero = float(rng.uniform(0.05, 0.1)), zero_of(rng, dtype)
        x = model.codes(scale, zero, dtype)
        # Equal scales and zero points make ties, where float sums differ from exact ones.
        y = x if seed % 2 else model.codes(rng.uniform(0.05, 0.1), zero_of(rng, dtype), dtype)
        pads = {"pads": [1, 0, 1, 2], "count_include_pad": padded}
        model.add(
            "QLinearAveragePool",
            ["x", *x, *y],
            "y",
            MICROSOFT,
            kernel_shape=[4, 4],
            strides=[2, 3],
            **pads,
        )
        data = model.bytes({"x": (dtype, ("N", 7, 8, 9))}, {"y": dtype})
        graph = check(data, {"x": random_codes(rng, dtype, 10, 7, 8, 9)})
        arithmetic = graph.nodes[0].arithmetic
        codes = random_codes(rng, dtype, 20000, 16)
        result = average_window(codes, arithmetic)
        acc = codes.astype(np.int64).sum(axis=1) - 16 * zero
        low, high = average_pool_bounds(acc, arithmetic, 16)
        assert np.all((low <= result) & (result <= high))
        nominal = requantize_codes(acc, arithmetic.requants[16])
        assert np.all((low <= nominal) & (nominal <= high))
        assert np.mean(low != high) < 0.1


def _unary(
    onnx_writer: ModuleType, rng: np.random.Generator, dtype: str, out: tuple[float, int] | None
) -> tuple[Model, list[str]]:
    model = onnx_writer.Model()
    x = model.codes(rng.uniform(0.01, 0.1), zero_of(rng, dtype), dtype)
    scale, zero = out or (rng.uniform(0.01, 0.1), zero_of(rng, dtype))
    return model, ["x", *x, *model.codes(scale, zero, dtype)]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("kind", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_tables_all_codes(onnx_writer: ModuleType, dtype: str, kind: str) -> None:
    codes = np.arange(256, dtype=np.uint8).view(dtype)[None]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        out = (1 / 256, np.iinfo(dtype).min) if kind == "QLinearSigmoid" and seed % 2 else None
        model, inputs = _unary(onnx_writer, rng, dtype, out)
        extra = {"alpha": float(rng.uniform(0, 0.3))} if kind == "QLinearLeakyRelu" else {}
        model.add(kind, inputs, "y", MICROSOFT, **extra)
        check(model.bytes({"x": (dtype, ("N", 256))}, {"y": dtype}), {"x": codes})


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_softmax(onnx_writer: ModuleType, dtype: str) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(2, 40))
        model = onnx_writer.Model()
        scale = float(rng.choice([0.01, 0.05, 0.2, 0.7]) * rng.uniform(0.5, 1.5))
        x = model.codes(scale, zero_of(rng, dtype), dtype)
        y = model.codes(1 / 256 if seed % 2 else 0.0041, np.iinfo(dtype).min, dtype)
        model.add("QLinearSoftmax", ["x", *x, *y], "y", MICROSOFT, axis=-1, opset=13)
        data = model.bytes({"x": (dtype, ("N", count))}, {"y": dtype})
        check(data, {"x": random_codes(rng, dtype, 200, count)})


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_concat(onnx_writer: ModuleType, dtype: str, axis: int) -> None:
    rng = np.random.default_rng(axis)
    shapes = {"x": [1, 3, 4, 5], "y": [1, 3, 4, 5]}
    shapes["y"][axis] = 7
    model = onnx_writer.Model()
    out = model.codes(0.07, 5, dtype)
    operands = ["x", *out, "y", *model.codes(0.05, 9, dtype)]
    model.add("QLinearConcat", [*out, *operands], "z", MICROSOFT, axis=axis)
    data = model.bytes({n: (dtype, s) for n, s in shapes.items()}, {"z": dtype})
    check(data, {n: random_codes(rng, dtype, *s) for n, s in shapes.items()})


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_float_edges_and_max_pool(onnx_writer: ModuleType, dtype: str) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 9, (3, 2, 8, 8)).astype(np.float32)
    x[0, 0, 0, :6] = [np.inf, -np.inf, 3e38, np.nan, 0.5, -0.0]
    model = onnx_writer.Model()
    codes = model.codes(0.1, 4, dtype)
    model.add("QuantizeLinear", ["x", *codes], "q")
    model.add("MaxPool", ["q"], "m", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 1])
    model.add("DequantizeLinear", ["m", *codes], "y")
    check(model.bytes({"x": ("float32", ("N", 2, 8, 8))}, {"y": "float32"}), {"x": x})


def _flat_layer(model: Model, rng: np.random.Generator, source: str, depth: int) -> None:
    weights = model.constant(random_codes(rng, "int8", depth, 5), "int8")
    codes = [*model.codes(0.1, 3, "int8"), weights, *model.codes(0.01, 0, "int8")]
    model.add("QLinearMatMul", [source, *codes, *model.codes(0.5, -4, "int8")], "y")


MOVES: dict[str, tuple[list[int], Callable[[Model], str]]] = {}


def _moves(shape: list[int]) -> Callable[[Callable[[Model], str]], Callable[[Model], str]]:
    def register(function: Callable[[Model], str]) -> Callable[[Model], str]:
        MOVES[function.__name__] = (shape, function)
        return function

    return register


@_moves([1, 3, 4, 5])
def flatten(model: Model) -> str:
    model.add("Flatten", ["p"], "f", axis=1)
    return "f"


@_moves([1, 3, 4, 5])
def transpose_and_reshape(model: Model) -> str:
    model.add("Transpose", ["p"], "t", perm=[0, 2, 3, 1])
    model.add("Reshape", ["t", model.constant([0, -1], "int64")], "f")
    return "f"


@_moves([1, 4, 5, 3])
def channels_last_input(model: Model) -> str:
    model.nodes.insert(0, helper.make_node("Transpose", ["x"], ["x_nchw"], perm=[0, 3, 1, 2]))
    model.nodes[1].input[0] = "x_nchw"
    model.add("Flatten", ["p"], "f", axis=1)
    return "f"


@_moves([1, 60])
def flat_input(model: Model) -> str:
    shape = model.constant([1, 3, 4, 5], "int64")
    model.nodes.insert(0, helper.make_node("Reshape", ["x", shape], ["x_nchw"]))
    model.nodes[1].input[0] = "x_nchw"
    model.add("Unsqueeze", ["p", model.constant([0], "int64")], "u")
    model.add("Squeeze", ["u", model.constant([0], "int64")], "s")
    model.add("Flatten", ["s"], "f", axis=1)
    return "f"


@pytest.mark.parametrize("name", MOVES)
def test_moves_keep_the_weights_right(onnx_writer: ModuleType, name: str) -> None:
    shape, function = MOVES[name]
    rng = np.random.default_rng(7)
    model = onnx_writer.Model()
    model.add("MaxPool", ["x"], "p", kernel_shape=[1, 1])
    _flat_layer(model, rng, function(model), 60)
    graph = check(
        model.bytes({"x": ("int8", shape)}, {"y": "int8"}),
        {"x": random_codes(rng, "int8", *shape)},
    )
    assert {node.op for node in graph} == {Op.MAX_POOL, Op.RESHAPE, Op.FULLY_CONNECTED}
