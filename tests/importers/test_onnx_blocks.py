"""MatMulNBits: what becomes of it, and what is refused."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith.arithmetic import MacArithmetic
from systolith.errors import ModelError, SystolithError
from systolith.float_steps import BlockSumsArithmetic
from systolith.graph import Graph, Op
from systolith.importers.onnx import import_onnx
from systolith.profiles import get_profile
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime


def graph_of(data: bytes) -> Graph:
    return import_onnx(data, get_profile("onnxruntime"), name="blocks")


def check_tensors(graph: Graph, value: np.ndarray) -> int:
    """Compare integers for equality with onnxruntime's, floats to 1e-5; return how many."""
    live = run_runtime(graph, value)
    own = evaluate_graph(graph, {"A": graph.tensors["A"].canonical(value)})
    for name, got in own.items():
        found = graph.tensors[name].source(got)
        if found.dtype == np.float32 and name != "A":
            peak = np.abs(live[name]).max()
            np.testing.assert_allclose(found, live[name], rtol=0, atol=1e-5 * peak, err_msg=name)
        else:
            np.testing.assert_array_equal(found, live[name].reshape(found.shape), err_msg=name)
    return sum(value.size for value in own.values())


def test_nodes(blocks_writer: ModuleType) -> None:
    graph = graph_of(blocks_writer.Blocks(depth=100, block=32).data())
    assert [node.op for node in graph] == [
        *(Op.QUANTIZE, Op.QUANTIZE),
        *(Op.CONV2D, Op.CONV2D, Op.DEQUANTIZE),
    ]
    assert graph.tensors["A/codes_32"].shape == (1, 3, 128)
    assert graph.tensors["A/scales_32"].shape == (1, 3, 4)
    for name in ("Y/sums_0", "Y/sums_1"):
        assert graph.tensors[name].shape == (1, 3, 4 * 8)
    layer = next(node for node in graph if node.op is Op.CONV2D)
    assert isinstance(layer.arithmetic, MacArithmetic)
    assert layer.arithmetic.weight_range[0] >= -8 and layer.arithmetic.weight_range[1] <= 7
    assert layer.attributes["groups"] == 4
    # Places beyond the matrix have the weight 0.
    last = layer.arithmetic.weights.reshape(4, 8, 32)[3]
    assert last[:, :4].any() and not last[:, 4:].any()


def test_bytes_of_sums(blocks_writer: ModuleType) -> None:
    """Two bytes where every sum of codes -128 to 127 fits, else three."""
    for block, code, wanted in ((32, 0, 3), (32, 1, 2), (16, 0, 2), (256, 8, 2), (256, 15, 3)):
        writer = blocks_writer.Blocks(depth=block, block=block, channels=1)
        codes = np.full((1, 1, block), code)
        graph = graph_of(replace(writer, values={"B": blocks_writer.packed(codes)}).data())
        assert sum(node.op is Op.CONV2D for node in graph) == wanted, (block, code)


@pytest.mark.parametrize("shape", [(1, 64), (3, 64), (2, 3, 64)], ids=str)
def test_inputs(blocks_writer: ModuleType, shape: tuple[int, ...]) -> None:
    pytest.importorskip("onnxruntime")
    writer = blocks_writer.Blocks(
        shape=shape, zeros=True, bias=True, rows=int(np.prod(shape)) // 64
    )
    value = writer.inputs().reshape(shape)
    assert check_tensors(graph_of(writer.data()), value) > 200


def test_two_layers_share_codes(blocks_writer: ModuleType) -> None:
    """Projections of one input quantize it once."""
    pytest.importorskip("onnxruntime")
    writer = blocks_writer.Blocks(zeros=True)
    model = writer.model()
    again = onnx.NodeProto()
    again.CopyFrom(model.nodes[0])
    again.name, again.output[0] = "again", "Z"
    model.nodes.append(again)
    shape = {"A": ("float32", (3, 64))}
    graph = graph_of(model.bytes(shape, {"Y": "float32", "Z": "float32"}))
    assert [node.op for node in graph].count(Op.QUANTIZE) == 2
    assert check_tensors(graph, writer.inputs()) > 400


STEPS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "add channels": ("Add", ("x", np.linspace(-1, 1, 8))),
    "add first": ("Add", (np.float32(0.3), "x")),
    "subtract from": ("Sub", (np.linspace(-1, 1, 8), "x")),
    "subtract": ("Sub", ("x", np.float32(0.7))),
    "multiply": ("Mul", ("x", np.linspace(-2, 2, 8).reshape(1, 8))),
    "divide": ("Div", ("x", np.float32(-3))),
    "relu": ("Relu", ("x",)),
    "clip": ("Clip", ("x", np.float32(-0.5), np.float32(0.5))),
    "maximum": ("Max", ("x", np.float32(0.25))),
    "minimum": ("Min", ("x", np.float32(0.25))),
}


