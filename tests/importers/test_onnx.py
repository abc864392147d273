"""ONNX graphs: QDQ models as onnxruntime fuses them, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith.errors import ModelError, UnsupportedOperatorError
from systolith.graph import Graph, Op
from systolith.importers import load_model
from systolith.importers.onnx import import_onnx
from systolith.profiles import get_profile
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime


@pytest.mark.parametrize("kind", ["s8s8", "u8s8"])
@pytest.mark.parametrize("name", ["ic_resnet8", "kws_dscnn"])
def test_qdq_every_tensor(models: Path, name: str, kind: str) -> None:
    graph = load_model(models / "onnx" / f"{name}_qdq_{kind}_pc.onnx")
    with np.load(models / "onnx" / f"{name}_qop_s8s8_pt.npz") as data:
        inputs = data["input"][:3]
    expected = run_runtime(graph, inputs)
    assert set(expected) >= {name for name in graph.tensors if "/" not in name}
    for index, sample in enumerate(inputs):
        source = graph.tensors[graph.inputs[0]]
        values = evaluate_graph(graph, {source.name: source.canonical(sample)})
        for key, want in expected.items():
            got = graph.tensors[key].source(values[key])
            np.testing.assert_array_equal(got[0], want[index], err_msg=key)


def test_edges_are_quantize_and_dequantize(models: Path) -> None:
    graph = load_model(models / "onnx" / "kws_dscnn_qop_s8s8_pt.onnx")
    assert graph.nodes[0].op is Op.QUANTIZE
    assert graph.nodes[-1].op is Op.DEQUANTIZE
    assert graph.tensors["input"].shape == (49, 10, 1)
    assert graph.macs() == 2_656_768


CONSTANTS: dict[str, Any] = {
    "s": np.float32(0.1),
    "z": np.int8(3),
    "w": np.ones((3, 2, 2, 2), np.int8),
    "ws": np.array([0.01, 0.02, 0.03], np.float32),
    "wz": np.zeros(3, np.int8),
    "b": np.zeros(3, np.int32),
}


def build(
    nodes: list[onnx.NodeProto],
    shape: tuple[Any, ...] = ("N", 2, 4, 4),
    output: str = "y",
    **constants: Any,
) -> Graph:
    """Import nodes that read x (int8 by default) and write y."""
    dtype = constants.pop("dtype", TensorProto.INT8)
    values = {**CONSTANTS, **constants}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in values.items() if v is not None],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return import_onnx(model.SerializeToString(), get_profile("onnxruntime"), name="test")


def conv(**attributes: Any) -> onnx.NodeProto:
    inputs = ["x", "s", "z", "w", "ws", "wz", "s", "z", "b"]
    return helper.make_node("QLinearConv", inputs, ["y"], name="conv", **attributes)


def test_newest_ir_version_is_capped() -> None:
    assert onnx.load_model_from_string(build([conv()]).model_bytes).ir_version <= 13


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "missing weights": (
        {"w": None},
        "layer 'conv': QLinearConv weights must be a constant of the model, not 'w'",
    ),
    "weights' zero points": (
        {"wz": np.array([0, 1, 0], np.int8)},
        "layer 'conv': QLinearConv weights must have one zero point for all channels",
    ),
    "float weights": (
        {"w": np.ones((3, 2, 2, 2), np.float32)},
        "layer 'conv': QLinearConv weights and zero point must be int8 or uint8, not float32",
    ),
    "short bias": (
        {"b": np.zeros(2, np.int32)},
        "layer 'conv': QLinearConv bias must have 3 values, not 2",
    ),
    "wrong channels": (
        {"shape": ("N", 3, 4, 4)},
        "layer 'conv': QLinearConv weights [3, 2, 2, 2] must fit 3 input channels",
    ),
    "dynamic side": (
        {"shape": ("N", 2, "H", 4)},
        "input 'x': shape must be fixed, not [1, 2, 'H', 4]; fix all sides",
    ),
    "large batch": (
        {"shape": (2, 2, 4, 4)},
        "input 'x': shape must be [1, H, W, C], not [2, 4, 4, 2]",
    ),
    "zero scale": (
        {"s": np.float32(0)},
        "layer 'conv': QLinearConv input scale must be finite and positive, not 0.0",
    ),
    "infinite scale": (
        {"s": np.float32(np.inf)},
        "layer 'conv': QLinearConv input scale must be finite and positive, not inf",
    ),
    "no scale": (
        {"s": np.float32(np.nan)},
        "layer 'conv': QLinearConv input scale must be finite and positive, not nan",
    ),
    "subnormal scale": (
        {"s": np.float32(1e-40)},
        (
            "layer 'conv': QLinearConv input scale must be a positive, finite and normal float32 "
            "number, not a subnormal number"
        ),
    ),
    "double scale": (
        {"ws": np.array([0.1, 0.1, 0.1])},
        "layer 'conv': QLinearConv weights' scale must be float32, not float64",
    ),
    "small input": (
        {"shape": ("N", 2, 1, 1)},
        "layer 'conv': QLinearConv kernel (2, 2) must fit the input (1, 1)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    changes, text = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        build([conv()], **changes)
    assert str(caught.value) == text


def test_float_model() -> None:
    with pytest.raises(ModelError, match="^model must be quantized, it has no quantized operator"):
        build([helper.make_node("Relu", ["x"], ["y"])], dtype=TensorProto.FLOAT)


def test_unsupported_operator_is_named() -> None:
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    node = helper.make_node("Mod", ["q", "q"], ["y"], name="remainder")
    with pytest.raises(UnsupportedOperatorError) as caught:
        build([quantize, node], dtype=TensorProto.FLOAT)
    assert str(caught.value) == (
        "layer 'remainder': operator Mod is not supported; "
        "remove it or run it before or after the accelerator"
    )


def test_float_in_the_middle_is_named() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q0"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dq0"),
        helper.make_node("CumSum", ["d", "axis"], ["r"], name="sums"),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["y"], name="q1"),
    ]
    with pytest.raises(UnsupportedOperatorError) as caught:
        build(nodes, dtype=TensorProto.FLOAT, axis=np.int64(1))
    assert str(caught.value).startswith(
        "layer 'sums': operator CumSum is not supported; it computes in float32 on 'd': "
        "onnxruntime did not fuse it"
    )


UNARY: dict[str, dict[str, Any]] = {
    "Relu": {},
    "HardSwish": {},
    "Tanh": {},
    "Elu": {"alpha": 0.7},
    "Clip": {"inputs": ["d", "low", "high"]},
    "Mul": {"inputs": ["high", "d"]},
}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("kind", UNARY)
def test_unary_float_operators_become_tables(kind: str, dtype: type) -> None:
    attributes = dict(UNARY[kind])
    inputs = attributes.pop("inputs", ["d"])
    zero = dtype(100)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q0"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dq0"),
        helper.make_node(kind, inputs, ["r"], name="unary", **attributes),
        helper.make_node("QuantizeLinear", ["r", "s2", "z2"], ["y"], name="q1"),
    ]
    constants = {"z": zero, "s2": np.float32(0.07), "z2": dtype(90)}
    bounds = {"low": np.float32(-1.3), "high": np.float32(0.71)}
    shape = ("N", 1, 16, 16)
    graph = build(nodes, shape, dtype=TensorProto.FLOAT, **constants, **bounds)
    assert Op.LUT in {node.op for node in graph}
    codes = np.arange(256) if dtype is np.uint8 else np.arange(-128, 128)
    x = ((codes - 100) * np.float32(0.1)).astype(np.float32).reshape(1, 1, 16, 16)
    source = graph.tensors["x"]
    values = evaluate_graph(graph, {"x": source.canonical(x)})
    expected = run_runtime(graph, x)["y"]
    np.testing.assert_array_equal(graph.tensors["y"].source(values["y"]), expected)


def test_float_output_behind_the_last_layer_is_named() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q0"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="dq0"),
        helper.make_node("Exp", ["d"], ["y"], name="last"),
    ]
    with pytest.raises(UnsupportedOperatorError) as caught:
        build(nodes, dtype=TensorProto.FLOAT)
    assert str(caught.value).startswith("layer 'last': operator Exp is not supported; it computes")


def test_data_is_moved_where_a_layer_needs_it() -> None:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m"], kernel_shape=[1, 1], name="pool"),
        helper.make_node("Transpose", ["m"], ["t"], perm=[0, 2, 1, 3], name="turn"),
        helper.make_node("MaxPool", ["t"], ["p"], kernel_shape=[1, 1], name="second"),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"], name="dq"),
    ]
    graph = build(nodes)
    ops = [(node.name, str(node.op)) for node in graph]
    assert ops == [
        ("pool", "max_pool"),
        ("turn", "reshape"),
        ("second/t", "gather"),
        ("second", "max_pool"),
        ("dq", "dequantize"),
    ]
    assert graph.tensors["t/plain"].shape == (2, 4, 4)
