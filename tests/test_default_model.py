"""The embedded network: size, accuracy, what it exercises, and that its record is true."""

import json

import numpy as np
import onnx
import pytest

from systolith.graph import Op
from systolith.importers import load_model
from systolith.verify.samples import default_model, default_samples

RECORD = json.loads(default_model().with_name("digits.json").read_text())


def test_is_tens_of_kilobytes() -> None:
    files = [
        default_model(),
        *(default_model().with_name(f"digits{s}") for s in ("_samples.npz", ".json")),
    ]
    assert sum(path.stat().st_size for path in files) < 50_000


def test_exercises_the_operators() -> None:
    graph = load_model(default_model())
    convolutions = [node.attributes for node in graph if node.op is Op.CONV2D]
    assert any(a["strides"] == (2, 2) for a in convolutions)
    assert all(a["pads"] == (1, 1, 1, 1) for a in convolutions)
    assert {Op.ADD, Op.AVG_POOL, Op.FULLY_CONNECTED, Op.QUANTIZE} <= {node.op for node in graph}
    onnx.checker.check_model(onnx.load(default_model()))


def test_accuracy_is_as_recorded() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    samples = default_samples(load_model(default_model()))
    session = onnxruntime.InferenceSession(default_model(), providers=["CPUExecutionProvider"])
    found = [
        int(session.run(None, {"image": image[None]})[0].argmax())
        for image in samples.inputs["image"]
    ]
    accuracy = float(np.mean(np.array(found) == np.array(samples.labels)))
    assert samples.count == RECORD["test_images"] == 360
    assert round(accuracy, 4) == RECORD["int8_accuracy"] >= 0.97


def test_samples_are_the_dataset_s() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs the extra `train`")
    samples = default_samples(load_model(default_model()))
    digits = datasets.load_digits()
    known = {
        (image / 16.0).astype(np.float32).tobytes(): int(label)
        for image, label in zip(digits.images, digits.target, strict=True)
    }
    for image, label in zip(samples.inputs["image"], samples.labels, strict=True):
        assert known[np.ascontiguousarray(image[0]).tobytes()] == label
