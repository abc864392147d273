"""Every tensor of whole networks from the stored tensor before it, against the runtimes' own."""

from pathlib import Path

import numpy as np
import pytest

from systolith.graph import Graph
from systolith.importers import load_model
from systolith.profiles.reference import evaluate_graph, evaluate_node

TFLITE = {
    "resnet8": 1_148_360,
    "dscnn": 1_154_432,
    "mobilenetv1_vww": 2_320_680,
    "autoencoder": 26_752,
    "micro_speech": 23_872,
    "hello_world": 8_448,
}
ONNX = {
    "ic_resnet8_qop_u8s8_pc": 1_179_180,
    "ic_resnet8_qop_s8s8_pt": 1_179_180,
    "kws_dscnn_qop_u8s8_pc": 871_848,
    "kws_dscnn_qop_s8s8_pt": 871_848,
}
TFLM = {
    "resnet8": "golden_ic_resnet8",
    "dscnn": "golden_kws_dscnn",
    "mobilenetv1_vww": "golden_vww_mobilenetv1",
    "autoencoder": "golden_ad_autoencoder",
}


def compare(graph: Graph, stored: dict[str, np.ndarray], samples: int) -> tuple[int, list[str]]:
    """Return values compared and what differs, node by node from stored inputs."""
    compared, wrong = 0, []
    for index in range(samples):
        made: dict[str, np.ndarray] = {}
        for node in graph:
            inputs = [
                made[name]
                if name not in stored
                else graph.tensors[name].canonical(stored[name][index : index + 1])
                for name in node.inputs
            ]
            result = evaluate_node(graph, node, inputs)
            name = node.outputs[0]
            made[name] = result
            if name in stored:
                expected = graph.tensors[name].canonical(stored[name][index : index + 1])
                compared += result.size
                differing = int((result != expected).sum())
                if differing:
                    wrong.append(f"{node.name} sample {index}: {differing} of {result.size}")
    return compared, wrong


def outputs(graph: Graph, inputs: np.ndarray) -> np.ndarray:
    """Return the first output of all samples, in the runtime's layout."""
    source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    results = []
    for sample in inputs:
        values = evaluate_graph(graph, {source.name: source.canonical(sample[None])})
        results.append(target.source(values[target.name]))
    return np.concatenate(results)


@pytest.mark.parametrize("name", TFLITE)
def test_reference_kernels_every_tensor(models: Path, name: str) -> None:
    graph = load_model(models / "tflite" / f"{name}.tflite")
    with np.load(models / "tflite" / f"{name}.npz") as data:
        stored = {key: data[key] for key in data.files if key[0] == "t" and key[1:].isdigit()}
        samples = len(data["inputs"])
    assert compare(graph, stored, samples) == (TFLITE[name], [])


@pytest.mark.parametrize("name", ONNX)
def test_onnxruntime_every_tensor(models: Path, name: str) -> None:
    graph = load_model(models / "onnx" / f"{name}.onnx")
    with np.load(models / "onnx" / f"{name}.npz") as data:
        stored = {key[4:]: data[key] for key in data.files if key.startswith("out/")}
        stored["input"] = data["input"]
    assert compare(graph, stored, len(stored["input"])) == (ONNX[name], [])


@pytest.mark.parametrize("name", TFLITE)
def test_xnnpack_outputs(models: Path, name: str) -> None:
    graph = load_model(models / "tflite" / f"{name}.tflite", "tflite-xnnpack")
    with np.load(models / "tflite" / f"{name}.npz") as data:
        np.testing.assert_array_equal(outputs(graph, data["inputs"]), data["xnn_out"])


@pytest.mark.parametrize("name", TFLM)
def test_tflm_outputs(models: Path, name: str) -> None:
    graph = load_model(models / "tflite" / f"{name}.tflite", "tflm")
    with (
        np.load(models / "tflite" / f"{name}.npz") as data,
        np.load(models / "tflite" / "tflm_outputs.npz") as golden,
    ):
        np.testing.assert_array_equal(outputs(graph, data["inputs"]), golden[TFLM[name]])


def test_profiles_differ_where_they_should(models: Path) -> None:
    # The autoencoder is the network on which LiteRT's reference kernels and TFLM disagree.
    path = models / "tflite" / "autoencoder.tflite"
    with np.load(models / "tflite" / "autoencoder.npz") as data:
        reference = outputs(load_model(path), data["inputs"])
        micro = outputs(load_model(path, "tflm"), data["inputs"])
    assert int((reference != micro).sum()) == 3644
