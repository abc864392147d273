"""Which pixels of a depthwise stream complete an output."""

from collections.abc import Mapping

from amaranth.hdl import Const, Module, Mux, Signal, Value

from systolith.hw.countdown import Countdown

__all__ = ["OutputGrid"]


class OutputGrid:
    """Follow a stream of pixels; say which complete an output, and where it ends.

    Every row of the image runs through the outputs of a row, from column `x_first` on and into the
    row after it, if need be; they count where the row is one with outputs. What is compared with a
    counter is a register beside it, made from what the counter will be.

    Parameters
    ----------
    m: where the registers go.
    fields: x_first, x_step, ox_count, y_first, y_step, oy_count of the MATMUL; they must be there
        in the last cycle of `idle`.
    width: columns of an image, at most.

    Attributes
    ----------
    column: of the pixel.
    is_output: it completes an output.
    ends: it completes the stream's last.
    fresh: no output of the stream is complete yet.
    will_gate: the next pixel is just behind the last column with an output, and the next row of the
        image is one with outputs. Known late in a cycle.
    will_begin: the row that has not begun is one with outputs; late, too.
    """

    def __init__(self, m: Module, fields: Mapping[str, Value], width: int) -> None:
        self._fields = fields
        self.column, self.is_output, self.ends = Signal(range(width)), Signal(), Signal()
        self.fresh = Signal()
        self._begins = Signal()  # the column is that of a row's first output
        self._due = Signal()  # it is that of another output
        self._live, self._will_live = Signal(), Signal()  # this row has outputs
        self._behind, self._will_behind = Signal(), Signal()  # the row's last one is past
        self._single, self._adjacent = Signal(), Signal()  # a row has one; every column has one
        # Rows before the next one with outputs; rows with outputs that have not begun; columns
        # before the next output; outputs left in this row.
        self._rows_away = Countdown(m, "rows_away", fields["y_first"])
        self._rows_left = Countdown(m, "rows_left", fields["oy_count"])
        self._step = Countdown(m, "step", fields["x_step"])
        self._outputs_left = Countdown(m, "outputs_left", fields["ox_count"])
        # If this is an output, it is the last of the last row with outputs; so if the row begins.
        last, last_alone = Signal(), Signal()
        single = fields["ox_count"] == 1
        self._on_grid = self._begins | self._due
        m.d.comb += [
            self.is_output.eq(
                self._on_grid & Mux(self._begins, self._rows_away.is_zero, self._live)
            ),
            self.ends.eq(Mux(self._begins, last_alone, self._due & last)),
        ]
        self.will_begin = self._rows_away.will_be_zero
        self.will_gate = self._will_behind & self.will_begin
        m.d.sync += [
            self._single.eq(single), self._adjacent.eq(fields["x_step"] == 1),
            self._behind.eq(self._will_behind), self._live.eq(self._will_live),
            last.eq(
                self._will_live & self._outputs_left.will_be_one & self._rows_left.will_be_zero
            ),
            last_alone.eq(self.will_begin & self._rows_left.will_be_one & single),
        ]  # fmt: skip

    def advance(self, m: Module, *, issue: Value, idle: Value, row_ends: Value) -> None:
        """Go on to the next pixel.

        Parameters
        ----------
        issue: the pixel is issued.
        idle: no stream runs; the next begins.
        row_ends: the pixel is the last of its row of the image.
        """
        fields, begins = self._fields, self._begins
        m.d.comb += [self._will_behind.eq(self._behind), self._will_live.eq(self._live)]
        with m.If(issue):
            column = Mux(row_ends, 0, self.column + 1)
            m.d.sync += [self.column.eq(column), begins.eq(column == fields["x_first"])]
            self._count(m)
            with m.If(self.is_output):
                m.d.sync += self.fresh.eq(0)
        with m.If(idle | (issue & self.ends)):
            m.d.sync += [self.column.eq(0), begins.eq(fields["x_first"] == 0), self._due.eq(0)]
            m.d.sync += self.fresh.eq(1)
            m.d.comb += self._will_behind.eq(0)
            self._rows_away.load(fields["y_first"])
            self._rows_left.load(fields["oy_count"])
            self._outputs_left.load(Const(0))

    def _count(self, m: Module) -> None:
        """Count columns, outputs and rows."""
        fields, begins, left = self._fields, self._begins, self._outputs_left
        ends_row = Mux(begins, self._single, left.is_one)
        m.d.comb += self._will_behind.eq(self._on_grid & ends_row)
        with m.If(self._on_grid):
            self._step.load(fields["x_step"], less=1)
            m.d.sync += self._due.eq(self._adjacent & ~ends_row)
        with m.Else():
            self._step.count()
            m.d.sync += self._due.eq(self._step.is_one & ~left.is_zero)
        with m.If(begins):
            left.load(fields["ox_count"], less=1)
            m.d.comb += self._will_live.eq(self._rows_away.is_zero)
            with m.If(self._rows_away.is_zero):
                self._rows_away.load(fields["y_step"], less=1)
                self._rows_left.count()
            with m.Else():
                self._rows_away.count()
        with m.Elif(self._on_grid):
            left.count()
