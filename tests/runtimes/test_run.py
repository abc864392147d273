"""The oracles: what they give, and what they say when they cannot."""

import sys
from pathlib import Path

import numpy as np
import pytest

from systolith.errors import InputError, SpecError, ToolError
from systolith.importers import load_model
from systolith.profiles import PROFILES
from systolith.runtimes import RUNTIMES, default_runtime, run_runtime


def test_every_profile_has_its_runtime() -> None:
    assert set(RUNTIMES) == set(PROFILES)


@pytest.mark.parametrize(
    ("runtime", "key"), [("tflite-reference", "ref_out"), ("tflite-xnnpack", "xnn_out")]
)
def test_stored_outputs(models: Path, runtime: str, key: str) -> None:
    graph = load_model(models / "tflite" / "hello_world.tflite", runtime)
    with np.load(models / "tflite" / "hello_world.npz") as data:
        result = run_runtime(graph, data["inputs"])
        np.testing.assert_array_equal(result[graph.outputs[0]], data[key])
    assert default_runtime(graph) == runtime
    assert ("t7" in result) == (runtime == "tflite-reference")


def test_tflm(models: Path) -> None:
    pytest.importorskip("tflite_micro", reason="TFLM's wheel is not installed")
    with np.load(models / "tflite" / "micro_speech.npz") as data:
        result = run_runtime(models / "tflite" / "micro_speech.tflite", data["inputs"], "tflm")
        np.testing.assert_array_equal(result["t9"], data["ref_out"])


@pytest.mark.parametrize("kind", ["qop_u8s8_pc", "qop_s8s8_pt"])
def test_onnxruntime_gives_stored_tensors_on_any_processor(models: Path, kind: str) -> None:
    # The stored ones are from a processor with VNNI; without it plain uint8 x int8 saturates.
    path = models / "onnx" / f"kws_dscnn_{kind}.onnx"
    with np.load(path.with_suffix(".npz")) as data:
        stored = {key[4:]: data[key][:2] for key in data.files if key.startswith("out/")}
        result = run_runtime(load_model(path), data["input"][:2])
    assert set(stored) <= set(result)
    for name, value in stored.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("module", "runtime", "extra"),
    [
        ("ai_edge_litert", "tflite-reference", r"systolith\[tflite\]"),
        ("tflite_micro.python.tflite_micro", "tflm", r"systolith\[tflm\]"),
    ],
)
def test_missing_package_names_its_extra(
    models: Path, monkeypatch: pytest.MonkeyPatch, module: str, runtime: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    graph = load_model(models / "tflite" / "hello_world.tflite", runtime)
    with pytest.raises(ToolError, match=f"is not installed; install it with: pip install {extra}$"):
        run_runtime(graph, np.zeros((1, 1), np.int8))


def test_wrong_inputs(models: Path) -> None:
    graph = load_model(models / "tflite" / "hello_world.tflite")
    cases = [
        ({"x": np.zeros((1, 1), np.int8)}, r"^inputs must be \['t0'\], not \['x'\]$"),
        ({"t0": np.zeros((1, 1))}, "^input 't0' must be int8, not float64$"),
        ({"t0": np.zeros((1, 2), np.int8)}, r"^input 't0' must have shape \(1, 1\), not \(1, 2\)$"),
    ]
    for inputs, text in cases:
        with pytest.raises(InputError, match=text):
            run_runtime(graph, inputs)


def test_runtime_of_another_kind(models: Path) -> None:
    graph = load_model(models / "tflite" / "hello_world.tflite")
    text = "^runtime must be one for 'tflite-reference' models, not 'onnxruntime'$"
    with pytest.raises(SpecError, match=text):
        run_runtime(graph, np.zeros((1, 1), np.int8), "onnxruntime")
