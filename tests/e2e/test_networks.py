"""Whole networks in Verilator: every tensor against the runtime, run live, and stored results.

By default on two arrays; on all six shapes of array, each network on each, with

    pytest -m slow tests/e2e/test_networks.py
"""

from pathlib import Path

import pytest

from systolith.spec.configuration import preset_for_array
from systolith.verify import VerifyReport, verify_model

Shape = tuple[int, int]

SHAPES: tuple[Shape, ...] = ((4, 4), (8, 8), (16, 16), (8, 16), (13, 5), (32, 32))
DIGITS_VALUES, RESNET_VALUES = 2692, 114_836
"""Elements of all tensors that operators write, for one input."""


def name(shape: Shape) -> str:
    """Return ROWSxCOLUMNS."""
    return "x".join(map(str, shape))


def require_exact(report: VerifyReport, shape: Shape, values: int) -> None:
    """Every tensor was compared, nothing differs, and the cycles are those of such an array."""
    assert report.ok and not report.mismatches, report.first
    assert report.backend == "verilator" and (report.rows, report.columns) == shape
    assert report.compared == values
    assert all(layer.compared for layer in report.layers)
    assert report.macs <= (report.cycles or 0) * shape[0] * shape[1]


def digits(shape: Shape, count: int) -> None:
    """Verify the embedded network."""
    report = verify_model(None, preset_for_array(*shape), count=count)
    require_exact(report, shape, count * DIGITS_VALUES)
    assert {layer.against for layer in report.layers} == {"runtime"}
    assert report.labels == report.predictions


def resnet8(models: Path, shape: Shape, count: int) -> None:
    """Verify ResNet-8 of MLPerf Tiny, live and stored."""
    path = models / "tflite" / "resnet8.tflite"
    report = verify_model(path, preset_for_array(*shape), count=count)
    require_exact(report, shape, 2 * count * RESNET_VALUES)
    assert {layer.against for layer in report.layers} == {"runtime + stored"}
    assert not [layer.name for layer in report.layers if layer.where == "host"]


@pytest.mark.parametrize("shape", [(4, 4), (13, 5)], ids=name)
def test_embedded_network(shape: Shape) -> None:
    digits(shape, 10)


def test_resnet8(models: Path) -> None:
    resnet8(models, (16, 16), 2)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_embedded_network_on_every_array(shape: Shape) -> None:
    """All 360 test images; ``pytest -m slow tests/e2e/test_networks.py -k embedded``."""
    report = verify_model(None, preset_for_array(*shape), count=360)
    require_exact(report, shape, 360 * DIGITS_VALUES)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_resnet8_on_every_array(models: Path, shape: Shape) -> None:
    """All 10 images; ``pytest -m slow tests/e2e/test_networks.py -k resnet8_on``."""
    resnet8(models, shape, 10)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tflite-xnnpack", "tflm"])
def test_resnet8_against_other_runtimes(models: Path, runtime: str) -> None:
    """The output live, the tensors between by the profile's formulas; ``-k other_runtimes``."""
    path = models / "tflite" / "resnet8.tflite"
    report = verify_model(path, preset_for_array(16, 16), against=runtime)
    assert report.ok and report.samples == 10 and report.backend == "verilator"
    assert report.layers[-1].against.startswith("runtime")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ic_resnet8_qop_s8s8_pt", "ic_resnet8_qop_u8s8_pc"])
def test_onnx_resnet8(models: Path, model: str) -> None:
    """Every tensor against onnxruntime, live and stored; ``-k onnx``."""
    report = verify_model(models / "onnx" / f"{model}.onnx", preset_for_array(16, 16))
    assert report.ok and report.samples == 10 and report.backend == "verilator"
    assert all("runtime" in layer.against for layer in report.layers)
