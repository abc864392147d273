"""Vivado projects: scripts that Tcl accepts, with everything connected; never run in Vivado."""

from dataclasses import replace

import pytest

from systolith.build.accelerator import board_spec, board_top
from systolith.build.vivado import project_script, wrapper_verilog
from systolith.constraints import Board, board_names, load_board
from systolith.errors import BoardError
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec

XILINX = [name for name in board_names() if load_board(name).family in ("xc7", "xcup")]


def calls(board: Board, spec: AcceleratorSpec) -> list[list[str]]:
    """Run the script with commands that do nothing in the place of Vivado's; return the calls."""
    tkinter = pytest.importorskip("tkinter", reason="needs a Tcl interpreter")
    tcl = tkinter.Tcl()
    seen: list[list[str]] = []

    def unknown(*words: str) -> str:
        seen.append(list(words))
        answers = {"get_property": "100%" if "PROGRESS" in words else "0.1"}
        return answers.get(words[0], f"{words[0]}:{words[-1]}")

    tcl.createcommand("vivado", unknown)
    tcl.eval("proc unknown args { return [vivado {*}$args] }")
    tcl.eval("rename file tcl_file; proc file args { return [lindex $args end] }")
    tcl.eval("rename glob {}; proc glob args { return x.bit }; proc puts args {}")
    tcl.eval("proc info args { return script }")
    tcl.eval(project_script(board, spec))
    return seen


@pytest.mark.parametrize("name", XILINX)
def test_script(name: str) -> None:
    board = load_board(name)
    spec = board_spec(board, board.spec)
    seen = calls(board, spec)
    names = [words[0] for words in seen]
    for command in ("create_project", "create_bd_design", "assign_bd_address", "make_wrapper",
                    "validate_bd_design", "launch_runs", "write_hw_platform"):  # fmt: skip
        assert command in names, command
    assert ["-part", board.part.number] == seen[0][-2:]
    text = " ".join(" ".join(words) for words in seen)
    assert "@" not in text, "something was not filled in"
    for pin in ("accelerator/clk", "accelerator/rst", "accelerator/s_axi", "resets/ext_reset_in"):
        assert f"get_bd_pins:{pin}" in text or f"get_bd_intf_pins:{pin}" in text, pin
    assert ("accelerator/m_axi" in text) == bool(spec.external.data_bytes)
    assert "vlnv xilinx.com:ip:processing_system7" in text or name != "pynq_z2"


@pytest.mark.parametrize("name", XILINX)
def test_wrapper_has_the_ports_of_the_top(name: str) -> None:
    board = load_board(name)
    spec = board_spec(board, board.spec)
    top = board_top(board, spec)
    text = wrapper_verilog(top, spec)
    for port in ("clk", "rst", *top.signature.members):
        assert text.count(f".{port}({port})") == 1, port
    assert f"FREQ_HZ {spec.bus.clock_hz}" in text
    assert ("s_axi:m_axi" in text) == bool(spec.external.data_bytes)


def test_external_memory_on_a_board_without_a_processor() -> None:
    board = load_board("arty_a7_100t")
    spec = board_spec(board, replace(board.spec, external=ExternalSpec(data_bytes=8)))
    message = r"^arty_a7_100t: external.data_bytes must be 0, not 8: its block design has no"
    with pytest.raises(BoardError, match=message):
        project_script(board, spec)
