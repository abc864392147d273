"""Write int8 ResNet-50 and MobileNetV2 (224 x 224) with random weights as ONNX QOperator files.

The shapes are torchvision's, batch normalization folded into the convolutions; the weights are
drawn from a fixed seed and quantized by ONNX Runtime's static quantization, calibrated on random
images. They serve tests and benchmarks: how fast and how exact, not what is in the picture.

    python scripts/make_networks.py DIRECTORY [resnet50] [mobilenetv2] [--size 224] [--width 1.0]
"""

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

__all__ = ["NETWORKS", "make_network"]

_SEED = 2026
_IMAGES = 2


class _Builder:
    """Appends float operators, NCHW; every method returns the new tensor's name."""

    def __init__(self, size: int) -> None:
        self.rng = np.random.default_rng(_SEED)
        self.size = size
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.channels = {"image": 3}

    def _node(self, op: str, inputs: list[str], channels: int, **attributes: object) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        self.channels[name] = channels
        return name

    def _constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def conv(
        self, x: str, channels: int, kernel: int, stride: int = 1, *, groups: int = 1,
        gain: float = 1.0,
    ) -> str:  # fmt: skip
        """A convolution with folded normalization."""
        depth = self.channels[x] // groups
        scale = gain * np.sqrt(2.0 / (depth * kernel * kernel))
        name = f"w{len(self.nodes)}"
        weights = self.rng.normal(0.0, scale, (channels, depth, kernel, kernel))
        bias = self.rng.normal(0.0, 0.1, channels)
        inputs = [x, self._constant(name, weights), self._constant(f"{name}_bias", bias)]
        pad = kernel // 2
        return self._node(
            "Conv", inputs, channels, kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[pad] * 4, group=groups,
        )  # fmt: skip

    def relu(self, x: str) -> str:
        """max(x, 0)."""
        return self._node("Relu", [x], self.channels[x])

    def relu6(self, x: str) -> str:
        """min(max(x, 0), 6)."""
        if "zero" not in {c.name for c in self.constants}:
            self._constant("zero", np.array(0.0, np.float32))
            self._constant("six", np.array(6.0, np.float32))
        return self._node("Clip", [x, "zero", "six"], self.channels[x])

    def add(self, a: str, b: str) -> str:
        """a + b."""
        return self._node("Add", [a, b], self.channels[a])

    def max_pool(self, x: str) -> str:
        """3 x 3, stride 2."""
        return self._node(
            "MaxPool", [x], self.channels[x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4
        )

    def classifier(self, x: str, classes: int) -> str:
        """Global average and a fully connected layer."""
        depth = self.channels[x]
        x = self._node("GlobalAveragePool", [x], depth)
        x = self._node("Flatten", [x], depth, axis=1)
        weights = self.rng.normal(0.0, np.sqrt(1.0 / depth), (classes, depth))
        bias = self.rng.normal(0.0, 0.1, classes)
        inputs = [x, self._constant("w_fc", weights), self._constant("b_fc", bias)]
        return self._node("Gemm", inputs, classes, transB=1)

    def model(self, output: str, classes: int) -> onnx.ModelProto:
        """The network that ends with ``output``."""
        image = helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, [1, 3, self.size, self.size]
        )
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, classes])
        graph = helper.make_graph(self.nodes, "network", [image], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        return model


def _resnet50(net: _Builder, width: float) -> onnx.ModelProto:
    def wide(channels: int) -> int:
        return max(8, int(channels * width))

    x = net.max_pool(net.relu(net.conv("image", wide(64), 7, 2)))
    for blocks, channels, first in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for block in range(blocks):
            stride = first if block == 0 else 1
            y = net.relu(net.conv(x, wide(channels), 1))
            y = net.relu(net.conv(y, wide(channels), 3, stride))
            y = net.conv(y, wide(4 * channels), 1, gain=0.4)
            if block == 0:
                x = net.conv(x, wide(4 * channels), 1, stride, gain=0.7)
            x = net.relu(net.add(y, x))
    return net.model(net.classifier(x, 1000), 1000)


def _mobilenetv2(net: _Builder, width: float) -> onnx.ModelProto:
    def wide(channels: int) -> int:
        return max(8, int(channels * width + 4) // 8 * 8)

    x = net.relu6(net.conv("image", wide(32), 3, 2))
    settings = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    )  # fmt: skip
    for expansion, channels, blocks, first in settings:
        for block in range(blocks):
            stride, depth = first if block == 0 else 1, net.channels[x]
            y = x if expansion == 1 else net.relu6(net.conv(x, expansion * depth, 1))
            hidden = net.channels[y]
            y = net.relu6(net.conv(y, hidden, 3, stride, groups=hidden))
            y = net.conv(y, wide(channels), 1, gain=0.7)
            x = net.add(x, y) if stride == 1 and depth == wide(channels) else y
    x = net.relu6(net.conv(x, max(wide(1280), 1280) if width >= 1 else wide(1280), 1))
    return net.model(net.classifier(x, 1000), 1000)


NETWORKS: dict[str, Callable[[_Builder, float], onnx.ModelProto]] = {
    "resnet50": _resnet50,
    "mobilenetv2": _mobilenetv2,
}
"""The networks by name."""


class _Images(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """A few random images."""

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(_SEED + 1)
        shape = (1, 3, size, size)
        self._images: Iterator[dict[str, NDArray[np.float32]]] = iter(
            [{"image": rng.normal(0.0, 1.0, shape).astype(np.float32)} for _ in range(_IMAGES)]
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next image, or None."""
        return next(self._images, None)


def make_network(name: str, path: Path, *, size: int = 224, width: float = 1.0) -> None:
    """Write a quantized network.

    Parameters
    ----------
    name: of `NETWORKS`.
    path: the file to write.
    size: height and width of the image.
    width: factor of all channel counts, for quick tests.
    """
    model = NETWORKS[name](_Builder(size), width)
    onnx.checker.check_model(model)
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        float_path = Path(folder) / "float.onnx"
        onnx.save(model, float_path)
        quantize_static(
            float_path,
            path,
            _Images(size),
            quant_format=QuantFormat.QOperator,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )


def main() -> None:
    """Write the networks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or NETWORKS:
        path = arguments.directory / f"{name}_u8s8.onnx"
        make_network(name, path, size=arguments.size, width=arguments.width)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
