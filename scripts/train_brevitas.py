#!/usr/bin/env python3
"""Train a 4-bit network with Brevitas and export it to QONNX: ``python scripts/train_brevitas.py``.

A residual network for the 8x8 digits of scikit-learn, weights and activations of 4 bits: padding,
strides, a depthwise layer, batch normalization, a residual add, a truncated average and a fully
connected layer. Writes NAME.onnx, and NAME.npz with test images and labels. Needs
``pip install systolith[qonnx,train] torch==2.13.0 brevitas==0.13.4 onnxoptimizer``.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

try:
    import brevitas.nn as qnn
    import torch
    from brevitas.export import export_qonnx
    from brevitas.quant.fixed_point import (
        Int8ActPerTensorFixedPoint,
        Int8WeightPerTensorFixedPoint,
        Uint8ActPerTensorFixedPoint,
    )
    from brevitas.quant.scaled_int import (
        Int8ActPerTensorFloat,
        Int8WeightPerChannelFloat,
        Int16Bias,
        Uint8ActPerTensorFloat,
    )
    from sklearn.datasets import load_digits
    from torch import Tensor, nn
except ImportError as error:
    package = (error.name or "torch").partition(".")[0]
    raise SystemExit(
        f"error: {package} is not installed; install it with: "
        "pip install systolith[qonnx,train] torch==2.13.0 brevitas==0.13.4 onnxoptimizer"
    ) from None

SEED = 20241
CLASSES = 10
MAX_IR_VERSION = 13
"""Newest ONNX IR that the pinned onnxruntime reads."""

QUANTIZERS = {
    "float": (Int8WeightPerChannelFloat, Int8ActPerTensorFloat, Uint8ActPerTensorFloat),
    "power-of-two": (
        Int8WeightPerTensorFixedPoint,
        Int8ActPerTensorFixedPoint,
        Uint8ActPerTensorFixedPoint,
    ),
}
"""By kind of scales: of weights, of signed and of unsigned activations."""

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


class Network(nn.Module):
    """The network: five layers with weights.

    Parameters
    ----------
    scales: key of `QUANTIZERS`.
    bits: of weights and activations; the input has 8.
    width: channels of the first layer.
    """

    def __init__(self, scales: str, bits: int, width: int) -> None:
        super().__init__()
        weight, signed, unsigned = QUANTIZERS[scales]
        own = {"weight_quant": weight, "weight_bit_width": bits, "bias": False}

        def conv(into: int, out: int, **more: int) -> nn.Sequential:
            layer = qnn.QuantConv2d(into, out, 3, padding=1, **own, **more)
            return nn.Sequential(layer, nn.BatchNorm2d(out))

        def relu() -> nn.Module:
            return qnn.QuantReLU(act_quant=unsigned, bit_width=bits, return_quant_tensor=True)

        deep = width * 3 // 2
        self.image = qnn.QuantIdentity(act_quant=signed, bit_width=8, return_quant_tensor=True)
        self.first = nn.Sequential(conv(1, width), relu())
        self.depthwise = nn.Sequential(conv(width, width, groups=width), relu())
        self.down = conv(width, deep, stride=2)
        # One quantizer for both operands of the residual add: they need one scale.
        self.shared = qnn.QuantIdentity(act_quant=signed, bit_width=bits, return_quant_tensor=True)
        self.again = nn.Sequential(relu(), conv(deep, deep))
        self.last = relu()
        self.average = qnn.TruncAvgPool2d(4, bit_width=bits, return_quant_tensor=True)
        linear = {**own, "bias": True, "bias_quant": Int16Bias}
        self.classes = qnn.QuantLinear(deep, CLASSES, **linear)

    def forward(self, images: Tensor) -> Tensor:
        """Return one score a class for images [N, 1, 8, 8] in [0, 1]."""
        x = self.depthwise(self.first(self.image(images)))
        down = self.shared(self.down(x))
        again = self.shared(self.again(down))
        pooled = self.average(self.last(down + again))
        scores: Tensor = self.classes(pooled.flatten(1))
        return scores


def digits() -> tuple[Arrays, Arrays]:
    """Return images [N, 1, 8, 8] in [0, 1] and labels: four fifths to train, the rest to test."""
    data = load_digits()
    images = (data.images / 16.0).astype(np.float32)[:, None]
    order = np.random.default_rng(SEED).permutation(len(images))
    cut = len(images) * 4 // 5
    parts = order[:cut], order[cut:]
    train, test = ((images[p], data.target[p].astype(np.int64)) for p in parts)
    return train, test


def train(network: Network, data: Arrays, epochs: int) -> None:
    """Train in place."""
    images, labels = (torch.from_numpy(each) for each in data)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    network.train()
    for epoch in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.4f}", flush=True)


def accuracy(network: Network, data: Arrays) -> float:
    """Return the share of images classified right."""
    network.eval()
    with torch.no_grad():
        scores = network(torch.from_numpy(data[0]))
    return float((scores.argmax(1).numpy() == data[1]).mean())


def export(network: Network, path: Path) -> None:
    """Write the QONNX file."""
    network.eval()
    export_qonnx(network, args=torch.zeros(1, 1, 8, 8), export_path=str(path), dynamo=False)
    model = onnx.load(path)
    model.ir_version = min(model.ir_version, MAX_IR_VERSION)
    onnx.save(model, path)


def main() -> None:
    """Train, report, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/digits_w4a4.onnx"))
    parser.add_argument("--scales", choices=sorted(QUANTIZERS), default="power-of-two")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=10, help="test images in NAME.npz")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    network = Network(options.scales, options.bits, options.width)
    learning, test = digits()
    train(network, learning, options.epochs)
    print(f"accuracy {accuracy(network, test):.4f} of {len(test[0])} test images")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    export(network, options.output)
    few = slice(0, options.samples)
    np.savez(options.output.with_suffix(".npz"), inputs=test[0][few], labels=test[1][few])
    print(f"wrote {options.output} ({options.output.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
