"""The weight-stationary systolic array."""

from collections.abc import Mapping, Set
from typing import Self

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out

from systolith.hw.delay import delay, skew
from systolith.hw.multiplier import (
    HIGH_BITS,
    OPERAND_BITS,
    PRODUCT_BITS,
    Multiplier,
    activation_bits,
    multipliers,
    weight_bits,
)
from systolith.hw.pe import CHOICES, PLACE_BITS, ProcessingElement
from systolith.hw.technology import Technology
from systolith.spec.array import ArraySpec
from systolith.spec.precision import MultiplierForm, Precision

__all__ = ["WeightStationaryArray", "high_sum_bits", "sum_bits"]


def sum_bits(rows: int) -> int:
    """Bits that hold the sum of ``rows`` products of two 9-bit signed operands."""
    return PRODUCT_BITS + (rows - 1).bit_length()


def high_sum_bits(rows: int) -> int:
    """Bits that hold the sum of ``rows`` products of a byte and a nibble's operand."""
    return HIGH_BITS + (rows - 1).bit_length()


class WeightStationaryArray(wiring.Component):
    """``o[c] = sum_r x[r] * w[r][c]`` for a new activation vector x every cycle.

    Inputs are not skewed; output column c is `column_delay` cycles behind column 0, which is c, or
    c // 2 where two columns share a multiplier (`columns_together`). Weights are double buffered:
    a tile is shifted in over `rows` cycles, bottom row first, while the resident tile works, and
    the switch travels with the activations, so tiles of at least `rows` vectors follow without a
    bubble. A new tile's first word may enter in the cycle of the previous tile's `i_switch`, not
    before.

    In the depthwise mode ``o[c] = sum_{l, i} d[l][c](i) * w[l * taps + i][c]`` with d[l][c](i) the
    operand that stream l has for column c i cycles later: the sum meets the taps of a line cycle by
    cycle as it moves down, so one stream, without a register between the taps, feeds all of them.
    Both kinds of vectors may follow each other at will.

    With ``sparse`` a pair of rows has 4 activations, and each of its weights a place among them,
    as in `WeightFormat.TWO_OF_FOUR`: ``o[c] = sum_r x[4 * (r // 2) + place[r][c]] * w[r][c]``. A
    place travels and rests with its weight. The lower row of a pair takes the activations that the
    upper one has passed on, so that both share the registers.

    With precisions of nibbles every vector has its own, which travels with it; depthwise vectors
    are W8A8. The tile that a vector meets must be of the same kind, 9-bit operands or nibbles'.
    With W4A8 `o` has the sums of ``x[r] * w0[r][c]``, and `o_high` those of ``x[r] * w1[r][c]``,
    with W4A4 `o` has those of ``x0[r] * w0[r][c] + x1[r] * w1[r][c]``.

    Latency: ``rows`` (one more when pipelined, and `stages` more) from `i_x` to `o` of column 0.

    Parameters
    ----------
    rows, columns: size, 1 to 64 each.
    pipelined: a register behind every multiplier.
    stages: more registers of every multiplier, see `MultiplierBlock`.
    lines: streams of the depthwise mode, with ``taps = rows // lines`` rows each; 0: no such mode.
    precisions: what the elements can multiply.
    form: how they do it.
    sparse: elements choose one of 4 activations; ``rows`` is even.
    technology: whose primitives the elements may contain.

    Members
    -------
    i_x: `rows` 9-bit signed activations, row 0 in the low bits. With W4A4 10 bits each: a 9-bit
        operand in the low ones, or two 5-bit signed ones, x0 in the low bits. If sparse 4 for every
        pair of rows.
    i_precision: `Precision` of the vector; only with precisions of nibbles.
    i_switch: the tile shifted in becomes resident; one cycle before its first activation vector.
    i_w: `columns` 9-bit signed weights of one row, column 0 in the low bits. With precisions of
        nibbles 10 bits each: a 9-bit operand in the low ones, or two 5-bit signed ones, w0 in the
        low bits. If sparse 2 bits more above each, its place.
    i_nibbles: `i_w` are nibbles' operands; only with precisions of nibbles.
    i_shift: row r takes its upper neighbour's shadow weight (row 0: `i_w`); during word k of a tile
        bits 0 to k are set.
    i_lane: a depthwise vector begins in this cycle, not a normal one; it takes `i_d` of this and
        of the next ``taps - 1`` cycles.
    i_d: `lines` times `columns` 9-bit signed operands, line 0 and its column 0 in the low bits.
    o: `columns` partial sums of `sum_bits(rows)` bits, two's complement.
    o_high: `columns` partial sums of `high_sum_bits(rows)` bits, two's complement, 0 for vectors
        that are not W4A8; only with W4A8.
    """

    more_members: Mapping[str, Member] = {}
    """Ports that a subclass, which makes the same in another way, has besides."""

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        pipelined: bool = False,
        stages: int = 0,
        lines: int = 0,
        precisions: Set[Precision] = frozenset({Precision.W8A8}),
        form: MultiplierForm = MultiplierForm.GENERIC,
        sparse: bool = False,
        technology: Technology = Technology.GENERIC,
    ):
        for name, value in (("rows", rows), ("columns", columns)):
            if not 1 <= value <= 64:
                raise ValueError(f"{name} must be between 1 and 64, not {value!r}")
        if not 0 <= lines <= rows:
            raise ValueError(f"lines must be between 0 and {rows}, not {lines!r}")
        if sparse and rows % 2:
            raise ValueError(f"rows must be even if sparse, not {rows!r}")
        self.rows, self.columns, self.pipelined, self.lines = rows, columns, pipelined, lines
        self.stages, self.technology, self.sparse = stages, technology, sparse
        self.groups = multipliers(form, precisions, columns, apart=bool(lines) or sparse)
        self.multiplier = self.groups[0]
        self.modes = self.multiplier.modes
        depthwise = {"i_lane": In(1), "i_d": In(OPERAND_BITS * lines * columns)}
        nibbles = {"i_precision": In(2), "i_nibbles": In(1)}
        high = {"o_high": Out(high_sum_bits(rows) * columns)}
        self.x_bits, self.w_bits = activation_bits(precisions), weight_bits(precisions)
        self.activations = rows * CHOICES // 2 if sparse else rows
        if sparse:
            self.w_bits += PLACE_BITS
        super().__init__(
            dict(self.more_members)
            | (depthwise if lines else {})
            | (nibbles if self.modes else {})
            | (high if Precision.W4A8 in self.modes else {})
            | {
                "i_x": In(self.x_bits * self.activations),
                "i_switch": In(1),
                "i_w": In(self.w_bits * columns),
                "i_shift": In(rows),
                "o": Out(sum_bits(rows) * columns),
            }
        )

    @classmethod
    def of(cls, spec: ArraySpec, technology: Technology = Technology.GENERIC) -> Self:
        """The array of an accelerator."""
        return cls(
            spec.rows,
            spec.columns,
            pipelined=spec.pipelined,
            stages=spec.multiplier_stages,
            lines=spec.depthwise_lines,
            precisions=spec.precisions,
            form=spec.multiplier,
            sparse=spec.sparse,
            technology=technology,
        )

    @property
    def latency(self) -> int:
        """Cycles from `i_x` to column 0 of `o`."""
        return self.rows + int(self.pipelined) + self.stages

    @property
    def held(self) -> int:
        """Cycles by which weights are held back at the array's edge."""
        return int(self.stages > 0 and not self.sparse)

    @property
    def columns_together(self) -> int:
        """Neighbouring columns that work on the same activation in the same cycle."""
        return self.multiplier.columns

    def column_delay(self, column: int) -> int:
        """Cycles from column 0 of `o` to this one."""
        return column // self.columns_together

    def elaborate(self, platform: object) -> Module:
        """A grid of processing elements between two skewing triangles."""
        m = Module()
        mode, xs, above_w = self._operands(m)
        # Operand registers take weights a cycle later: the next tile's are held back as long.
        shifts = [delay(m, self.i_shift, self.held, "shift_held", reset=True)]
        for g in range(1, len(self.groups)):
            shifts.append(delay(m, shifts[g - 1], 1, f"shift_column{g}", reset=True))
        above: list[tuple[Value, Value]] = [(Const(0), Const(0))] * len(self.groups)
        switch = self.i_switch
        streams = self._streams(m)
        lane: Value = self.i_lane if self.lines else Const(0)
        passed: list[Value] = []  # activations that the row above has passed on
        for r, stream in enumerate(streams):
            left_x, left_switch, left_lane, left_mode = xs[r], switch, lane, mode
            shared, passed = passed if self.sparse and r % 2 else [], []
            for g, kind in enumerate(self.groups):
                m.submodules[f"pe_{r}_{g}"] = pe = self._element(kind, bool(stream))
                m.d.comb += [
                    pe.i_x.eq(shared[g] if shared else left_x),
                    pe.i_switch.eq(left_switch),
                    pe.i_shift.eq(shifts[g][r]),
                    pe.i_w.eq(above_w[g]),
                    pe.i_sum.eq(above[g][0]),
                ]
                if stream:
                    m.d.comb += [pe.i_d.eq(stream[g]), pe.i_lane.eq(left_lane)]
                    left_lane = pe.o_lane
                if self.modes:
                    m.d.comb += pe.i_mode.eq(left_mode)
                    left_mode = pe.o_mode
                left_x, left_switch, above_w[g] = pe.o_x, pe.o_switch, pe.o_w
                passed.append(pe.o_x)
                if kind.has_high:
                    m.d.comb += pe.i_high.eq(above[g][1])
                above[g] = pe.o_sum, pe.o_high if kind.has_high else Const(0, 0)
            switch = delay(m, switch, 1, f"switch_row{r + 1}", reset=True)
            mode = delay(m, mode, int(bool(self.modes)), f"mode_row{r + 1}")
            if r + 1 < self.rows and streams[r + 1]:
                lane = delay(m, lane, 1, f"lane_row{r + 1}")
        self._outputs(m, above)
        return m

    def _element(self, kind: Multiplier, depthwise: bool) -> ProcessingElement:
        return ProcessingElement(
            sum_bits(self.rows),
            pipelined=self.pipelined,
            stages=self.stages,
            technology=self.technology,
            depthwise=depthwise,
            sparse=self.sparse,
            multiplier=kind,
            high_bits=sum_bits(self.rows) if kind.columns > 1 else high_sum_bits(self.rows),
        )

    def _operands(self, m: Module) -> tuple[Value, list[Value], list[Value]]:
        """Mode, and encoded operands of the rows and groups of columns, skewed."""
        kind = self.multiplier
        mode: Value = kind.mode(self.i_precision) if self.modes else Const(0, 0)
        nibbles: Value = Const(0)
        if self.modes:
            nibbles = delay(m, self.i_nibbles, self.held, "nibbles_held")
        codes = delay(m, self.i_w, self.held, "w_held")
        x, w = self.i_x, []
        if self.modes:
            each = (x.word_select(k, self.x_bits) for k in range(self.activations))
            x = Cat(*(kind.activation(e, mode)[: kind.activation_bits] for e in each))
        for g, group in enumerate(self.groups):
            first = self.w_bits * kind.columns * g
            code = codes[first : first + self.w_bits * group.columns]
            place = code[self.w_bits - PLACE_BITS :] if self.sparse else Const(0, 0)
            code = code[: len(code) - len(place)]
            w.append(Cat(group.weight(code, nibbles)[: group.weight_bits], place))
        if self.sparse:
            quads = skew(m, x, CHOICES * kind.activation_bits, "x", step=2)
            xs = [quads[r // 2] for r in range(self.rows)]
        else:
            xs = [v.as_signed() for v in skew(m, x, kind.activation_bits, "x")]
        if kind is self.groups[-1]:
            return mode, xs, [v.as_signed() for v in skew(m, Cat(*w), len(w[0]), "w")]
        pairs = skew(m, Cat(*w[:-1]), kind.weight_bits, "w") if w[:-1] else []
        last = delay(m, w[-1], len(pairs), "w_last")
        return mode, xs, [v.as_signed() for v in (*pairs, last)]

    def _outputs(self, m: Module, sums: list[tuple[Value, Value]]) -> None:
        """The sums that leave the bottom row, by columns."""
        low, high = ([v.as_unsigned() for v in values] for values in zip(*sums, strict=True))
        if self.columns_together > 1:
            m.d.comb += self.o.eq(Cat(*(Cat(*pair) for pair in zip(low, high, strict=True))))
            return
        m.d.comb += self.o.eq(Cat(*low))
        if Precision.W4A8 in self.modes:
            m.d.comb += self.o_high.eq(Cat(*high))

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
