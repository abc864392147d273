"""The simulation model of the systolic array, in place of its grid of processing elements."""

from pathlib import Path

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.array import sum_bits
from systolith.hw.pe import OPERAND_BITS

__all__ = ["ARRAY_SOURCE", "ArrayModel"]

ARRAY_SOURCE = Path(__file__).with_name("array.sv")
"""SystemVerilog that designs with an `ArrayModel` need besides their own."""


class ArrayModel(wiring.Component):
    """`WeightStationaryArray` as vectorizable loops: the same, in every cycle, but faster.

    Parameters
    ----------
    rows, columns, pipelined, lines: as of `WeightStationaryArray`.

    Members
    -------
    reset: clears the control registers, as a `ResetInserter` around `WeightStationaryArray` does.
    others: as of `WeightStationaryArray`.
    """

    def __init__(self, rows: int, columns: int, *, pipelined: bool = False, lines: int = 0):
        self.rows, self.columns, self.pipelined, self.lines = rows, columns, pipelined, lines
        self.latency = rows + int(pipelined)
        depthwise = {"i_lane": In(1), "i_d": In(OPERAND_BITS * lines * columns)}
        super().__init__(
            (depthwise if lines else {})
            | {
                "reset": In(1),
                "i_x": In(OPERAND_BITS * rows),
                "i_switch": In(1),
                "i_w": In(OPERAND_BITS * columns),
                "i_shift": In(rows),
                "o": Out(sum_bits(rows) * columns),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """One instance of the module in `ARRAY_SOURCE`."""
        m = Module()
        m.submodules.model = Instance(
            "systolith_array",
            p_ROWS=self.rows, p_COLUMNS=self.columns, p_SUM_BITS=sum_bits(self.rows),
            p_PIPELINED=int(self.pipelined), p_LINES=self.lines,
            i_clk=ClockSignal(), i_rst=ResetSignal() | self.reset,
            i_i_x=self.i_x, i_i_switch=self.i_switch, i_i_w=self.i_w, i_i_shift=self.i_shift,
            i_i_lane=self.i_lane if self.lines else Const(0),
            i_i_d=self.i_d if self.lines else Const(0, OPERAND_BITS * self.columns),
            o_o=self.o,
        )  # fmt: skip
        return m
