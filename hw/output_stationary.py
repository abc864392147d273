"""The output-stationary systolic array: a variant to instantiate by itself."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.delay import delay, skew
from systolith.hw.pe import OPERAND_BITS

__all__ = ["RESULT_BITS", "AccumulatingElement", "OutputStationaryArray"]

RESULT_BITS = 32
"""Sums are int32 and wrap, like the accumulators below the weight-stationary array."""


class AccumulatingElement(wiring.Component):
    """Multiply the passing activation by the passing weight and add up the products of a tile.

    ``total = (0 if i_first else total) + i_x * i_w``; `i_last` copies the new total to `o_result`,
    which otherwise takes `i_result` while `i_take` is high.

    Latency: 1 cycle from `i_x`, `i_w` to `o_x`, `o_w`, and to `o_result` on `i_last`; with
    ``pipelined`` one more to `o_result`.

    Parameters
    ----------
    pipelined: register between multiplier and adder.

    Members
    -------
    i_x, o_x: activation, moving right.
    i_w, o_w: weight, moving down.
    i_first, i_last: these operands are the tile's first, last.
    i_take: take the upper neighbour's result.
    i_result, o_result: results, moving down.
    """

    def __init__(self, *, pipelined: bool = False):
        self.pipelined = pipelined
        operand, result = signed(OPERAND_BITS), signed(RESULT_BITS)
        super().__init__(
            {
                "i_x": In(operand), "o_x": Out(operand),
                "i_w": In(operand), "o_w": Out(operand),
                "i_first": In(1), "i_last": In(1), "i_take": In(1),
                "i_result": In(result), "o_result": Out(result),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Data registers have no reset: a tile's first operands overwrite what they held."""
        m = Module()
        stages = int(self.pipelined)
        x, w = delay(m, self.i_x, 1, "x"), delay(m, self.i_w, 1, "w")
        product = delay(m, self.i_x * self.i_w, stages, "product")
        first = delay(m, self.i_first, stages, "first")
        last = delay(m, self.i_last, stages, "last", reset=True)
        total = Signal(signed(RESULT_BITS), reset_less=True)
        new = Signal(signed(RESULT_BITS))
        result = Signal(signed(RESULT_BITS), reset_less=True)
        m.d.comb += [self.o_x.eq(x), self.o_w.eq(w), self.o_result.eq(result)]
        m.d.comb += new.eq(Mux(first, 0, total) + product)
        m.d.sync += total.eq(new)
        with m.If(last):
            m.d.sync += result.eq(new)
        with m.Elif(self.i_take):
            m.d.sync += result.eq(self.i_result)
        return m


class OutputStationaryArray(wiring.Component):
    """``o[r][c] = wrap32(sum_k x[k][r] * w[k][c])``, one k a cycle, any number of k in a tile.

    Every element keeps its own sum; activations move right, weights move down. Inputs are not
    skewed. When a tile's last k has passed, its results leave downwards while the next tile is
    computed: one row a cycle, the bottom row first, column c being c cycles behind column 0. So the
    last k of two tiles must be at least `rows` cycles apart, and tiles of at least `rows` k follow
    each other without a bubble. A cycle inside a tile without data must have ``i_x`` or ``i_w`` 0;
    cycles between tiles are ignored.

    Latency: ``rows`` (one more when pipelined) from `i_last` to the bottom row in column 0 of `o`;
    row r follows ``rows - 1 - r`` cycles later.

    Parameters
    ----------
    rows, columns: size of the result tile, 1 to 64 each.
    pipelined: a register behind every multiplier.

    Members
    -------
    i_x: `rows` 9-bit signed activations of one k, row 0 in the low bits.
    i_w: `columns` 9-bit signed weights of one k, column 0 in the low bits.
    i_first, i_last: this k is the tile's first, last; both for a tile of one k.
    o: `columns` results of 32 bits, two's complement, of one row.
    """

    def __init__(self, rows: int, columns: int, *, pipelined: bool = False):
        for name, value in (("rows", rows), ("columns", columns)):
            if not 1 <= value <= 64:
                raise ValueError(f"{name} must be between 1 and 64, not {value!r}")
        self.rows, self.columns, self.pipelined = rows, columns, pipelined
        super().__init__(
            {
                "i_x": In(OPERAND_BITS * rows),
                "i_w": In(OPERAND_BITS * columns),
                "i_first": In(1),
                "i_last": In(1),
                "o": Out(RESULT_BITS * columns),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from `i_last` to the bottom row in column 0 of `o`."""
        return self.rows + int(self.pipelined)

    def elaborate(self, platform: object) -> Module:
        """A grid of elements below and beside two skewing triangles."""
        m = Module()
        xs = skew(m, self.i_x, OPERAND_BITS, "x")
        above_w = [w.as_signed() for w in skew(m, self.i_w, OPERAND_BITS, "w")]
        above_result: list[Value] = [Const(0, signed(RESULT_BITS))] * self.columns
        takes = self._takes(m)
        marks: Value = Cat(self.i_first, self.i_last)
        for r in range(self.rows):
            left_x: Value = xs[r].as_signed()
            left_marks = marks
            for c in range(self.columns):
                element = AccumulatingElement(pipelined=self.pipelined)
                m.submodules[f"element_{r}_{c}"] = element
                m.d.comb += [
                    element.i_x.eq(left_x),
                    element.i_w.eq(above_w[c]),
                    Cat(element.i_first, element.i_last).eq(left_marks),
                    element.i_take.eq(takes[c][r]),
                    element.i_result.eq(above_result[c]),
                ]
                left_x, above_w[c], above_result[c] = element.o_x, element.o_w, element.o_result
                if c < self.columns - 1:
                    left_marks = delay(m, left_marks, 1, f"marks_{r}_{c}", reset=True)
            if r < self.rows - 1:
                marks = delay(m, marks, 1, f"marks_row{r + 1}", reset=True)
        m.d.comb += self.o.eq(Cat(*(result.as_unsigned() for result in above_result)))
        return m

    def _takes(self, m: Module) -> list[Value]:
        """Per column and row: take the upper neighbour's result.

        Results wait until the bottom row has its own; then row r takes r times, which empties the
        rows from the top, just before they get the next tile's results.
        """
        drain = delay(m, self.i_last, self.latency - 1, "drain", reset=True)
        take = Signal(self.rows)
        below_top = (1 << self.rows) - 2
        m.d.sync += take.eq(Mux(drain, below_top, take << 1))
        takes: list[Value] = [take]
        for c in range(1, self.columns):
            takes.append(delay(m, takes[-1], 1, f"take_column{c}", reset=True))
        return takes
