"""Damaged files: whatever is cut off or flipped, a user sees one line, or the model loads."""

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith.errors import ModelError, SystolithError
from systolith.importers import load_model


def small_tflite(writer: ModuleType) -> bytes:
    """Return conv, pool, reshape, fully connected, softmax."""
    T, O = writer.T, writer.O  # noqa: E741 - the writer's own names
    rng = np.random.default_rng(0)
    conv = rng.integers(-128, 128, (3, 2, 2, 2)).astype(np.int8)
    dense = rng.integers(-128, 128, (4, 12)).astype(np.int8)
    tensors = [
        T((1, 4, 4, 2), scale=0.1, zero=3),
        T((3, 2, 2, 2), scale=[0.01, 0.02, 0.03], data=conv),
        T((3,), "int32", scale=[0.001, 0.002, 0.003], data=np.arange(3, dtype=np.int32)),
        T((1, 4, 4, 3), scale=0.2, zero=-5),
        T((1, 2, 2, 3), scale=0.2, zero=-5),
        T((2,), "int32", data=np.array([1, 12], np.int32)),
        T((1, 12), scale=0.2, zero=-5),
        T((4, 12), scale=0.02, data=dense),
        T((1, 4), scale=0.3, zero=1),
        T((1, 4), scale=1 / 256, zero=-128),
    ]
    stride = (("StrideH", 1), ("StrideW", 1), ("DilationHFactor", 1), ("DilationWFactor", 1))
    pool = (("StrideH", 2), ("StrideW", 2), ("FilterHeight", 2), ("FilterWidth", 2))
    operators = [
        O("CONV_2D", (0, 1, 2), (3,), "Conv2DOptions", stride),
        O("AVERAGE_POOL_2D", (3,), (4,), "Pool2DOptions", pool),
        O("RESHAPE", (4, 5), (6,), "ReshapeOptions", (("NewShape", (1, 12)),)),
        O("FULLY_CONNECTED", (6, 7, -1), (8,), "FullyConnectedOptions"),
        O("SOFTMAX", (8,), (9,), "SoftmaxOptions", (("Beta", 1.0),)),
    ]
    return writer.write_tflite(tensors, operators, (0,), (9,))


def small_onnx() -> bytes:
    """Return quantize, conv, add, flatten, matmul, softmax, dequantize."""
    rng = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.1),
        "z": np.int8(3),
        "w": rng.integers(-128, 128, (3, 2, 2, 2)).astype(np.int8),
        "ws": np.array([0.01, 0.02, 0.03], np.float32),
        "wz": np.zeros(3, np.int8),
        "b": np.arange(3, dtype=np.int32),
        "m": rng.integers(-128, 128, (27, 4)).astype(np.int8),
        "zero": np.int8(0),
    }
    q = ["s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *q], ["xq"], name="quantize"),
        helper.make_node("QLinearConv", ["xq", *q, "w", "ws", "wz", *q, "b"], ["c"], name="conv"),
        helper.make_node("QLinearAdd", ["c", *q, "c", *q, *q], ["a"], domain="com.microsoft"),
        helper.make_node("Flatten", ["a"], ["f"], axis=1),
        helper.make_node("QLinearMatMul", ["f", *q, "m", "s", "zero", *q], ["d"], name="dense"),
        helper.make_node(
            "QLinearSoftmax", ["d", *q, *q], ["p"], domain="com.microsoft", axis=-1, opset=13
        ),
        helper.make_node("DequantizeLinear", ["p", *q], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 2, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


@pytest.fixture(params=["tflite", "onnx"])
def small(request: pytest.FixtureRequest, writer: ModuleType) -> bytes:
    return small_tflite(writer) if request.param == "tflite" else small_onnx()


def outcome(path: Path, data: bytes) -> str:
    """Return "loads" or the error's text; anything but our own error escapes."""
    path.write_bytes(data)
    try:
        load_model(path)
    except SystolithError as error:
        text = str(error)
        assert "\n" not in text and text
        return text
    return "loads"


def test_the_small_models_load(small: bytes, tmp_path: Path) -> None:
    assert outcome(tmp_path / "model", small) == "loads"


def test_truncated(small: bytes, tmp_path: Path) -> None:
    lengths = [*range(64), *range(64, len(small), 13)]
    texts = {outcome(tmp_path / "model", small[:length]) for length in lengths}
    assert "loads" not in texts


def test_flipped_bytes(small: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    texts = []
    for _ in range(800):
        damaged = bytearray(small)
        for place in rng.integers(0, len(small), int(rng.integers(1, 4))):
            damaged[place] ^= int(rng.integers(1, 256))
        texts.append(outcome(tmp_path / "model", bytes(damaged)))
    assert 0 < texts.count("loads") < len(texts)


def test_random_bytes_behind_a_right_beginning(small: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    for _ in range(200):
        garbage = small[:8] + rng.integers(0, 256, int(rng.integers(0, 400)), np.uint8).tobytes()
        assert outcome(tmp_path / "model", garbage) != "loads"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "model: file must be a TFLite, ONNX or PyTorch model, not empty"),
        (b"PNG", "model: file must be a TFLite, ONNX or PyTorch model, it begins with b'PNG'"),
        (b"PK\x03\x04zip", "model: damaged or truncated archive (File is not a zip file)"),
        (b"\xff\x00\x00\x00TFL3", "model: damaged or truncated TFLite file"),
        (b"\x08\x0a", "model: damaged or truncated ONNX file: it has no graph of operators"),
    ],
)
def test_what_it_says(tmp_path: Path, data: bytes, text: str) -> None:
    assert outcome(tmp_path / "model", data).startswith(text)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^cannot read '.*nothing\.tflite': No such file"):
        load_model(tmp_path / "nothing.tflite")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^cannot read '.*': Is a directory$"):
        load_model(tmp_path)


def test_content_counts_not_the_suffix(small: bytes, tmp_path: Path) -> None:
    for suffix in ("tflite", "onnx", "bin"):
        assert outcome(tmp_path / f"model.{suffix}", small) == "loads"


def test_onnx_model_is_valid_for_its_own_checker() -> None:
    assert onnx.load_model_from_string(small_onnx()).graph.name == "small"
