"""The simulation model of the systolic array, in place of its grid of processing elements."""

from pathlib import Path

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal
from amaranth.lib.wiring import In

from systolith.hw.array import WeightStationaryArray, high_sum_bits, sum_bits
from systolith.hw.multiplier import OPERAND_BITS
from systolith.spec.precision import Precision

__all__ = ["ARRAY_SOURCE", "ArrayModel"]

ARRAY_SOURCE = Path(__file__).with_name("array.sv")
"""SystemVerilog that designs with an `ArrayModel` need besides their own."""


class ArrayModel(WeightStationaryArray):
    """`WeightStationaryArray` as vectorizable loops: the same, in every cycle, but faster.

    Members
    -------
    reset: clears the control registers, as a `ResetInserter` around `WeightStationaryArray` does.
    others: as of `WeightStationaryArray`.
    """

    more_members = {"reset": In(1)}

    def elaborate(self, platform: object) -> Module:
        """One instance of the module in `ARRAY_SOURCE`."""
        m = Module()
        modes = self.modes
        outputs = {"o_o": self.o}
        if Precision.W4A8 in modes:
            outputs["o_o_high"] = self.o_high
        m.submodules.model = Instance(
            "systolith_array",
            p_ROWS=self.rows, p_COLUMNS=self.columns, p_SUM_BITS=sum_bits(self.rows),
            p_PIPELINED=int(self.pipelined), p_LINES=self.lines, p_GROUP=self.columns_together,
            p_W4A8=int(Precision.W4A8 in modes), p_W4A4=int(Precision.W4A4 in modes),
            p_SPARSE=int(self.sparse), p_X_BITS=self.x_bits, p_W_BITS=self.w_bits,
            p_HIGH_BITS=high_sum_bits(self.rows),
            i_clk=ClockSignal(), i_rst=ResetSignal() | self.reset,
            i_i_x=self.i_x, i_i_switch=self.i_switch, i_i_w=self.i_w, i_i_shift=self.i_shift,
            i_i_precision=self.i_precision if modes else Const(0, 2),
            i_i_nibbles=self.i_nibbles if modes else Const(0),
            i_i_lane=self.i_lane if self.lines else Const(0),
            i_i_d=self.i_d if self.lines else Const(0, OPERAND_BITS * self.columns),
            **outputs,
        )  # fmt: skip
        return m
