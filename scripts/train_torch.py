#!/usr/bin/env python3
"""Train a small network on scikit-learn's digits with PyTorch and save it in each quantized form.

usage: python scripts/train_torch.py FOLDER [--random]

Writes digits_x86.pt, digits_qnnpack.pt (quantized eager modules, traced) and digits_pt2e.pt2
(torchao's PT2E, exported), each with an .npz of test images and labels beside it. With --random
they are of the shape of MLPerf Tiny's ResNet-8 instead, resnet8_..., with random weights. Needs the
extras torch and train, and torchao for the last form.
"""

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

try:
    import torch
    from torch import nn
    from torch.ao.quantization import (
        DeQuantStub,
        QuantStub,
        convert,
        fuse_modules,
        get_default_qconfig,
        prepare,
    )
except ImportError as error:
    package = (error.name or "torch").partition(".")[0]
    raise SystemExit(
        f"error: {package} is not installed; install it with: pip install systolith[torch,train]"
    ) from None

SEED = 3


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, by a 1x1 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        changed = inputs != outputs or stride != 1
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changed else nn.Identity()
        self.add = torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``relu(conv(relu(conv(x))) + shortcut(x))``."""
        return self.add.add_relu(self.conv2(self.relu1(self.conv1(x))), self.shortcut(x))


class Network(nn.Module):
    """A convolution, blocks, the mean over the image, and a classifier."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.quant, self.dequant = QuantStub(), DeQuantStub()
        self.conv = nn.Conv2d(inputs, widths[0], 3, 1, 1)
        self.relu = nn.ReLU()
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.Sequential(*(Block(a, b, 1 if a == b else 2) for a, b in pairs))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classes = nn.Linear(widths[-1], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ten scores for each image."""
        x = self.blocks(self.relu(self.conv(self.quant(x))))
        return self.dequant(self.classes(torch.flatten(self.pool(x), 1)))


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 8x8 digits as float32 images of one channel, and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images / 16.0).astype(np.float32)[:, None]
    order = np.random.default_rng(SEED).permutation(len(images))
    return images[order], data.target[order]


def train(images: np.ndarray, labels: np.ndarray) -> Network:
    """Return a float32 network trained on the first 1500 images."""
    torch.manual_seed(SEED)
    network = Network(1, (8, 16))
    x, y = torch.from_numpy(images[:1500]), torch.from_numpy(labels[:1500]).long()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return network.eval()


def eager(network: Network, images: np.ndarray, engine: str, path: Path) -> None:
    """Quantize by torch.ao.quantization for an engine, trace and save."""
    import copy

    torch.backends.quantized.engine = engine
    model = copy.deepcopy(network).eval()
    model = fuse_modules(model, [["conv", "relu"]])
    for block in model.blocks:
        fuse_modules(block, [["conv1", "relu1"]], inplace=True)
    model.qconfig = get_default_qconfig(engine)
    observed = prepare(model)
    observed(torch.from_numpy(images[:256]))
    example = torch.from_numpy(images[:1])
    traced = torch.jit.trace(convert(observed), example)
    shape = ",".join(str(side) for side in example.shape)
    torch.jit.save(traced, str(path), _extra_files={"input_shape": shape})


def pt2e(network: Network, images: np.ndarray, path: Path) -> None:
    """Quantize by torchao's PT2E, every tensor, export and save."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from train_torch_quantizer import EveryTensor  # beside this script

    example = (torch.from_numpy(images[:1]),)
    observed = prepare_pt2e(torch.export.export(network, example).module(), EveryTensor())
    for index in range(256):
        observed(torch.from_numpy(images[index : index + 1]))
    exported = torch.export.export(convert_pt2e(observed), example)
    torch.export.save(exported, str(path))


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--random", action="store_true", help="ResNet-8's shape, random weights")
    arguments = parser.parse_args()
    for module in ("torchao",) if arguments.random else ("sklearn", "torchao"):
        if importlib.util.find_spec(module) is None:
            raise SystemExit(
                f"error: {module} is not installed; install it with: "
                "pip install systolith[train] torchao"
            )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if arguments.random:
        torch.manual_seed(SEED)
        images = np.random.default_rng(SEED).random((300, 3, 32, 32), np.float32)
        labels = np.zeros(300, np.int64)
        name, network = "resnet8", Network(3, (16, 16, 32, 64)).eval()
    else:
        images, labels = digits()
        name, network = "digits", train(images, labels)
        scores = network(torch.from_numpy(images[1500:])).argmax(1).numpy()
        print(f"float32: {(scores == labels[1500:]).mean():.1%} of {len(scores)} test images")
    forms: list[tuple[str, Callable[[Path], None]]] = [
        (f"{name}_x86.pt", lambda path: eager(network, images, "x86", path)),
        (f"{name}_qnnpack.pt", lambda path: eager(network, images, "qnnpack", path)),
        (f"{name}_pt2e.pt2", lambda path: pt2e(network, images, path)),
    ]
    for file, write in forms:
        path = arguments.folder / file
        write(path)
        keep = slice(len(images) - 100, None)
        np.savez(path.with_suffix(".npz"), inputs=images[keep], labels=labels[keep])
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
