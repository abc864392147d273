"""The weight-stationary systolic array."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.delay import delay, skew
from systolith.hw.pe import OPERAND_BITS, ProcessingElement

__all__ = ["WeightStationaryArray", "sum_bits"]


def sum_bits(rows: int) -> int:
    """Bits that hold the sum of ``rows`` products of two 9-bit signed operands."""
    return 2 * OPERAND_BITS + (rows - 1).bit_length()


class WeightStationaryArray(wiring.Component):
    """``o[c] = sum_r x[r] * w[r][c]`` for a new activation vector x every cycle.

    Inputs are not skewed; output column c is c cycles behind column 0. Weights are double buffered:
    a tile is shifted in over `rows` cycles, bottom row first, while the resident tile works, and
    the switch travels with the activations, so tiles of at least `rows` vectors follow without a
    bubble. A new tile's first word may enter in the cycle of the previous tile's `i_switch`, not
    before.

    Latency: ``rows`` (one more when pipelined) from `i_x` to `o` of column 0.

    Parameters
    ----------
    rows, columns: size, 1 to 64 each.
    pipelined: a register behind every multiplier.

    Members
    -------
    i_x: `rows` 9-bit signed activations, row 0 in the low bits.
    i_switch: the tile shifted in becomes resident; one cycle before its first activation vector.
    i_w: `columns` 9-bit signed weights of one row, column 0 in the low bits.
    i_shift: row r takes its upper neighbour's shadow weight (row 0: `i_w`); during word k of a tile
        bits 0 to k are set.
    o: `columns` partial sums of `sum_bits(rows)` bits, two's complement.
    """

    def __init__(self, rows: int, columns: int, *, pipelined: bool = False):
        for name, value in (("rows", rows), ("columns", columns)):
            if not 1 <= value <= 64:
                raise ValueError(f"{name} must be between 1 and 64, not {value!r}")
        self.rows, self.columns, self.pipelined = rows, columns, pipelined
        super().__init__(
            {
                "i_x": In(OPERAND_BITS * rows),
                "i_switch": In(1),
                "i_w": In(OPERAND_BITS * columns),
                "i_shift": In(rows),
                "o": Out(sum_bits(rows) * columns),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from `i_x` to column 0 of `o`."""
        return self.rows + int(self.pipelined)

    def elaborate(self, platform: object) -> Module:
        """A grid of processing elements between two skewing triangles."""
        m = Module()
        width = sum_bits(self.rows)
        xs = skew(m, self.i_x, OPERAND_BITS, "x")
        ws = skew(m, self.i_w, OPERAND_BITS, "w")
        shifts = [self.i_shift]
        for c in range(1, self.columns):
            shifts.append(delay(m, shifts[c - 1], 1, f"shift_column{c}", reset=True))
        above_w = [w.as_signed() for w in ws]
        above_sum = [None] * self.columns
        switch = self.i_switch
        for r in range(self.rows):
            left_x, left_switch = xs[r].as_signed(), switch
            for c in range(self.columns):
                pe = ProcessingElement(width, pipelined=self.pipelined)
                m.submodules[f"pe_{r}_{c}"] = pe
                m.d.comb += [
                    pe.i_x.eq(left_x),
                    pe.i_switch.eq(left_switch),
                    pe.i_shift.eq(shifts[c][r]),
                    pe.i_w.eq(above_w[c]),
                    pe.i_sum.eq(0 if r == 0 else above_sum[c]),
                ]
                left_x, left_switch = pe.o_x, pe.o_switch
                above_w[c], above_sum[c] = pe.o_w, pe.o_sum
            switch = delay(m, switch, 1, f"switch_row{r + 1}", reset=True)
        m.d.comb += self.o.eq(Cat(*(s.as_unsigned() for s in above_sum)))
        return m
