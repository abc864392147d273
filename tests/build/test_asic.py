"""Standard cells: area, delay and macros of a small design, with a liberty file of five cells."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.build.asic import Macro, read_cells, sdc, synthesise_cells
from systolith.constraints import load_board
from systolith.errors import InputError
from systolith.sim.emit import to_rtlil


def _gate(name: str, area: int, function: str, inputs: str) -> str:
    timing = "".join(
        f'timing () {{ related_pin : "{pin}"; cell_rise (scalar) {{ values ("0.1"); }} '
        'cell_fall (scalar) { values ("0.1"); } rise_transition (scalar) { values ("0.1"); } '
        'fall_transition (scalar) { values ("0.1"); } }\n'
        for pin in inputs
    )
    pins = "".join(f"pin ({p}) {{ direction : input; capacitance : 0.01; }}\n" for p in inputs)
    return (
        f"cell ({name}) {{ area : {area};\n{pins}"
        f'pin (Y) {{ direction : output; function : "{function}";\n{timing} }} }}\n'
    )


LIBERTY = (
    'library (five) { time_unit : "1ns"; capacitive_load_unit (1, pf);\n'
    "delay_model : table_lookup;\n"
    'lu_table_template (scalar) { variable_1 : input_net_transition; index_1 ("0"); }\n'
    + _gate("INV", 1, "!A", "A")
    + _gate("BUF", 2, "A", "A")
    + _gate("NAND2", 2, "!(A B)", "AB")
    + _gate("NOR2", 2, "!(A + B)", "AB")
    + """cell (DFF) { area : 8; ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }
pin (CK) { direction : input; clock : true; capacitance : 0.01; }
pin (D) { direction : input; capacitance : 0.01; }
pin (Q) { direction : output; function : "IQ"; } }
}
"""
)


class Small(wiring.Component):
    """A memory of 4096 bits, one of 32, and a register."""

    address: In(8)
    data: In(16)
    o: Out(16)
    small: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, depth, width in (("large", 256, 16), ("small_one", 8, 4)):
            m.submodules[name] = memory = Memory(shape=width, depth=depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(self.address), write.data.eq(self.data), write.en.eq(1),
                read.addr.eq(self.data), read.en.eq(1),
            ]  # fmt: skip
            m.d.sync += (self.o if depth > 8 else self.small).eq(read.data ^ self.address)
        return m


def test_cells_of_a_liberty_file() -> None:
    cells = read_cells(LIBERTY)
    assert {name: cell.area for name, cell in cells.items()} == {
        "INV": 1, "BUF": 2, "NAND2": 2, "NOR2": 2, "DFF": 8,
    }  # fmt: skip
    assert [name for name, cell in cells.items() if cell.storage] == ["DFF"]


def test_area_delay_and_macros(tmp_path: Path) -> None:
    path = tmp_path / "five.lib"
    path.write_text(LIBERTY)
    result = synthesise_cells(to_rtlil(Small(), "top"), path, 10.0)
    assert [(m.depth, m.width, m.reads, m.writes, m.clocked) for m in result.macros] == [
        (256, 16, 1, 1, True)
    ]
    assert isinstance(result.macros[0], Macro)
    # The small memory's bits, its read register or address, and both outputs.
    assert 32 + 4 + 20 <= result.registers <= 32 + 16 + 4 + 20
    assert result.area == sum(result.components.values()) > 8 * result.registers
    assert result.delay_ns > 0.1
    assert "systolith_macro" in result.netlist and "DFF" in result.netlist


def test_a_file_that_is_no_liberty(tmp_path: Path) -> None:
    path = tmp_path / "other.lib"
    path.write_text("nothing")
    with pytest.raises(InputError, match=r"^--liberty must be a liberty file with the area of"):
        synthesise_cells("", path, 10.0)
    with pytest.raises(InputError, match=r"^cannot read '.*none.lib': No such file or directory$"):
        synthesise_cells("", tmp_path / "none.lib", 10.0)


def test_constraints_are_filled_in() -> None:
    text = sdc(load_board("asic").pin_file.read_text(), 8.0)
    assert "create_clock -name clk -period 8 [get_ports clk]" in text
    assert "set_input_delay 2 -clock clk" in text
    assert "{" not in text
