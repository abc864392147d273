#!/usr/bin/env python3
"""Train and quantize the embedded network: ``python scripts/train_default.py`` (minutes).

A small residual network for the 8x8 digits of scikit-learn, trained with numpy alone, exported to
ONNX and quantized to int8 by onnxruntime: padding, strides, a residual add, global average pooling
and a fully connected layer in 15 kB. Needs the extra ``train``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

try:
    from sklearn.datasets import load_digits
except ImportError:
    raise SystemExit(
        "error: scikit-learn is not installed; install it with: pip install systolith[train]"
    ) from None

Array = NDArray[np.float32]
Weights = dict[str, Array]

SEED = 20240
EPOCHS = 45
BATCH = 32
OUTPUT = Path(__file__).parent.parent / "src" / "systolith" / "data"

LAYERS = {"conv1": (16, 1, 1), "conv2": (24, 16, 2), "conv3": (24, 24, 1), "conv4": (24, 24, 1)}
"""Convolutions 3x3, padding 1: output channels, input channels, stride."""
CLASSES = 10


def digits() -> tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]:
    """Return images [N, 1, 8, 8] in [0, 1] and labels: four fifths to train, the rest to test."""
    data = load_digits()
    images = (data.images / 16.0).astype(np.float32)[:, None]
    order = np.random.default_rng(SEED).permutation(len(images))
    cut = len(images) * 4 // 5
    train, test = order[:cut], order[cut:]
    return images[train], data.target[train], images[test], data.target[test]


def initial() -> Weights:
    """Return random weights of the right variance, biases zero."""
    rng = np.random.default_rng(SEED + 1)
    weights: Weights = {}
    for name, (out, into, _) in LAYERS.items():
        scale = np.sqrt(2.0 / (9 * into))
        weights[f"{name}.w"] = (rng.standard_normal((out, into, 3, 3)) * scale).astype(np.float32)
        weights[f"{name}.b"] = np.zeros(out, np.float32)
    width = LAYERS["conv4"][0]
    spread = np.sqrt(1.0 / width)
    weights["fc.w"] = (rng.standard_normal((CLASSES, width)) * spread).astype(np.float32)
    weights["fc.b"] = np.zeros(CLASSES, np.float32)
    return weights


def columns(x: Array, stride: int) -> Array:
    """Return the 3x3 windows of x [N, C, H, W], padded by 1, as [N, H', W', C*9]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    views = views[:, :, ::stride, ::stride]
    n, c, h, w = views.shape[:4]
    return views.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


def spread(gradient: Array, shape: tuple[int, ...], stride: int) -> Array:
    """Add the gradients of windows up to that of x: the transpose of `columns`."""
    n, c, h, w = shape
    rows, width = gradient.shape[1:3]
    parts = gradient.reshape(n, rows, width, c, 3, 3)
    total = np.zeros((n, c, h + 2, w + 2), np.float32)
    for i in range(3):
        for j in range(3):
            part = parts[..., i, j].transpose(0, 3, 1, 2)
            total[:, :, i : i + rows * stride : stride, j : j + width * stride : stride] += part
    return total[:, :, 1:-1, 1:-1]


class Network:
    """Forward and backward pass; keeps what the backward pass needs."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.kept: dict[str, tuple[Array, tuple[int, ...]]] = {}

    def convolve(self, name: str, x: Array) -> Array:
        """Convolution with bias."""
        out, _, stride = LAYERS[name]
        windows = columns(x, stride)
        self.kept[name] = (windows, x.shape)
        total = windows @ self.weights[f"{name}.w"].reshape(out, -1).T
        return (total + self.weights[f"{name}.b"]).transpose(0, 3, 1, 2)

    def back(self, name: str, gradient: Array, into: Weights) -> Array:
        """Store the gradients of a convolution's weights; return that of its input."""
        out, _, stride = LAYERS[name]
        windows, shape = self.kept[name]
        flat = gradient.transpose(0, 2, 3, 1).reshape(-1, out)
        weight = self.weights[f"{name}.w"]
        into[f"{name}.w"] = (flat.T @ windows.reshape(len(flat), -1)).reshape(weight.shape)
        into[f"{name}.b"] = flat.sum(axis=0)
        wide = (flat @ weight.reshape(out, -1)).reshape(windows.shape)
        return spread(wide, shape, stride)

    def forward(self, x: Array) -> Array:
        """Return logits [N, 10]."""
        self.a1 = np.maximum(self.convolve("conv1", x), 0)
        self.a2 = np.maximum(self.convolve("conv2", self.a1), 0)
        self.a3 = np.maximum(self.convolve("conv3", self.a2), 0)
        self.total = self.convolve("conv4", self.a3) + self.a2
        self.mean = self.total.mean(axis=(2, 3))
        return self.mean @ self.weights["fc.w"].T + self.weights["fc.b"]

    def backward(self, gradient: Array) -> Weights:
        """Return the gradients of all weights for the gradient of the logits."""
        into: Weights = {"fc.w": gradient.T @ self.mean, "fc.b": gradient.sum(axis=0)}
        pixels = self.total.shape[2] * self.total.shape[3]
        wide = (gradient @ self.weights["fc.w"])[:, :, None, None] / np.float32(pixels)
        d_total = np.broadcast_to(wide, self.total.shape).astype(np.float32)
        d3 = self.back("conv4", d_total, into) * (self.a3 > 0)
        d2 = (self.back("conv3", d3, into) + d_total) * (self.a2 > 0)
        d1 = self.back("conv2", d2, into) * (self.a1 > 0)
        self.back("conv1", d1, into)
        return into