@pytest.mark.parametrize("case", STEPS)
def test_float_steps(blocks_writer: ModuleType, case: str) -> None:
    """What follows is computed on the host, and stays within bounds through the steps."""
    pytest.importorskip("onnxruntime")
    kind, operands = STEPS[case]
    writer = blocks_writer.Blocks(bias=True)
    model = writer.model()
    names = ["Y" if isinstance(v, str) else model.constant(v, "float32") for v in operands]
    model.add(kind, names, "mid")
    model.add("Relu", ["mid"], "out")
    graph = graph_of(writer.data(model, "out"))
    assert [node.op for node in graph].count(Op.DEQUANTIZE) == 1
    layer = next(node for node in graph if node.op is Op.DEQUANTIZE)
    assert isinstance(layer.arithmetic, BlockSumsArithmetic)
    assert len(layer.arithmetic.steps) == (3 if kind == "Clip" else 2)
    assert check_tensors(graph, writer.inputs()) > 200


def dequantized(kind: str, zero_points: bool) -> bytes:
    """MatMul of weights behind a DequantizeLinear of blocks, as quantizers to QDQ write it."""
    rng = np.random.default_rng(4)
    low, high = {"INT4": (-8, 8), "UINT4": (0, 16), "INT8": (-128, 128), "UINT8": (0, 256)}[kind]
    code = TensorProto.DataType.Value(kind)
    codes = helper.make_tensor("w", code, (64, 8), rng.integers(low, high, 512).tolist())
    scales = rng.uniform(0.01, 0.1, (2, 8)).astype(np.float32)
    constants = [codes, numpy_helper.from_array(scales, "s")]
    if zero_points:
        zeros = rng.integers(low, high, 16).tolist()
        constants.append(helper.make_tensor("z", code, (2, 8), zeros))
    inputs = [each.name for each in constants]
    nodes = [
        helper.make_node("DequantizeLinear", inputs, ["real"], "dq", axis=0, block_size=32),
        helper.make_node("MatMul", ["A", "real"], ["Y"], "mm"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "qdq",
        [info("A", TensorProto.FLOAT, (3, 64))],
        [info("Y", TensorProto.FLOAT, (3, 8))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    made: bytes = model.SerializeToString()
    return made


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT8", "UINT8"])
def test_dequantized_blocks(kind: str, zero_points: bool) -> None:
    """onnxruntime fuses DequantizeLinear of blocks and MatMul to MatMulNBits of level 4."""
    pytest.importorskip("onnxruntime")
    graph = graph_of(dequantized(kind, zero_points))
    assert any(isinstance(node.arithmetic, BlockSumsArithmetic) for node in graph)
    value = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    assert check_tensors(graph, value) > 200


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("block", "bits"), [(16, 4), (32, 4), (128, 4), (32, 8), (64, 2)])
def test_onnxruntimes_own_quantizer(block: int, bits: int, symmetric: bool) -> None:
    pytest.importorskip("onnx_ir", reason="onnxruntime's quantizer needs onnx_ir")
    tool = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    rng = np.random.default_rng(block)
    weights = rng.normal(size=(200, 24)).astype(np.float32)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["A", "w"], ["Y"], "mm")],
        "float",
        [info("A", TensorProto.FLOAT, (5, 200))],
        [info("Y", TensorProto.FLOAT, (5, 24))],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    quantizer = tool.MatMulNBitsQuantizer(
        model, bits=bits, block_size=block, is_symmetric=symmetric, accuracy_level=4
    )
    quantizer.process()
    imported = graph_of(quantizer.model.model.SerializeToString())
    value = rng.normal(size=(5, 200)).astype(np.float32)
    assert check_tensors(imported, value) > 1000


def scales(value: float) -> dict[str, Any]:
    array = np.ones((8, 4), np.float32)
    array[3, 2] = value
    return {"values": {"scales": array}}


