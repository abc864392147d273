"""QONNX networks in full: the published perceptrons, and one that Brevitas trains and exports."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from systolith.spec.configuration import PRESETS
from systolith.verify import verify_model

NETWORKS = ("TFC_1W1A", "TFC_1W2A", "TFC_2W2A")
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_brevitas.py"


@pytest.mark.parametrize("name", NETWORKS)
def test_perceptrons_are_qonnx_own(models: Path, name: str) -> None:
    """Every tensor, live and stored, of real digits; the array's commands in golden."""
    pytest.importorskip("qonnx")
    path = models / "qonnx" / f"{name}.onnx"
    report = verify_model(path, PRESETS["tiny"], backend="golden", count=2)
    assert report.mismatches == 0 and report.compared == 2 * 1790
    assert {layer.mode for layer in report.layers if layer.macs} == {"fixed"}
    assert all("runtime" in layer.against for layer in report.layers)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("preset", ["tiny", "base"])
def test_perceptrons_in_hardware(models: Path, name: str, preset: str) -> None:
    pytest.importorskip("qonnx")
    report = verify_model(models / "qonnx" / f"{name}.onnx", PRESETS[preset])
    assert report.mismatches == 0 and report.compared == 10 * 1790
    assert report.predictions == report.labels


@pytest.mark.slow
@pytest.mark.parametrize("scales", ["power-of-two", "float"])
def test_brevitas_network_is_qonnx_own(tmp_path: Path, scales: str) -> None:
    """A 4-bit network, trained for an epoch by our script and exported."""
    for package in ("qonnx", "torch", "brevitas", "onnxoptimizer", "sklearn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    path = tmp_path / "digits.onnx"
    options = ["--output", path, "--scales", scales, "--epochs", "1", "--samples", "2"]
    subprocess.run([sys.executable, SCRIPT, *map(str, options)], check=True)
    report = verify_model(path, PRESETS["tiny"], backend="verilator")
    assert report.mismatches == 0 and report.compared > 7000
    inexact = any("bounds that any order" in remark for remark in report.remarks)
    assert inexact == (scales == "float")
