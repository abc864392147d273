"""Formatting of cells, and the machine-readable forms of odd values."""

import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from systolith.report.inspection import inspect_graph
from systolith.report.machine import report_json, report_junit
from systolith.report.tables import clip, make_table, number, percent, shape_text
from systolith.report.verification import mismatch_lines
from systolith.spec.configuration import PRESETS
from systolith.verify import Mismatch, VerifyReport, verify_model


@pytest.fixture(scope="module")
def report() -> VerifyReport:
    return verify_model(None, PRESETS["tiny"], backend="golden", count=1)


@pytest.mark.parametrize("width", [5, 8, 9])
def test_clip_keeps_both_ends(width: int) -> None:
    text = clip("functional_1/conv2d_8/Conv2D", width)
    assert len(text) == width and text[0] == "f" and text[-1] == "D" and "…" in text
    assert clip("short", 5) == "short"


def test_cells() -> None:
    assert (number(1234567), number(0), number(None)) == ("1,234,567", "0", "")
    assert (percent(0.5), percent(None)) == ("50.0 %", "")
    assert shape_text((32, 32, 3)) == "32x32x3"


def test_json_holds_what_json_lacks(report: VerifyReport) -> None:
    first = Mismatch(
        layer="a", op="dequantize", tensor="t", sample=0, index=(0, 0, 1), source_index=(0, 1),
        got=float("nan"), expected=float("inf"), against="runtime", program="fused",
    )  # fmt: skip
    document = json.loads(report_json(replace(report, first=first)))
    assert document["first_mismatch"]["got"] == "nan"
    assert document["first_mismatch"]["expected"] == "inf"
    assert document["cycles"] is None and document["utilisation"] is None
    assert document["accelerator"]["array"]["rows"] == 4


def test_junit_names_layers_that_were_not_compared(report: VerifyReport) -> None:
    layers = (replace(report.layers[0], compared=0), *report.layers[1:])
    suite = ElementTree.fromstring(report_junit(replace(report, layers=layers)))[0]
    assert suite.get("errors") == "1" and suite[0].find("error") is not None
    assert suite.get("tests") == str(len(suite)) == str(len(layers))


def test_mismatch_is_told_completely() -> None:
    first = Mismatch(
        layer="c", op="conv2d", tensor="t", sample=3, index=(1, 2, 3), source_index=(0, 3, 1, 2),
        got=-4, expected=5, against="runtime", program="unfused",
        details={"accumulator": 77, "bias": -2, "scale": 0.5},
    )  # fmt: skip
    text = "\n".join(mismatch_lines(first))
    for part in (
        "layer 'c' (conv2d), tensor 't', input 3",
        "[y, x, c] = [1, 2, 3], in the runtime's array [0, 3, 1, 2]",
        "hardware -4, runtime 5 (second program, without fusion)",
        "accumulator 77, bias -2, scale 0.5",
    ):
        assert part in text


def test_accumulator_bits_hold_the_worst_case() -> None:
    import numpy as np

    from systolith.graph import Op
    from systolith.importers import load_model
    from systolith.verify.samples import default_model

    graph = load_model(default_model())
    for node, fact in zip(graph, inspect_graph(graph), strict=True):
        if node.op not in (Op.CONV2D, Op.FULLY_CONNECTED):
            assert fact.accumulator_bits is None
            continue
        k = node.arithmetic
        # The worst input by definition: for each channel every code at one of its ends.
        rows = k.weights.astype(int).reshape(len(k.weights), -1)
        ends = [
            np.where(rows > 0, a, b) - k.input_zero_point for a, b in ((127, -128), (-128, 127))
        ]
        sums = [int(v) for e in ends for v in ((e * rows).sum(axis=1) + k.bias)]
        bits = fact.accumulator_bits
        assert bits is not None
        assert all(-(1 << (bits - 1)) <= v < 1 << (bits - 1) for v in sums)
        assert any(not -(1 << (bits - 2)) <= v < 1 << (bits - 2) for v in sums) or bits < 12


def test_documentation_names_every_key(report: VerifyReport) -> None:
    page = (Path(__file__).parents[2] / "docs" / "verification.md").read_text()
    first = Mismatch(
        layer="a", op="add", tensor="t", sample=0, index=(0, 0, 1), source_index=(0, 1),
        got=1, expected=2, against="runtime", program="fused",
    )  # fmt: skip
    document = json.loads(report_json(replace(report, first=first)))
    keys = {*document, *document["layers"][0], *document["first_mismatch"]}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_numbers_are_never_cut_short() -> None:
    cells = [
        "a_layer_with_a_very_long_name_indeed",
        "conv2d",
        "4,089,184,256",
        "16,428,966",
        "array",
    ]
    columns = [("layer", False), ("op", False), ("MACs", True), ("cycles", True), ("where", False)]
    console = Console(width=60, file=io.StringIO())
    console.print(make_table(columns, [cells]))
    printed = console.file.getvalue()
    assert all(cell in printed for cell in cells[1:])
    assert "a_layer" in printed and cells[0] not in printed