def shifted(x: Array, rng: np.random.Generator) -> Array:
    """Move every other image by up to one pixel: the classes of digits do not change."""
    result = x.copy()
    for index in np.flatnonzero(rng.random(len(x)) < 0.5):
        down, right = rng.integers(-1, 2, 2)
        padded = np.pad(x[index, 0], 1)
        result[index, 0] = padded[1 - down : 9 - down, 1 - right : 9 - right]
    return result


def train(x: Array, labels: NDArray[np.int64]) -> Weights:
    """Minimise cross entropy with Adam and a cosine schedule."""
    weights = initial()
    network = Network(weights)
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    rng = np.random.default_rng(SEED + 2)
    steps = EPOCHS * -(-len(x) // BATCH)
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            chosen = order[start : start + BATCH]
            logits = network.forward(shifted(x[chosen], rng))
            likely = np.exp(logits - logits.max(axis=1, keepdims=True))
            likely /= likely.sum(axis=1, keepdims=True)
            likely[np.arange(len(chosen)), labels[chosen]] -= 1
            step += 1
            rate = 0.004 * (1 + np.cos(np.pi * step / steps)) / 2
            for name, gradient in network.backward(likely / np.float32(len(chosen))).items():
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                ready = first[name] / (1 - 0.9**step)
                size = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
                weights[name] -= (rate * (ready / size + 1e-4 * weights[name])).astype(np.float32)
    return weights


def to_onnx(weights: Weights) -> onnx.ModelProto:
    """Return the trained network as a float ONNX model."""
    nodes = []

    def conv(name: str, source: str, target: str) -> None:
        stride = LAYERS[name][2]
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}.w", f"{name}.b"],
                [target],
                name=name,
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                strides=[stride, stride],
            )
        )

    def plain(kind: str, name: str, sources: list[str], target: str, **more: int) -> None:
        nodes.append(helper.make_node(kind, sources, [target], name=name, **more))

    conv("conv1", "image", "c1")
    plain("Relu", "relu1", ["c1"], "a1")
    conv("conv2", "a1", "c2")
    plain("Relu", "relu2", ["c2"], "a2")
    conv("conv3", "a2", "c3")
    plain("Relu", "relu3", ["c3"], "a3")
    conv("conv4", "a3", "c4")
    plain("Add", "add", ["c4", "a2"], "sum")
    plain("GlobalAveragePool", "pool", ["sum"], "mean")
    plain("Flatten", "flatten", ["mean"], "features", axis=1)
    plain("Gemm", "classify", ["features", "fc.w", "fc.b"], "logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class Samples(CalibrationDataReader):
    """Training images, for calibration."""

    def __init__(self, x: Array) -> None:
        self.rest: Iterator[Array] = iter(x)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next image, or None."""
        image = next(self.rest, None)
        return None if image is None else {"image": image[None]}


def quantize(model: onnx.ModelProto, x: Array) -> bytes:
    """Return the model in int8: QOperator form, weights per channel, activations asymmetric."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            Samples(x),
            quant_format=QuantFormat.QOperator,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return target.read_bytes()


def accuracy(model: bytes, x: Array, labels: NDArray[np.int64]) -> float:
    """Return the share of images that onnxruntime classifies as labelled."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = [int(session.run(None, {"image": image[None]})[0].argmax()) for image in x]
    return float(np.mean(np.array(found) == labels))


def main() -> int:
    """Write the model, the test images and the record of both accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the three files")
    folder = parser.parse_args().output
    x, labels, test, answers = digits()
    model = to_onnx(train(x, labels))
    quantized = quantize(model, x[:500])
    record = {
        "dataset": "scikit-learn digits, 8x8, BSD-3-Clause; every fifth image kept for the test",
        "training_images": len(x),
        "test_images": len(test),
        "float_accuracy": round(accuracy(model.SerializeToString(), test, answers), 4),
        "int8_accuracy": round(accuracy(quantized, test, answers), 4),
        "onnxruntime": onnxruntime.__version__,
        "seed": SEED,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "digits_int8.onnx").write_bytes(quantized)
    np.savez_compressed(folder / "digits_samples.npz", inputs=test, labels=answers.astype(np.int8))
    (folder / "digits.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
