"""The simulation model of the systolic array, in place of its grid of processing elements."""

from pathlib import Path

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib.wiring import In

from systolith.hw.array import WeightStationaryArray, high_sum_bits, sum_bits
from systolith.hw.delay import delay
from systolith.hw.multiplier import OPERAND_BITS
from systolith.spec.precision import Precision

__all__ = ["ARRAY_SOURCE", "ArrayModel"]

ARRAY_SOURCE = Path(__file__).with_name("array.sv")
"""SystemVerilog that designs with an `ArrayModel` need besides their own."""


class ArrayModel(WeightStationaryArray):
    """`WeightStationaryArray` as vectorizable loops: the same, in every cycle, but faster.

    In an array with places and operand registers, a reset while a switch is on its way leaves other
    resident weights than in the grid; they are not used, as every run begins with a switch.

    Members
    -------
    reset: clears the control registers, as a `ResetInserter` around `WeightStationaryArray` does.
    others: as of `WeightStationaryArray`.
    """

    more_members = {"reset": In(1)}

    def elaborate(self, platform: object) -> Module:
        """One instance of the module in `ARRAY_SOURCE`."""
        m = Module()
        modes, held = self.modes, self.held
        inner = self.stages - held
        outputs = {}
        for name in ("o", "o_high") if Precision.W4A8 in modes else ("o",):
            outputs[f"o_{name}"] = sums = Signal(len(getattr(self, name)), name=f"model_{name}")
            m.d.comb += getattr(self, name).eq(delay(m, sums, inner, name))

        def early(name: str, width: int = 1, *, control: bool = False) -> Value:
            """An input that operand registers hold back; 0 if the array has none of the name."""
            port = getattr(self, name, Const(0, width))
            return delay(m, port, held, name, reset=control, clear=self.reset if control else None)

        m.submodules.model = Instance(
            "systolith_array",
            p_ROWS=self.rows, p_COLUMNS=self.columns, p_SUM_BITS=sum_bits(self.rows),
            p_PIPELINED=int(self.pipelined), p_LINES=self.lines, p_GROUP=self.columns_together,
            p_W4A8=int(Precision.W4A8 in modes), p_W4A4=int(Precision.W4A4 in modes),
            p_SPARSE=int(self.sparse), p_X_BITS=self.x_bits, p_W_BITS=self.w_bits,
            p_HIGH_BITS=high_sum_bits(self.rows),
            i_clk=ClockSignal(), i_rst=ResetSignal() | self.reset,
            i_i_x=early("i_x"), i_i_w=early("i_w"),
            i_i_switch=early("i_switch", control=True), i_i_shift=early("i_shift", control=True),
            i_i_precision=early("i_precision", 2), i_i_nibbles=early("i_nibbles"),
            i_i_lane=early("i_lane"), i_i_d=early("i_d", OPERAND_BITS * self.columns),
            **outputs,
        )  # fmt: skip
        return m
