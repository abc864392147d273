"""The weight-stationary systolic array."""

from amaranth.hdl import Cat, Const, Module, Value
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

    In the depthwise mode ``o[c] = sum_{l, i} d[l][c](i) * w[l * taps + i][c]`` with d[l][c](i) the
    operand that stream l has for column c i cycles later: the sum meets the taps of a line cycle by
    cycle as it moves down, so one stream, without a register between the taps, feeds all of them.
    Both kinds of vectors may follow each other at will.

    Latency: ``rows`` (one more when pipelined) from `i_x` to `o` of column 0.

    Parameters
    ----------
    rows, columns: size, 1 to 64 each.
    pipelined: a register behind every multiplier.
    lines: streams of the depthwise mode, with ``taps = rows // lines`` rows each; 0: no such mode.

    Members
    -------
    i_x: `rows` 9-bit signed activations, row 0 in the low bits.
    i_switch: the tile shifted in becomes resident; one cycle before its first activation vector.
    i_w: `columns` 9-bit signed weights of one row, column 0 in the low bits.
    i_shift: row r takes its upper neighbour's shadow weight (row 0: `i_w`); during word k of a tile
        bits 0 to k are set.
    i_lane: a depthwise vector begins in this cycle, not a normal one; it takes `i_d` of this and
        of the next ``taps - 1`` cycles.
    i_d: `lines` times `columns` 9-bit signed operands, line 0 and its column 0 in the low bits.
    o: `columns` partial sums of `sum_bits(rows)` bits, two's complement.
    """

    def __init__(self, rows: int, columns: int, *, pipelined: bool = False, lines: int = 0):
        for name, value in (("rows", rows), ("columns", columns)):
            if not 1 <= value <= 64:
                raise ValueError(f"{name} must be between 1 and 64, not {value!r}")
        if not 0 <= lines <= rows:
            raise ValueError(f"lines must be between 0 and {rows}, not {lines!r}")
        self.rows, self.columns, self.pipelined, self.lines = rows, columns, pipelined, lines
        depthwise = {"i_lane": In(1), "i_d": In(OPERAND_BITS * lines * columns)}
        super().__init__(
            (depthwise if lines else {})
            | {
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
        streams = self._streams(m)
        lane: Value = self.i_lane if self.lines else Const(0)
        for r, stream in enumerate(streams):
            left_x, left_switch, left_lane = xs[r].as_signed(), switch, lane
            for c in range(self.columns):
                pe = ProcessingElement(width, pipelined=self.pipelined, depthwise=bool(stream))
                m.submodules[f"pe_{r}_{c}"] = pe
                m.d.comb += [
                    pe.i_x.eq(left_x),
                    pe.i_switch.eq(left_switch),
                    pe.i_shift.eq(shifts[c][r]),
                    pe.i_w.eq(above_w[c]),
                    pe.i_sum.eq(0 if r == 0 else above_sum[c]),
                ]
                if stream:
                    m.d.comb += [pe.i_d.eq(stream[c]), pe.i_lane.eq(left_lane)]
                    left_lane = pe.o_lane
                left_x, left_switch = pe.o_x, pe.o_switch
                above_w[c], above_sum[c] = pe.o_w, pe.o_sum
            switch = delay(m, switch, 1, f"switch_row{r + 1}", reset=True)
            if r + 1 < self.rows and streams[r + 1]:
                lane = delay(m, lane, 1, f"lane_row{r + 1}", reset=True)
        m.d.comb += self.o.eq(Cat(*(s.as_unsigned() for s in above_sum)))
        return m

    def _streams(self, m: Module) -> list[list[Value]]:
        """Per row the depthwise operand of every column; none in rows that no line reaches.

        Row l * taps begins to work on a sum l * taps cycles later than row 0, column c c cycles
        later than column 0.
        """
        rows: list[list[Value]] = []
        bits = OPERAND_BITS * self.columns
        taps = self.rows // self.lines if self.lines else 0
        for line in range(self.lines):
            whole = delay(m, self.i_d.word_select(line, bits), line * taps, f"line{line}")
            rows += [[v.as_signed() for v in skew(m, whole, OPERAND_BITS, f"line{line}")]] * taps
        return rows + [[]] * (self.rows - len(rows))
