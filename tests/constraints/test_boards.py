"""Every board: its data file, its pins, its clock; and data files with mistakes."""

import re
from pathlib import Path

import pytest

from systolith.build.pll import pll_setting
from systolith.constraints import Family, HostPath, board_names, load_board
from systolith.constraints.load import board_from_toml
from systolith.constraints.pin_files import PIN_FORMATS, keep_ports
from systolith.errors import BoardError

NEEDED = {
    "arty_a7_100t", "asic", "ecpix5_85f", "icebreaker", "kv260", "orangecrab_25f",
    "orangecrab_85f", "pynq_z2", "tang_nano_20k", "ulx3s_85f",
}  # fmt: skip

GOOD = """
title = "A board"
sources = ["its schematic"]
family = "ice40"
clock_mhz = 12
core_mhz = 24
host = "uart"
pin_file = "pins.pcf"
preset = "tiny"

[part]
number = "ICE40UP5K-SG48I"

[capacity]
luts = 5280
"""
PINS = "set_io clk 35\nset_io -pullup yes uart_rx 6\nset_io uart_tx 9\n"


def test_all_boards_are_there() -> None:
    assert set(board_names()) >= NEEDED


@pytest.mark.parametrize("name", board_names())
def test_board(name: str) -> None:
    board = load_board(name)
    assert board.name == name
    assert len(set(board.pins.values())) == len(board.pins), "two ports at one pin"
    assert set(board.needed_pins) <= set(board.pins)
    text = board.pin_file.read_text()
    for mhz in re.findall(r'FREQUENCY PORT "clk" ([\d.]+) MHz', text):
        assert float(mhz) == board.clock_mhz
    for period in re.findall(r"create_clock .*-period ([\d.]+)", text):
        assert 1e3 / float(period) == pytest.approx(board.clock_mhz)
    if board.family is not Family.ASIC:
        capacity = board.capacity
        assert min(capacity.luts, capacity.ffs, capacity.dsps, capacity.block_rams) > 0
    if board.host is HostPath.UART:
        setting = pll_setting(board, board.core_mhz)
        reached = setting.output_mhz if setting else board.clock_mhz
        assert board.core_mhz * 0.99 <= reached <= board.core_mhz
        assert "{bitstream}" in board.program
        assert not board.spec.external.data_bytes, "the board's top has no memory port"


def test_unknown_board_names_what_is_near() -> None:
    with pytest.raises(BoardError, match=r"not 'ulx3s-85'; did you mean ulx3s_85f\?$"):
        load_board("ulx3s-85")
    with pytest.raises(BoardError, match=r"^board must be one of arty_a7_100t, .*, not 'x'$"):
        load_board("x")


def load(tmp_path: Path, text: str, pins: str = PINS) -> None:
    (tmp_path / "pins.pcf").write_text(pins)
    board_from_toml("b", text, tmp_path)


def test_the_good_file_is_good(tmp_path: Path) -> None:
    load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("12\n", "'fast'\n", "board b: clock_mhz must be a number of MHz, not 'fast'"),
        ("24", "2400", "board b: core_mhz must be from 1 to 1000 MHz, not 2400"),
        ('"ice40"', '"ice50"', "board b: family must be one of ecp5, ice40, .*, not 'ice50'"),
        ('"uart"', '"usb"', "board b: host must be one of uart, zynq, .*, not 'usb'"),
        ("5280", "-1", "board b: capacity.luts must be an integer of at least 0, not -1"),
        ("luts", "lutes", r"board b: unknown field of \[capacity\]: 'lutes'; known: .*"),
        ("title", "titel", "board b: unknown field or section 'titel'; known: .*"),
        ('title = "A board"\n', "", "board b: the field 'title' is missing"),
        ('["its schematic"]', "[]", "board b: sources must name where the pins .*, not nothing"),
        ("pins.pcf", "none.pcf", "board b: cannot read 'none.pcf': No such file or directory"),
        ("pins.pcf", "pins.txt", "board b: pin_file must end in one of .lpf, .*, not 'pins.txt'"),
        ('preset = "tiny"\n', "", r"board b: either preset or \[accelerator\] must be given, .*"),
        ('"tiny"', '"huge"', "board b: preset must be one of tiny, .*, not 'huge'"),
        ('"tiny"', "4", "board b: preset must be one of tiny, .*, not 4"),
        ('preset = "tiny"', "accelerator = 4", r"board b: \[accelerator\] must be a table, not 4"),
        ('"A board"', "7", "board b: title must be a text, not 7"),
        ('["its schematic"]', '"it"', "board b: sources must be a list of texts, not 'it'"),
        ('["its schematic"]', "[7]", "board b: each of sources must be a text, not 7"),
        ('"pins.pcf"', "7", "board b: pin_file must be the name of a file, not 7"),
        ('"ice40"', "[1]", r"board b: family must be one of ecp5, .*, not \[1\]"),
        ('"ICE40UP5K-SG48I"', "5", "board b: part.number must be a text, not 5"),
        ('"ICE40UP5K-SG48I"', '""', "board b: part.number must be the part's number, not empty"),
        ("5280", "5280.0", "board b: capacity.luts must be an integer of at least 0, not 5280.0"),
        ("5280", "5280\n[vendor]\nx = 1", "board b: vendor.x must be a text, not 1"),
        ('host = "uart"', 'host = "uart"\nvendor = 1', "board b: vendor must be a table, not 1"),
        ('host = "uart"', 'host = "uart"\nprogram = 1', "board b: program must be a text, not 1"),
        (
            'host = "uart"',
            'host = "uart"\nled_active_low = "no"',
            "board b: led_active_low must be true or false, not 'no'",
        ),
        ("24\n", "nan\n", "board b: core_mhz must be from 1 to 1000 MHz, not nan"),
        ("24\n", "true\n", "board b: core_mhz must be a number of MHz, not True"),
        ("sources = [", "sources = ", "board b: the file must be TOML: .*"),
    ],
)
def test_mistakes_in_a_data_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(BoardError, match=f"^{message}$"):
        load(tmp_path, GOOD.replace(old, new, 1))


def test_a_port_without_a_pin(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"^board b: pins.pcf must place the port 'uart_tx'$"):
        load(tmp_path, GOOD, "set_io clk 35\nset_io uart_rx 6\n")


@pytest.mark.parametrize("name", board_names())
def test_constraints_of_ports_that_are_not_there_are_left_out(name: str) -> None:
    board = load_board(name)
    kind = PIN_FORMATS[board.pin_file.suffix]
    kept = kept_pins = keep_ports(board.pin_file.read_text(), kind, {"clk"})
    assert set(kind.pins(kept_pins)) == set(board.pins) & {"clk"}
    assert "uart_tx" not in kept
