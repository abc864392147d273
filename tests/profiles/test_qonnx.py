"""Small QONNX networks: qonnx's own execution, the formulas and the accelerator's commands."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

QONNX = "qonnx.custom_op.general"
Rng = np.random.Generator
Network = Callable[[Any, Rng], tuple[int, ...]]


def dense(model: Any, rng: Rng) -> tuple[int, ...]:
    """Bipolar weights, ternary activations, as the published perceptrons."""
    model.quant("x", "xq", 0.5, 2, narrow=1)
    weights = model.floats(rng.normal(size=(6, 20)))
    model.add("BipolarQuant", [weights, model.floats(1.0)], "w", QONNX)
    model.add("Transpose", ["w"], "wt", perm=[1, 0])
    model.add("MatMul", ["xq", "wt"], "m")
    model.quant(model.norm("m", "n", rng, 6), "y", 1.0, 2, narrow=1)
    return (1, 20)


def bipolar(model: Any, rng: Rng) -> tuple[int, ...]:
    """1 bit throughout, a float output."""
    model.add("BipolarQuant", ["x", model.floats(1.0)], "xq", QONNX)
    weights = model.weights(rng.normal(size=(20, 8)), 1.0, 1)
    model.add("MatMul", ["xq", weights], "m")
    model.add("BipolarQuant", [model.norm("m", "n", rng, 8), model.floats(0.5)], "a", QONNX)
    model.add("MatMul", ["a", model.weights(rng.normal(size=(8, 5)), 0.25, 2)], "o")
    model.add("Sub", ["o", model.floats([0.3])], "s")
    model.add("Div", ["s", model.floats(1.7)], "d")
    model.add("Mul", ["d", model.floats(rng.normal(size=5))], "y")
    return (1, 20)


def wide_output(model: Any, rng: Rng) -> tuple[int, ...]:
    """8 bits, float sums of 16 bits at the output, an integer bias."""
    model.quant("x", "xq", 2.0**-5, 6, signed=0)
    weights = model.weights(rng.normal(size=(7, 30)), 2.0**-4, 6)
    bias = model.floats(rng.integers(-900, 900, 7) * 2.0**-9)
    model.add("Gemm", ["xq", weights, bias], "y", transB=1)
    return (1, 30)


def images(model: Any, rng: Rng) -> tuple[int, ...]:
    """Convolution with bias, ReLU, a pool before the quantizer, a depthwise layer."""
    model.quant("x", "xq", 2.0**-4, 8, zero=3, signed=0)
    weights = model.weights(rng.normal(size=(6, 3, 3, 3)), 2.0**-3)
    bias = model.floats(rng.normal(size=6))
    model.add("Conv", ["xq", weights, bias], "c", pads=[1, 1, 1, 1])
    model.add("Relu", ["c"], "r")
    model.add("MaxPool", ["r"], "p", kernel_shape=[2, 2], strides=[2, 2])
    model.quant("p", "a", 0.5, 4, signed=0)
    own = model.weights(rng.normal(size=(6, 1, 3, 3)), 2.0**-2, 3)
    model.add("Conv", ["a", own], "e", group=6, pads=[1, 1, 1, 1])
    model.quant(model.norm("e", "n", rng, 6), "y", 0.25, 3)
    return (1, 3, 8, 8)


def residual(model: Any, rng: Rng) -> tuple[int, ...]:
    """Two quantized branches of one scale are added; an average is truncated."""
    model.quant("x", "xq", 0.125, 4)
    weights = model.weights(rng.normal(size=(3, 3, 1, 1)), 0.25, 3)
    model.add("Conv", ["xq", weights], "c")
    model.quant("c", "b", 0.125, 4)
    model.add("Add", ["xq", "b"], "s")
    model.add("Relu", ["s"], "r")
    model.quant("r", "q", 0.125, 4, signed=0)
    model.add("AveragePool", ["q"], "p", kernel_shape=[4, 4], strides=[4, 4])
    numbers = [model.floats(v) for v in (0.125 / 16, 0, 8, 0.125, 4)]
    options = {"rounding_mode": "FLOOR", "signed": 0, "narrow": 0}
    model.add("Trunc", ["p", *numbers], "t", QONNX, **options)
    model.add("Flatten", ["t"], "f")
    model.add("MatMul", ["f", model.weights(rng.normal(size=(12, 4)), 1.0, 2)], "y")
    return (1, 3, 8, 8)


def thresholds(model: Any, rng: Rng) -> tuple[int, ...]:
    """Even thresholds of each channel, as a batch normalization makes them; then the sign."""
    model.add("Sign", ["x"], "xq")
    weights = model.floats(rng.integers(-1, 2, (16, 6)))
    model.add("MatMul", ["xq", weights], "m")
    steps = rng.normal(size=(6, 1)) + np.arange(3) * rng.uniform(1.2, 3, (6, 1))
    options = {"out_scale": 1.0, "out_bias": -2.0, "out_dtype": "INT2"}
    model.add("MultiThreshold", ["m", model.floats(steps)], "y", QONNX, **options)
    return (1, 16)


def nearest_even(model: Any, rng: Rng) -> tuple[int, ...]:
    """Powers of two alone: every second sum is a tie, which goes to the even code."""
    model.quant("x", "xq", 0.25, 4)
    model.add("MatMul", ["xq", model.weights(rng.normal(size=(12, 6)), 0.5, 4)], "m")
    model.add("Add", ["m", model.floats(rng.integers(-8, 8, 6) / 8)], "b")
    model.quant("b", "y", 1.0, 5)
    return (1, 12)


NETWORKS = (dense, bipolar, wide_output, images, residual, thresholds, nearest_even)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda f: f.__name__)
def test_networks_are_qonnx_own(
    network: Network, qonnx_writer: ModuleType, third_party: ModuleType
) -> None:
    pytest.importorskip("qonnx")
    rng = np.random.default_rng(20)
    model = qonnx_writer.QonnxModel()
    shape = network(model, rng)
    data = model.file(shape, qonnx=2 if network is residual else 1)
    samples: NDArray[Any] = rng.normal(size=(3, *shape[1:])).astype(np.float32)
    assert third_party.compare(data, "qonnx", {"x": samples}) > 0