NORMAL = "layer 'n0': MatMulNBits weights' scale must be a finite and normal float32 number, not "
PLACE = ", in block 2 of channel 3"
UNSUPPORTED = "layer 'n0': operator MatMulNBits is not supported; "

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "scale 0": (scales(0), f"{NORMAL}0{PLACE}"),
    "scale NaN": (scales(np.nan), f"{NORMAL}NaN{PLACE}"),
    "scale inf": (scales(-np.inf), f"{NORMAL}infinity{PLACE}"),
    "scale subnormal": (scales(1e-39), f"{NORMAL}a subnormal number{PLACE}"),
    "scales too few": (
        {"values": {"scales": np.ones((8, 3), np.float32)}},
        "layer 'n0': MatMulNBits scales must have 32 elements, not 24 ([8, 3])",
    ),
    "scales float16": (
        {"values": {"scales": np.ones((8, 4), np.float16)}},
        f"{UNSUPPORTED}scales must be float32, not float16",
    ),
    "weights too many": (
        {"values": {"B": np.zeros((8, 4, 16), np.uint8)}},
        "layer 'n0': MatMulNBits weights B must have 256 elements, not 512 ([8, 4, 16])",
    ),
    "zero points too few": (
        {"values": {"zero_points": np.zeros((8, 1), np.uint8)}},
        "layer 'n0': MatMulNBits packed zero points must have 16 elements, not 8 ([8, 1])",
    ),
    "zero points float": (
        {"values": {"zero_points": np.zeros((8, 4), np.float32)}},
        f"{UNSUPPORTED}packed zero points must be uint8, not float32",
    ),
    "bias too long": (
        {"values": {"bias": np.zeros(9, np.float32)}},
        "layer 'n0': MatMulNBits bias must have 8 elements, not 9 ([9])",
    ),
    "bias NaN": (
        {"values": {"bias": np.full(8, np.nan, np.float32)}},
        "layer 'n0': MatMulNBits bias must be finite, not NaN or infinity",
    ),
    "g_idx": (
        {"values": {"g_idx": np.zeros(64, np.int32)}},
        f"{UNSUPPORTED}its columns must be in order, without g_idx",
    ),
    "block 24": (
        {"more": {"block_size": 24}},
        "layer 'n0': MatMulNBits block_size must be a power of two and at least 16, not 24",
    ),
    "block 8": (
        {"more": {"block_size": 8}},
        "layer 'n0': MatMulNBits block_size must be a power of two and at least 16, not 8",
    ),
    "block 512": (
        {"more": {"block_size": 512}},
        (
            f"{UNSUPPORTED}block_size must be one of (16, 32, 64, 128, 256) for int8 activations "
            "and weights of 4 bits, not 512"
        ),
    ),
    "3 bits": (
        {"more": {"bits": 3}},
        "layer 'n0': MatMulNBits bits must be 2, 4 or 8, not 3",
    ),
    "2 bits, block 16": (
        {"bits": 2},
        (
            f"{UNSUPPORTED}block_size must be one of (32, 64, 128) for int8 activations and "
            "weights of 2 bits, not 16"
        ),
    ),
    "level 0": (
        {"more": {"accuracy_level": 0}},
        (
            f"{UNSUPPORTED}accuracy_level must be 4, not 0: with any other onnxruntime computes in "
            "float; set the attribute to 4"
        ),
    ),
    "no rows": (
        {"more": {"K": 0}},
        "layer 'n0': MatMulNBits K and N must be positive, not 0 and 8",
    ),
    "input": (
        {"shape": (3, 32)},
        f"{UNSUPPORTED}its input must be rows of 64 values, not [3, 32]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(blocks_writer: ModuleType, case: str) -> None:
    changes, text = BAD[case]
    data = replace(blocks_writer.Blocks(), **changes).data()
    with pytest.raises(ModelError) as caught:
        graph_of(data)
    assert str(caught.value) == text


def test_refused_in_the_middle(blocks_writer: ModuleType) -> None:
    writer = blocks_writer.Blocks(channels=64)
    model = writer.model()
    second = onnx.NodeProto()
    second.CopyFrom(model.nodes[0])
    second.name, second.input[0], second.output[0] = "n1", "Y", "Z"
    model.nodes.append(second)
    with pytest.raises(ModelError, match="layer 'n1': .*'Y' must be an input of the network"):
        graph_of(writer.data(model, "Z"))


@pytest.mark.parametrize("kind", ["Sigmoid", "Add"])
def test_refused_behind(blocks_writer: ModuleType, kind: str) -> None:
    writer = blocks_writer.Blocks()
    model = writer.model()
    model.add(kind, ["Y", "Y"][: 1 + (kind == "Add")], "Z")
    with pytest.raises(ModelError, match="layer 'n1': .*behind MatMulNBits"):
        graph_of(writer.data(model, "Z"))


@pytest.mark.parametrize(("shape", "dtype"), [((3,), "float32"), ((0,), "float32"), ((), "int32")])
def test_refused_limits(blocks_writer: ModuleType, shape: tuple[int, ...], dtype: str) -> None:
    writer = blocks_writer.Blocks()
    model = writer.model()
    model.add("Clip", ["Y", model.constant(np.ones(shape), dtype)], "Z")
    with pytest.raises(ModelError, match="layer 'n1': Clip limit must be one float32 value, not"):
        graph_of(writer.data(model, "Z"))


def test_infinite_input(blocks_writer: ModuleType) -> None:
    writer = blocks_writer.Blocks()
    graph, value = graph_of(writer.data()), writer.inputs()
    value[1, 5] = np.inf
    with pytest.raises(SystolithError, match="must be finite, not NaN or inf"):
        evaluate_graph(graph, {"A": graph.tensors["A"].canonical(value)})
