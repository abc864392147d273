"""Weights of 4 bits: LiteRT's INT4, ONNX's int4 and uint4, and what is refused."""

from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from systolith.arithmetic import MacArithmetic
from systolith.errors import ModelError, UnsupportedOperatorError
from systolith.graph import Graph, Op
from systolith.importers.onnx import import_onnx
from systolith.importers.onnx_nibbles import widen_nibbles
from systolith.importers.tflite import import_tflite
from systolith.profiles import get_profile
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime

SEED = 20
KINDS = {"int4": (TensorProto.INT4, -8, 7), "uint4": (TensorProto.UINT4, 0, 15)}


def nibbles(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of two codes, the low one first."""
    flat = codes.reshape(-1).astype(np.int64) & 15
    flat = np.append(flat, np.zeros(flat.size % 2, np.int64))
    return (flat[0::2] | flat[1::2] << 4).astype(np.uint8)


def dense(writer: ModuleType, profile: str = "tflite-reference", **weights: Any) -> Graph:
    """A fully connected layer of 3 x 5 int4 weights: an odd number."""
    codes = np.random.default_rng(SEED).integers(-8, 8, (3, 5))
    w = {"dtype": "int4", "scale": [0.02] * 3, "data": nibbles(codes), "name": "w"} | weights
    tensors = [
        writer.T((2, 5), scale=0.1, zero=1, name="x"),
        writer.T((3, 5), **w),
        writer.T((3,), "int32", scale=[0.002] * 3, data=np.arange(3, dtype=np.int32), name="b"),
        writer.T((2, 3), scale=0.01, zero=2, name="y"),
    ]
    op = writer.O("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")
    data = writer.write_tflite(tensors, [op], (0,), (3,))
    return import_tflite(data, get_profile(profile), name="dense")


def test_litert_codes_low_nibble_first(writer: ModuleType) -> None:
    graph = dense(writer)
    layer = next(node for node in graph if node.op is Op.FULLY_CONNECTED)
    assert isinstance(layer.arithmetic, MacArithmetic)
    codes = np.random.default_rng(SEED).integers(-8, 8, (3, 5))
    np.testing.assert_array_equal(layer.arithmetic.weights.reshape(3, 5), codes)


@pytest.mark.parametrize("profile", ["tflite-reference", "tflite-xnnpack"])
def test_litert_outputs(writer: ModuleType, profile: str) -> None:
    pytest.importorskip("ai_edge_litert")
    graph = dense(writer, profile)
    x = np.random.default_rng(SEED).integers(-128, 128, (2, 5)).astype(np.int8)
    wanted = run_runtime(graph, x)["t3"]
    source = graph.tensors["t0"].canonical(x)
    got = graph.tensors["t3"].source(evaluate_graph(graph, {"t0": source})["t3"])
    np.testing.assert_array_equal(got, wanted.reshape(got.shape))


@pytest.mark.parametrize(
    "case",
    [
        ("CONV_2D", "tflite-reference"),
        ("CONV_2D", "tflite-xnnpack"),
        ("DEPTHWISE_CONV_2D", "tflite-reference"),
    ],
    ids="-".join,
)
def test_litert_convolutions(writer: ModuleType, case: tuple[str, str]) -> None:
    """Every output of layers whose second rounding has many ties: scales near powers of two."""
    pytest.importorskip("ai_edge_litert")
    kind, profile = case
    wide = kind == "CONV_2D"
    shape, axis = ((8, 3, 3, 5), 0) if wide else ((1, 3, 3, 5), 3)
    channels, rng = shape[axis], np.random.default_rng([SEED, wide])
    scales = 2.0 ** -rng.integers(3, 6, channels) * rng.choice([1.0, 0.75, 1 / 3], channels)
    codes = rng.integers(-8, 8, shape)
    tensors = [
        writer.T((1, 7, 6, 5), scale=0.5, zero=-3, name="x"),
        writer.T(shape, "int4", scale=scales, zero=0, axis=axis, data=nibbles(codes), name="w"),
        writer.T(
            (channels,), "int32", scale=0.5 * scales,
            data=rng.integers(-40, 40, channels).astype(np.int32), name="b",
        ),
        writer.T((1, 7, 6, channels), scale=1.0, zero=5, name="y"),
    ]  # fmt: skip
    fields = (("StrideH", 1), ("StrideW", 1), ("DilationHFactor", 1), ("DilationWFactor", 1))
    options = "Conv2DOptions" if wide else "DepthwiseConv2DOptions"
    fields = fields if wide else (*fields, ("DepthMultiplier", 1))
    op = writer.O(kind, (0, 1, 2), (3,), options, fields)
    data = writer.write_tflite(tensors, [op], (0,), (3,))
    graph = import_tflite(data, get_profile(profile), name="conv")
    x = rng.integers(-128, 128, (1, 7, 6, 5)).astype(np.int8)
    wanted = run_runtime(graph, x)["t3"]
    source = graph.tensors["t0"].canonical(x)
    got = graph.tensors["t3"].source(evaluate_graph(graph, {"t0": source})["t3"])
    np.testing.assert_array_equal(got, wanted)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "short": (
        {"data": np.zeros(7, np.uint8)},
        "damaged file: buffer 2 of INT4[3, 5] must have 8 bytes, two codes each, not 7",
    ),
    "a byte a code": (
        {"data": np.zeros(15, np.uint8)},
        "damaged file: buffer 2 of INT4[3, 5] must have 8 bytes, two codes each, not 15",
    ),
    "zero point": (
        {"zero": 8},
        (
            "layer 'fully_connected_0': FULLY_CONNECTED weights' zero point must be an int4 value, "
            "not 8"
        ),
    ),
    "scales": (
        {"scale": [0.1] * 2},
        "layer 'fully_connected_0': FULLY_CONNECTED weights must have 1 or 3 scales",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_litert_refused(writer: ModuleType, case: str) -> None:
    changes, text = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        dense(writer, **changes)
    assert str(caught.value) == text


def test_tflm_has_no_fully_connected_layer_of_int4(writer: ModuleType) -> None:
    with pytest.raises(UnsupportedOperatorError, match="no exact arithmetic for its int4 weights"):
        dense(writer, "tflm")


def initializer(name: str, codes: NDArray[Any], kind: int) -> onnx.TensorProto:
    """A tensor of 4-bit codes."""
    packed = nibbles(codes).tobytes()
    return TensorProto(name=name, data_type=kind, dims=codes.shape, raw_data=packed)


def qdq(kind: str, *, activations: bool = False, block: int = 0, **changes: Any) -> bytes:
    """A convolution with 4-bit weights, and perhaps a 4-bit result, between Q and DQ."""
    number, low, high = KINDS[kind]
    rng = np.random.default_rng(SEED)
    codes = rng.integers(low, high + 1, (4, 6, 1, 1))
    shape = (4, 6 // block, 1, 1) if block else (4,)
    own = 0.05 * (1 + np.arange(4, dtype=np.float32))
    scales = np.broadcast_to(own.reshape(-1, *(1,) * (len(shape) - 1)), shape)
    zeros = np.full(shape, 8 if kind == "uint4" else 0)
    values = {
        "ws": scales.astype(np.float32), "s": np.float32(0.1), "z": np.uint8(3),
        "os": np.float32(0.5), "oz": np.uint8(0), "b": np.arange(4, dtype=np.int32),
        "bs": (0.1 * own).astype(np.float32),
    } | changes  # fmt: skip
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    stored += [initializer("w", codes, number), initializer("wz", zeros, number)]
    out = initializer("oz4", np.zeros((), np.int64) + 5, TensorProto.UINT4)
    result = ["os", "oz4" if activations else "oz"]
    form = {"axis": 1, "block_size": block} if block else {"axis": 0}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q0"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d0"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "weights", **form),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], "bias", axis=0),
        helper.make_node("Conv", ["d", "wd", "bd"], ["c"], "conv"),
        helper.make_node("QuantizeLinear", ["c", *result], ["e"], "q1"),
        helper.make_node("DequantizeLinear", ["e", *result], ["y"], "d1"),
    ]
    graph = helper.make_graph(
        nodes,
        "qdq",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 6, 3, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 3, 3))],
        [*stored, out],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("activations", [False, True])
@pytest.mark.parametrize("block", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runs_in_integers(kind: str, block: int, activations: bool) -> None:
    graph = import_onnx(
        qdq(kind, block=block, activations=activations), get_profile("onnxruntime"), name="qdq"
    )
    assert Op.CONV2D in [node.op for node in graph]
    rng = np.random.default_rng(SEED)
    x = rng.normal(0.0, 4.0, (1, 6, 3, 3)).astype(np.float32)
    wanted = run_runtime(graph, x)
    found = evaluate_graph(graph, {"x": graph.tensors["x"].canonical(x)})
    for name, value in found.items():
        np.testing.assert_array_equal(graph.tensors[name].source(value), wanted[name], err_msg=name)
    if activations:
        assert found["e"].max() == 15


BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "do not divide": (
        {"block": 4, "ws": np.ones((4, 2, 1, 1), np.float32)},
        "layer 'weights': DequantizeLinear block_size must divide 6, not 4",
    ),
    "too few scales": (
        {"block": 3, "ws": np.ones((4, 1, 1, 1), np.float32)},
        "layer 'weights': DequantizeLinear scales of blocks must be [4, 2, 1, 1], not [4, 1, 1, 1]",
    ),
    "differ": (
        {"block": 3, "ws": np.arange(1, 9, dtype=np.float32).reshape(4, 2, 1, 1)},
        (
            "layer 'weights': DequantizeLinear scales and zero points must be alike in all blocks "
            "of a channel: onnxruntime multiplies blocks in float32; use one scale a channel"
        ),
    ),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_onnx_blocks_refused(case: str) -> None:
    changes, text = BLOCKS[case]
    model = onnx.ModelProto.FromString(qdq("int4", **changes))
    with pytest.raises(ModelError) as caught:
        widen_nibbles(model)
    assert str(caught.value) == text


def test_onnx_damaged_codes() -> None:
    model = onnx.ModelProto.FromString(qdq("int4"))
    weights = next(each for each in model.graph.initializer if each.name == "w")
    weights.raw_data = weights.raw_data[:-1]
    with pytest.raises(ModelError) as caught:
        widen_nibbles(model)
    assert str(caught.value) == (
        "initializer 'w' is damaged: [4, 6, 1, 1] codes of 4 bits take 12 bytes, not 11"
    )
