"""MatMulNBits in full: onnxruntime beside the array, every tensor."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import PRESETS
from systolith.spec.precision import Precision
from systolith.spec.requant import RequantMode
from systolith.verify import VerifyReport, verify_model

# Rows, inputs, outputs, block, bits of a weight.
SIDES = [
    (1, 64, 8, 16, 4),
    (3, 128, 16, 32, 4),
    (7, 512, 96, 128, 4),
    (5, 200, 24, 32, 4),
    (4, 512, 33, 256, 4),
    (3, 192, 20, 64, 2),
    (3, 200, 20, 32, 8),
]


def verified(
    writer: ModuleType,
    folder: Path,
    sides: tuple[int, ...],
    spec: AcceleratorSpec,
    backend: str,
    *,
    zeros: bool,
) -> VerifyReport:
    """The report of a random layer, after checking what it must say."""
    pytest.importorskip("onnxruntime")
    layer = writer.Blocks.of(sides, zeros=zeros, bias=zeros)
    path = folder / "blocks.onnx"
    path.write_bytes(layer.data())
    np.savez(folder / "in.npz", A=layer.inputs()[None])
    report = verify_model(path, spec, backend=backend, inputs=folder / "in.npz")
    assert report.ok and report.mismatches == 0, report.first
    assert report.bounded == layer.rows * layer.channels and report.compared > 3 * report.bounded
    for each in report.layers:
        assert each.against == "runtime", each.name
        assert each.where == ("array" if each.macs else "host"), each.name
        assert each.mode == ("double" if each.macs else ""), each.name
    final = report.layers[-1].bounded
    assert final is not None and 0 <= final.gap < final.bound < 2e-4 * final.peak
    return report


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_golden(
    blocks_writer: ModuleType, tmp_path: Path, sides: tuple[int, ...], zeros: bool
) -> None:
    verified(blocks_writer, tmp_path, sides, PRESETS["small"], "golden", zeros=zeros)


def test_nibbles(blocks_writer: ModuleType, tmp_path: Path) -> None:
    """Zero points do not take the weights their 4 bits: two sums a column."""
    small = PRESETS["small"]
    mixed = replace(small, array=replace(small.array, precisions=frozenset(Precision)))
    sides = (7, 128, 32, 32, 4)
    report = verified(blocks_writer, tmp_path, sides, mixed, "golden", zeros=True)
    assert all("w4a8" in layer.note for layer in report.layers if layer.macs)


def test_without_the_mode(blocks_writer: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "blocks.onnx"
    path.write_bytes(blocks_writer.Blocks().data())
    small = PRESETS["small"]
    narrow = replace(small.post, modes=frozenset({RequantMode.FIXED}), multiplier_bits=18)
    with pytest.raises(Exception, match="add 'double' to post.modes and set post.multiplier_bits"):
        verify_model(path, replace(small, post=narrow), backend="golden")


@pytest.mark.slow
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_verilator(
    blocks_writer: ModuleType, tmp_path: Path, sides: tuple[int, ...], zeros: bool
) -> None:
    verified(blocks_writer, tmp_path, sides, PRESETS["small"], "verilator", zeros=zeros)
