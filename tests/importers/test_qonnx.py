"""Importing QONNX files: what a graph looks like, and one clear line for every bad one."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.arithmetic import MacArithmetic
from systolith.errors import ModelError
from systolith.graph import Graph, Op
from systolith.importers import load_model
from systolith.importers.qonnx import import_qonnx
from systolith.profiles import get_profile
from systolith.profiles.reference import evaluate_graph

QONNX = "qonnx.custom_op.general"


def imported(model: Any, shape: tuple[int, ...] = (1, 4), output: str = "y") -> Graph:
    return import_qonnx(model.file(shape, output), get_profile("qonnx"), name="test")


def layer(
    model: Any,
    *,
    scale: Any = 0.5,
    bits: float = 4,
    zero: float = 0,
    weight_scale: Any = 0.25,
    weights: NDArray[np.float32] | None = None,
    **options: Any,
) -> None:
    """A quantized input, weights, and a quantizer with the given numbers."""
    model.quant("x", "xq", 0.5, 4)
    values = np.ones((4, 3), np.float32) if weights is None else weights
    model.add("MatMul", ["xq", model.weights(values, weight_scale)], "m")
    model.quant("m", "y", scale, bits, zero=zero, **options)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "scale 0": ({"scale": 0.0}, "scale must be finite, positive and no subnormal, not"),
    "scale NaN": ({"scale": np.nan}, "scale must be finite, positive and no subnormal, not"),
    "scale infinite": ({"scale": np.inf}, "scale must be finite, positive and no subnormal, not"),
    "scale subnormal": ({"scale": 1e-40}, "scale must be finite, positive and no subnormal, not"),
    "scale negative": ({"scale": -0.5}, "scale must be finite, positive and no subnormal, not"),
    "weights' scale 0": ({"weight_scale": 0.0}, "scale must be finite, positive"),
    "weights' scale NaN": ({"weight_scale": [[1, np.nan, 1]]}, "scale must be finite, positive"),
    "scale a channel": ({"scale": [[1, 2, 3]]}, "scale of an activation must be one value"),
    "scale an input": ({"weight_scale": np.ones((4, 1)) * [[1], [2], [3], [4]]}, "output channel"),
    "bits 0": ({"bits": 0}, "bit width must be 1 to 8, not [0"),
    "bits 9": ({"bits": 9}, "bit width must be 1 to 8, not [9"),
    "bits 2.5": ({"bits": 2.5}, "bit width must be an integer, not [2.5]"),
    "zero 8": ({"zero": 8}, "zero point must be -8 to 7, not 8"),
    "zero 0.5": ({"zero": 0.5}, "zero point must be an integer, not [0.5]"),
    "zero NaN": ({"zero": np.nan}, "zero point must be an integer"),
    "mode": ({"mode": "SOMEHOW"}, "rounding_mode must be one of"),
    "signed": ({"signed": 2}, "signed must be 0 or 1, not 2"),
    "weights NaN": ({"weights": np.full((4, 3), np.nan, np.float32)}, "must be finite float32"),
    "shape": ({"weights": np.ones((5, 3), np.float32)}, "must be a matrix that fits"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_numbers_are_named(qonnx_writer: ModuleType, case: str) -> None:
    options, text = BAD[case]
    model = qonnx_writer.QonnxModel()
    layer(model, **options)
    with pytest.raises(ModelError) as caught:
        imported(model)
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert "layer 'n" in str(caught.value)


def _unquantized(model: Any) -> None:
    model.add("MatMul", ["x", model.weights(np.ones((4, 3)), 0.25)], "m")
    model.quant("m", "y")


def _float_weights(model: Any) -> None:
    model.quant("x", "xq")
    model.add("MatMul", ["xq", model.floats(np.full((4, 3), 0.3))], "m")
    model.quant("m", "y")


def _between(model: Any) -> None:
    layer(model)
    model.nodes.pop()
    model.add("MatMul", ["m", model.weights(np.ones((3, 3)), 1.0)], "n")
    model.quant("n", "y")


def _unknown(model: Any) -> None:
    model.quant("x", "xq")
    model.add("Erf", ["xq"], "y")


def _zero_divisor(model: Any) -> None:
    layer(model)
    model.nodes.pop()
    model.add("Div", ["m", model.floats(0.0)], "d")
    model.quant("d", "y")


def _wide(model: Any) -> None:
    model.quant("x", "xq", 1.0, 8)
    model.add("MatMul", ["xq", model.weights(np.full((4, 3), 127), 1.0, 8)], "m")
    model.add("Mul", ["m", model.floats(0.5)], "y")


NETWORKS: dict[str, tuple[Callable[[Any], None], str]] = {
    "input": (_unquantized, "the network's input 'x' must go through a Quant first"),
    "weights": (_float_weights, "weights must come from a Quant or BipolarQuant"),
    "between": (_between, "put a Quant before it"),
    "operator": (_unknown, "operator Erf is not supported"),
    "divisor": (_zero_divisor, "must not divide by 0"),
    "wide": (_wide, "must fit 16 bits"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_bad_networks_are_named(qonnx_writer: ModuleType, case: str) -> None:
    make, text = NETWORKS[case]
    model = qonnx_writer.QonnxModel()
    make(model)
    with pytest.raises(ModelError) as caught:
        imported(model)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_profile_is_found_by_the_quantizers(qonnx_writer: ModuleType, tmp_path: Path) -> None:
    model = qonnx_writer.QonnxModel()
    layer(model)
    path = tmp_path / "layer.onnx"
    path.write_bytes(model.file((1, 4)))
    assert load_model(path).profile == "qonnx"
    with pytest.raises(ModelError, match="must be quantized"):
        load_model(path, "onnxruntime")


def test_negative_factors_turn_weights(qonnx_writer: ModuleType) -> None:
    """Where a factor is negative the layer's weights are negated, and codes still rise."""
    model = qonnx_writer.QonnxModel()
    model.quant("x", "xq", 0.5, 4)
    model.add("MatMul", ["xq", model.weights(np.full((4, 2), 0.75), 0.25)], "m")
    model.add("Mul", ["m", model.floats([2.0, -2.0])], "f")
    model.quant("f", "y", 1.0, 4)
    graph = imported(model)
    mac = next(node.arithmetic for node in graph if node.op is Op.FULLY_CONNECTED)
    assert isinstance(mac, MacArithmetic)
    np.testing.assert_array_equal(mac.weights[:, 0, 0], [[3] * 4, [-3] * 4])
    codes = evaluate_graph(graph, {"x": np.full((1, 1, 4), 0.5, np.float32)})["y"]
    np.testing.assert_array_equal(codes, [[[3, -3]]])


def test_codes_know_their_limits(qonnx_writer: ModuleType) -> None:
    """What few bits leave out makes the reachable sums, and so the proofs, smaller."""
    model = qonnx_writer.QonnxModel()
    layer(model, bits=3, narrow=1)
    graph = imported(model)
    assert graph.tensors["xq"].code_range == (-8, 7)
    assert graph.tensors["y"].code_range == (-3, 3)


def test_inexact_sums_are_counted(qonnx_writer: ModuleType) -> None:
    """Scales that are no powers of two leave sums to the order of the runtime's additions."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(4, 3)).astype(np.float32)
    counts = []
    for scale in (0.25, np.float32(0.3)):
        model = qonnx_writer.QonnxModel()
        model.quant("x", "xq", scale, 8)
        model.add("MatMul", ["xq", model.weights(weights, 0.25)], "m")
        # Codes of half the sums' unit: every threshold is a sum.
        model.quant("m", "y", np.float32(scale) * np.float32(0.5), 8)
        graph = imported(model)
        mac = next(node.arithmetic for node in graph if node.op is Op.FULLY_CONNECTED)
        assert isinstance(mac, MacArithmetic)
        counts.append(mac.requant.undecided)
    assert counts[0] == 0 < counts[1]
