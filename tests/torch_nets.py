"""Quantized PyTorch networks for tests, made in a moment; only imported where torch is."""

import importlib
import warnings
from pathlib import Path

import torch
from torch import nn

SHAPE = "1,1,8,8"


class Net(nn.Module):
    """Every operator of the importer once."""

    def __init__(self) -> None:
        super().__init__()
        ao = torch.ao.quantization
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv, self.relu = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()
        self.depthwise, self.relu2 = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU()
        self.point = nn.Conv2d(8, 8, 1)
        self.add = torch.ao.nn.quantized.FloatFunctional()
        self.mul = torch.ao.nn.quantized.FloatFunctional()
        self.cat = torch.ao.nn.quantized.FloatFunctional()
        self.largest, self.average = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.swish, self.sigmoid = nn.Hardswish(), nn.Sigmoid()
        self.mean, self.drop = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.1)
        self.linear = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv(self.quant(x)))
        x = self.add.add_relu(x, self.point(self.relu2(self.depthwise(x))))
        x = self.swish(self.largest(x))
        x = self.mul.mul(x, self.sigmoid(x))
        x = self.cat.cat([x, x], dim=1)
        x = self.mean(self.average(x))
        return self.dequant(self.linear(self.drop(torch.flatten(x, 1))))


def quantized(engine: str) -> nn.Module:
    """Return a converted network of random weights for an engine."""
    ao = torch.ao.quantization
    torch.manual_seed(5)
    torch.backends.quantized.engine = engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = Net().eval()
        for layer in (net.conv, net.depthwise, net.point, net.linear):
            nn.init.normal_(layer.bias, 0, 0.3)
        net = ao.fuse_modules(net, [["conv", "relu"], ["depthwise", "relu2"]])
        net.qconfig = ao.get_default_qconfig(engine)
        observed = ao.prepare(net)
        observed(torch.rand(32, 1, 8, 8))
        return ao.convert(observed)


def save_traced(module: nn.Module, path: Path, shape: str = SHAPE) -> Path:
    """Trace a module and save it with the shape of its input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros([int(side) for side in SHAPE.split(",")])
        extra = {"input_shape": shape} if shape else {}
        torch.jit.save(torch.jit.trace(module, example), str(path), _extra_files=extra)
    return path


class Decomposed(nn.Module):
    """What PT2E leaves: float32 between dequantize and quantize. Residual, pool, classifier."""

    def __init__(self, output: bool = True) -> None:
        super().__init__()
        self.output = output
        generator = torch.Generator().manual_seed(9)
        for name, shape in (("w1", (8, 1, 3, 3)), ("w2", (8, 8, 3, 3)), ("w3", (10, 8))):
            codes = torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
            self.register_buffer(name, codes)
            scales = torch.rand(shape[0], generator=generator) * 0.004 + 0.001
            self.register_buffer(f"{name}_scale", scales)
            self.register_buffer(f"{name}_zero", torch.zeros(shape[0], dtype=torch.int64))
            self.register_buffer(f"{name}_bias", torch.randn(shape[0], generator=generator) * 0.2)

    def filters(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [getattr(self, f"{name}{suffix}") for suffix in ("", "_scale", "_zero", "_bias")]
        decomposed = torch.ops.quantized_decomposed
        real = decomposed.dequantize_per_channel(*parts[:3], 0, -128, 127, torch.int8)
        return real, parts[3]

    def again(self, x: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
        decomposed = torch.ops.quantized_decomposed
        codes = decomposed.quantize_per_tensor(x, scale, zero, 0, 255, torch.uint8)
        return decomposed.dequantize_per_tensor(codes, scale, zero, 0, 255, torch.uint8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.again(x, 1 / 255, 0)
        x = self.again(torch.relu(nn.functional.conv2d(x, *self.filters("w1"), padding=1)), 0.02, 0)
        y = self.again(nn.functional.conv2d(x, *self.filters("w2"), padding=1), 0.31, 117)
        x = self.again(torch.relu(x + y), 0.17, 0)
        x = self.again(nn.functional.hardswish(nn.functional.max_pool2d(x, 2)), 0.16, 3)
        x = self.again(nn.functional.adaptive_avg_pool2d(x, 1), 0.11, 2)
        x = nn.functional.linear(torch.flatten(x, 1), *self.filters("w3"))
        return self.again(x, 0.09, 121) if self.output else x


def save_exported(path: Path, *, output: bool = True) -> Path:
    """Export `Decomposed` and save it."""
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.zeros([int(side) for side in SHAPE.split(",")]),)
        torch.export.save(torch.export.export(Decomposed(output), example), str(path))
    return path
