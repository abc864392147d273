"""Unary operators of ONNX on all 256 codes: QLinear forms, and floats between Q and DQ."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from systolith.errors import UnsupportedOperatorError

QLINEAR: dict[str, dict[str, Any]] = {"QLinearSigmoid": {}, "QLinearLeakyRelu": {"alpha": 0.2}}
FLOAT: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            *("Abs", "Ceil", "Celu", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid"),
            *("HardSwish", "LeakyRelu", "Mish", "Neg", "Relu", "Round", "Selu", "Sigmoid", "Sign"),
            *("Softplus", "Softsign", "Tanh", "ThresholdedRelu", "Sin", "Cos", "Atan", "Square"),
            *("Log", "Sqrt", "Clip", "PRelu", "Silu", "Identity"),
        ),
        {},
    ),
    "GeluTanh": {"approximate": "tanh"},
}


def add_float(model: Any, kind: str, attributes: dict[str, Any]) -> None:
    """Append the operator from d to r; some are two nodes."""
    if kind == "Square":
        model.add("Mul", ["d", "d"], "r")
    elif kind == "Silu":
        model.add("Sigmoid", ["d"], "s")
        model.add("Mul", ["d", "s"], "r")
    elif kind == "Clip":
        bounds = [model.constant(value, "float32") for value in (-0.4, 1.7)]
        model.add("Clip", ["d", *bounds], "r")
    elif kind == "PRelu":
        model.add("PRelu", ["d", model.constant([0.3], "float32")], "r")
    else:
        model.add({"GeluTanh": "Gelu"}.get(kind, kind), ["d"], "r", **attributes)


def draw(onnx_writer: ModuleType, kind: str, seed: int) -> tuple[bytes, np.ndarray]:
    """A model and all codes, as an image whose number of elements is odd."""
    rng = np.random.default_rng([seed, 10])
    dtype = ("int8", "uint8")[seed % 2]
    limits, model = np.iinfo(dtype), onnx_writer.Model()
    zeros = [
        int(rng.choice([limits.min, limits.max, rng.integers(limits.min, limits.max)]))
        for _ in "xy"
    ]
    if kind in ("Log", "Sqrt"):
        zeros[0] = int(limits.min)
    source = model.codes(
        float(rng.choice([0.004, 0.02, 0.08]) * rng.uniform(0.5, 2)), zeros[0], dtype
    )
    out = model.codes(float(rng.uniform(0.01, 0.1)), zeros[1], dtype)
    if kind in QLINEAR:
        model.add(kind, ["x", *source, *out], "y", onnx_writer.MICROSOFT, **QLINEAR[kind])
    else:
        model.add("DequantizeLinear", ["x", *source], "d")
        add_float(model, kind, FLOAT[kind])
        model.add("QuantizeLinear", ["r", *out], "y")
    data = model.bytes({"x": (dtype, (1, 3, 9, 11))}, {"y": dtype})
    codes = np.arange(297, dtype=np.int64).astype(np.uint8).view(dtype)
    return data, rng.permutation(codes).reshape(1, 3, 9, 11)


def check(onnx_writer: ModuleType, third_party: ModuleType, kind: str, seeds: range) -> int:
    """Compare all codes for many scales; return the number of values."""
    total = 0
    for seed in seeds:
        data, codes = draw(onnx_writer, kind, seed)
        spec = third_party.SPEC if seed % 8 < 2 else None
        try:
            total += third_party.compare(data, "onnxruntime", {"x": codes}, spec=spec)
        except UnsupportedOperatorError as error:
            assert "the last bit of a float decides" in str(error)
    return total


@pytest.mark.parametrize("kind", [*QLINEAR, *FLOAT])
def test_all_codes(onnx_writer: ModuleType, third_party: ModuleType, kind: str) -> None:
    assert check(onnx_writer, third_party, kind, range(4)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*QLINEAR, *FLOAT])
def test_many_scales(onnx_writer: ModuleType, third_party: ModuleType, kind: str) -> None:
    assert check(onnx_writer, third_party, kind, range(100, 300)) > 0


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("form", ["qlinear", "qdq", "float", "codes"])
def test_concatenations(
    onnx_writer: ModuleType, third_party: ModuleType, dtype: str, axis: int, form: str
) -> None:
    """Inputs of three quantizations, one of them the output's; or of one, in floats and codes."""
    rng = np.random.default_rng([axis, 11])
    limits, model = np.iinfo(dtype), onnx_writer.Model()
    shapes = {f"x{i}": [1, 7, 4, 5] for i in range(3)}
    for i, name in enumerate(shapes):
        shapes[name][axis] = 2 + 3 * i
    out = model.codes(0.07, int(limits.max), dtype)
    codes = [model.codes(0.05, int(limits.min), dtype), model.codes(0.11, 9, dtype), out]
    if form == "codes":
        domain = onnx_writer.MICROSOFT
        for name in shapes:
            model.add("QLinearLeakyRelu", [name, *out, *out], f"{name}d", domain, alpha=0.3)
        model.add("Concat", [f"{name}d" for name in shapes], "y", axis=axis)
    elif form == "float":  # what comes between keeps onnxruntime from fusing
        for name in shapes:
            model.add("DequantizeLinear", [name, *codes[0]], f"{name}d")
            model.add("Tanh", [f"{name}d"], f"{name}t")
        model.add("Concat", [f"{name}t" for name in shapes], "r", axis=axis)
        model.add("QuantizeLinear", ["r", *out], "y")
    elif form == "qlinear":
        operands = [each for n, c in zip(shapes, codes, strict=True) for each in (n, *c)]
        model.add("QLinearConcat", [*out, *operands], "y", onnx_writer.MICROSOFT, axis=axis)
    else:
        for name, own in zip(shapes, codes, strict=True):
            model.add("DequantizeLinear", [name, *own], f"{name}d")
        model.add("Concat", [f"{name}d" for name in shapes], "r", axis=axis)
        model.add("QuantizeLinear", ["r", *out], "y")
    data = model.bytes({n: (dtype, s) for n, s in shapes.items()}, {"y": dtype})
    inputs = {
        name: rng.integers(limits.min, limits.max + 1, (3, *shape[1:])).astype(dtype)
        for name, shape in shapes.items()
    }
    assert third_party.compare(data, "onnxruntime", inputs) > 0
