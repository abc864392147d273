"""``systolith verify``: the table, the exit status, the first mismatch, JSON and JUnit."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from systolith.compiler.compile import CompiledModel, compile_graph
from systolith.verify import flow
from systolith.verify.samples import default_model

VALUES = {1: 2692, 3: 3 * 2692}
"""Elements of all tensors that the embedded network computes, by samples."""


def corrupt(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Let `change` edit the parameters' and weights' images of every compiled program."""

    def wrong(*args: Any, **kwargs: Any) -> CompiledModel:
        compiled = compile_graph(*args, **kwargs)
        images = {
            "weights": compiled.program.weights.copy(),
            "parameters": compiled.program.parameters.copy(),
        }
        change(images)
        return replace(compiled, program=replace(compiled.program, **images))

    monkeypatch.setattr(flow, "compile_graph", wrong)


def one_weight(images: dict[str, np.ndarray]) -> None:
    """Flip the top bit of a weight that is used."""
    row = int(np.flatnonzero(images["weights"].any(axis=1))[0])
    column = int(np.flatnonzero(images["weights"][row])[0])
    images["weights"][row, column] ^= 0x80


def test_embedded_network_is_bit_exact(cli: Any) -> None:
    result = cli("verify", "--backend", "golden", "--count", "3")
    assert result.status == 0 and result.err == ""
    assert f"bit-exact: {VALUES[3]:,} values compared, 0 mismatches" in result.out
    assert "computed on the host: image_QuantizeLinear, logits_DequantizeLinear" in result.out
    assert "onnxruntime 1." in result.out and "run live" in result.out
    assert "accuracy     3 of 3 (100.0 %)" in result.out
    assert max(map(len, result.out.splitlines())) <= 100


def test_embedded_network_in_verilator(cli: Any) -> None:
    result = cli("verify", "--json", "-")
    assert result.status == 0, result.err
    report = json.loads(result.out)
    assert report["ok"] and report["backend"] == "verilator" and report["samples"] == 10
    assert report["compared"] == 10 * VALUES[1] and report["mismatches"] == 0
    assert 0 < report["utilisation"] <= 1
    on_array = [layer for layer in report["layers"] if layer["where"] == "array"]
    assert sum(layer["cycles"] for layer in on_array) <= report["cycles"]
    assert all(layer["cycles"] > 0 and layer["mode"] for layer in on_array)


@pytest.mark.parametrize("array", ["4x4", "13x5"])
def test_other_arrays(cli: Any, array: str) -> None:
    result = cli("verify", "--backend", "golden", "--array", array, "--count", "1")
    assert result.status == 0
    assert f"array {array}" in result.out


def test_wrong_weight_is_found(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    corrupt(monkeypatch, one_weight)
    junit = tmp_path / "out" / "report.xml"
    result = cli("verify", "--backend", "golden", "--count", "1", "--junit", junit)
    assert result.status == 1 and result.err == ""
    assert "first mismatch: layer 'conv1_quant' (conv2d), tensor 'c1_quantized'" in result.out
    assert "at [y, x, c] = [" in result.out and "in the runtime's array [0, " in result.out
    for fact in ("hardware ", "runtime ", "accumulator ", "bias ", "scale ", "zero_point "):
        assert fact in result.out
    assert "NOT bit-exact" in result.out
    suite = ElementTree.parse(junit).getroot()[0]
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert "conv1_quant" in failed and len(failed) == int(suite.get("failures", "0"))


def test_wrong_bias_shows_the_right_accumulator(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def last_bias(images: dict[str, np.ndarray]) -> None:
        images["parameters"][-1, :, 0] += 4000

    corrupt(monkeypatch, last_bias)
    result = cli("verify", "--backend", "golden", "--count", "1", "--json", "-")
    assert result.status == 1
    report = json.loads(result.out)
    first = report["first_mismatch"]
    details = first["details"]
    value = round(details["accumulator_with_bias"] * details["scale"]) + details["zero_point"]
    assert details["accumulator"] + details["bias"] == details["accumulator_with_bias"]
    assert first["expected"] == min(max(value, details["low"]), details["high"]) != first["got"]


def test_report_of_machines(cli: Any, tmp_path: Path) -> None:
    files = tmp_path / "report.json", tmp_path / "report.xml"
    result = cli(
        "verify", "--backend", "golden", "--count", "1", "--json", files[0], "--junit", files[1]
    )
    assert result.status == 0
    report = json.loads(files[0].read_text())
    assert report["schema"] == "systolith/verify/1"
    suite = ElementTree.parse(files[1]).getroot()[0]
    assert [case.get("name") for case in suite] == [layer["name"] for layer in report["layers"]]
    assert suite.get("failures") == suite.get("errors") == "0"


def test_inputs_from_a_file(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((2, 1, 8, 8), np.float32))
    result = cli("verify", "--backend", "golden", "--inputs", path)
    assert result.status == 0
    assert "2 inputs: images.npy" in result.out


def test_stored_tensors_are_compared(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "stored.npz"
    image = np.zeros((1, 1, 8, 8), np.float32)
    codes = np.full((1, 1, 8, 8), -128, np.int8)
    np.savez(path, inputs=image, **{"out/image_quantized": codes})
    arguments = ("verify", default_model(), "--backend", "golden", "--reference", path)
    good = cli(*arguments)
    assert good.status == 0 and f"{VALUES[1] + 64:,} values compared" in good.out
    codes[0, 0, 2, 5] = 7
    np.savez(path, inputs=image, **{"out/image_quantized": codes})
    bad = cli(*arguments)
    assert bad.status == 1
    assert "at [y, x, c] = [2, 5, 0], in the runtime's array [0, 0, 2, 5]" in bad.out
    assert "hardware -128, stored 7" in bad.out


def test_floats_have_bounds(cli: Any, blocks_writer: ModuleType, tmp_path: Path) -> None:
    """What depends on an order of additions is not said to be equal."""
    path = tmp_path / "blocks.onnx"
    path.write_bytes(blocks_writer.Blocks(channels=8, rows=1).data())
    result = cli("verify", path, "--preset", "small", "--backend", "golden", "--count", "2")
    assert result.status == 0, result.err
    codes, scales, sums, floats = 64, 4, 2 * 4 * 8, 8
    assert (
        f"bit-exact: {2 * (codes + scales + sums)} values compared, 0 mismatches; "
        f"{2 * floats} floats within their bounds" in result.out
    )
    words = " ".join(result.out.split())
    assert re.search(r"Y \(differs by \S+ at most, \S+ allowed; values up to", words)
    document = json.loads(cli("verify", path, "--backend", "golden", "--json", "-").out)
    assert document["bounded"] == document["layers"][-1]["bounded"]["values"] == 2 * floats
    assert all(layer["bounded"] is None for layer in document["layers"][:-1])
