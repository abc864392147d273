"""TFLite graphs: shapes, constants and what is refused, by name and reason."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from systolith.arithmetic import MacArithmetic
from systolith.errors import ModelError, SpecError, UnsupportedOperatorError
from systolith.graph import Graph, Op
from systolith.importers import load_model
from systolith.importers.tflite import import_tflite
from systolith.profiles import get_profile
from systolith.profiles.table import PROFILES

MACS = {
    "resnet8": 12_501_632,
    "dscnn": 2_656_768,
    "mobilenetv1_vww": 7_489_664,
    "autoencoder": 264_192,
    "micro_speech": 336_000,
    "hello_world": 288,
}


@pytest.mark.parametrize("name", MACS)
def test_macs_and_layers(models: Path, name: str) -> None:
    graph = load_model(models / "tflite" / f"{name}.tflite")
    assert (graph.name, graph.profile, graph.macs()) == (name, "tflite-reference", MACS[name])
    lines = (models / "ops" / f"{name}.txt").read_text().strip().splitlines()
    layers = [node for node in graph if not node.name.endswith(("/rows_1", "/rows_2"))]
    assert len(layers) == len(lines)
    for node, line in zip(layers, lines, strict=True):
        assert line.split()[1] == node.source_op
        assert f"MACs={graph.macs(node)} " in line + " "


def test_depthwise_is_a_grouped_convolution(models: Path) -> None:
    graph = load_model(models / "tflite" / "micro_speech.tflite")
    node = next(node for node in graph if node.op is Op.CONV2D)
    assert node.attributes["groups"] == 1
    assert isinstance(node.arithmetic, MacArithmetic)
    assert node.arithmetic.weights.shape == (8, 10, 8, 1)
    assert node.attributes["pads"] == (4, 5, 3, 3)


def test_fully_connected_reads_a_vector(models: Path) -> None:
    graph = load_model(models / "tflite" / "micro_speech.tflite")
    node = next(node for node in graph if node.op is Op.FULLY_CONNECTED)
    assert graph.tensors[node.inputs[0]].shape == (1, 1, 4000)
    maker = graph.producer(node.inputs[0])
    assert maker is not None and maker.op is Op.RESHAPE


def dense(writer: ModuleType, **changes: Any) -> Graph:
    """Import one fully connected layer with some tensors changed: ``x, w, b, y``."""
    T, O = writer.T, writer.O  # noqa: E741 - the writer's own names
    tensors = {
        "x": T((1, 6), scale=0.1, zero=1, name="x"),
        "w": T((4, 6), scale=0.02, data=np.ones((4, 6), np.int8), name="w"),
        "b": T((4,), "int32", scale=0.002, data=np.zeros(4, np.int32), name="b"),
        "y": T((1, 4), scale=0.3, zero=2, name="y"),
    }
    op = O("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")
    op = replace(op, **changes.pop("op", {}))
    tensors = {name: replace(tensor, **changes.get(name, {})) for name, tensor in tensors.items()}
    data = writer.write_tflite(list(tensors.values()), [op], (0,), (3,))
    return import_tflite(data, get_profile("tflite-reference"), name="dense")


def test_dense_imports(writer: ModuleType) -> None:
    graph = dense(writer)
    assert [node.name for node in graph] == ["fully_connected_0"]
    assert graph.macs() == 24


LAYER = "layer 'fully_connected_0': "
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "subnormal scale": (
        {"y": {"scale": 1e-40}},
        (
            "FULLY_CONNECTED tensor 'y': scale must be a positive, finite and normal float32 "
            "number, not a subnormal number"
        ),
    ),
    "computed weights": ({"w": {"data": None}}, "FULLY_CONNECTED weights must be constant"),
    "float weights": (
        {"w": {"dtype": "float32", "data": np.ones((4, 6), np.float32)}},
        "FULLY_CONNECTED weights must be int8 or int4, not float32",
    ),
    "float input": (
        {"x": {"dtype": "float32", "scale": None}},
        "FULLY_CONNECTED tensor 'x' must be int8, not float32; quantize the model fully to int8",
    ),
    "uint8": (
        {"x": {"dtype": "uint8"}},
        "FULLY_CONNECTED tensor 'x' must be int8, not uint8; quantize the model fully to int8",
    ),
    "no scale": ({"y": {"scale": None}}, "FULLY_CONNECTED tensor 'y' must have one scale, not 0"),
    "weights' zero points": (
        {"w": {"scale": [0.02] * 4, "zero": [0, 0, 1, 0]}},
        "FULLY_CONNECTED weights must have one zero point for all channels",
    ),
    "short bias": (
        {"b": {"shape": (3,), "data": np.zeros(3, np.int32)}},
        "FULLY_CONNECTED bias must have 4 values, not 3",
    ),
    "wrong scales": (
        {"w": {"scale": [0.02] * 3}},
        "FULLY_CONNECTED weights must have 1 or 4 scales",
    ),
    "wrong output": (
        {"y": {"shape": (1, 5)}},
        "FULLY_CONNECTED output must have 1 x 4 values, not 5",
    ),
    "no options": ({"op": {"options": ""}}, "must have FullyConnectedOptions"),
    "few inputs": (
        {"op": {"inputs": (0,)}},
        "FULLY_CONNECTED must have 2 to 3 inputs, not 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(writer: ModuleType, case: str) -> None:
    changes, text = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        dense(writer, **{key: dict(value) for key, value in changes.items()})
    assert str(caught.value) == LAYER + text
    assert (caught.value.layer, caught.value.op) == ("fully_connected_0", "FULLY_CONNECTED")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"x": {"signature": (-1, -1)}},
            "tensor 'x': shape must be fixed, not [-1, -1]",
        ),
        (
            {"x": {"shape": (2, 1, 1, 3)}},
            "tensor 'x': shape must be [1, H, W, C], not [2, 1, 1, 3]",
        ),
        ({"w": {"scale": 0.0}}, "tensor 'w': scales must be finite and positive, not 0.0"),
        ({"y": {"scale": float("nan")}}, "tensor 'y': scales must be finite and positive, not nan"),
    ],
)
def test_refused_tensors(writer: ModuleType, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError) as caught:
        dense(writer, **changes)
    assert str(caught.value) == text


def test_dynamic_batch_is_one(writer: ModuleType) -> None:
    graph = dense(writer, x={"signature": (-1, 6)}, y={"signature": (-1, 4)})
    assert graph.tensors["t0"].shape == (1, 1, 6)


@pytest.mark.parametrize(
    ("kind", "custom", "shown"),
    [("CUMSUM", "", "CUMSUM"), ("SVDF", "", "SVDF"), ("CUSTOM", "MyOp", "CUSTOM MyOp")],
)
def test_unsupported_operator_is_named(
    writer: ModuleType, kind: str, custom: str, shown: str
) -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        dense(writer, op={"kind": kind, "custom": custom, "options": ""})
    assert str(caught.value) == (
        f"layer '{shown.lower()}_0': operator {shown} is not supported; "
        "remove it or run it before or after the accelerator"
    )


def test_operator_the_profile_lacks(writer: ModuleType) -> None:
    tensors = [writer.T((1, 4), scale=0.1), writer.T((1, 4), scale=0.1)]
    data = writer.write_tflite(tensors, [writer.O("LOG", (0,), (1,))], (0,), (1,))
    with pytest.raises(UnsupportedOperatorError) as caught:
        import_tflite(data, get_profile("tflm"), name="relu")
    assert str(caught.value) == (
        "layer 'log_0': operator LOG is not supported; "
        "profile 'tflm' has no exact arithmetic for it"
    )


def test_profile_of_another_container(models: Path) -> None:
    text = "^profile must be one for tflite files, not 'onnxruntime'$"
    with pytest.raises(SpecError, match=text):
        load_model(models / "tflite" / "hello_world.tflite", "onnxruntime")


def test_unknown_profile(models: Path) -> None:
    names = ", ".join(PROFILES)
    with pytest.raises(SpecError, match=f"^profile must be one of {names}, not 'x'$"):
        load_model(models / "tflite" / "hello_world.tflite", "x")
