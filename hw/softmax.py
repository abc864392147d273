"""Softmax of rows of the activation memory: the largest code, the sum, the results."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.fields import command_bits, command_fields
from systolith.hw.float32 import Float32Adder, Float32Divider, Float32Multiplier, Float32Rounder
from systolith.hw.line_writer import LineWriter
from systolith.hw.pipeline import Pipeline
from systolith.hw.reciprocal import HighMultiplier, Reciprocal
from systolith.hw.rounding import clamp
from systolith.hw.row_reader import RowReader
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode
from systolith.spec.softmax import SoftmaxForm

__all__ = ["SoftmaxUnit"]

_FIXED, _INVERSE, _QUOTIENT = SoftmaxForm.FIXED, SoftmaxForm.INVERSE, SoftmaxForm.QUOTIENT
_LOOK_UP = 2
"""Cycles from a code to its exponential: the memory and a register behind it."""
_BITS = 10
"""Width of results before the zero point: whatever that is, a larger one clamps to `high`."""


class SoftmaxUnit(wiring.Component):
    """Run a SOFTMAX command: three passes over a row, then the next row.

    A row of n codes takes about 3 n + 60 cycles with form FIXED, 5 n + 55 with INVERSE, 26 n + 25
    with QUOTIENT, if every read and write is granted at once and a line has 16 bytes or more.

    Parameters
    ----------
    spec: address width, line width, tables.

    Members
    -------
    start, i: the command; `i` must hold still until `done`.
    done: the last byte is being written.
    c_valid, c_address, c_ready, c_data: reads of lines, `read_latency` cycles from grant to data.
    f_valid, f_address, f_count, f_data, f_ready: writes.
    h_valid, h_address, h_data: writes of the tables' words, at table * 256 + difference.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        bits, line = spec.activation_address_bits, spec.line_bytes
        self.exponents = Memory(shape=32, depth=256 * spec.post.softmax_tables, init=[])
        self._reader, self._writer = RowReader(spec), LineWriter(spec)
        self._adder, self._multiplier = Float32Adder(), Float32Multiplier()
        self._divider, self._rounder = Float32Divider(), Float32Rounder(_BITS)
        self._high, self._reciprocal = HighMultiplier(), Reciprocal()
        super().__init__(
            {
                "start": In(1), "i": In(command_bits(Opcode.SOFTMAX)), "done": Out(1),
                "c_valid": Out(1), "c_address": Out(bits), "c_ready": In(1),
                "c_data": In(8 * line),
                "f_valid": Out(1), "f_address": Out(bits), "f_count": Out(range(line + 1)),
                "f_data": Out(8 * line), "f_ready": In(1),
                "h_valid": In(1), "h_address": In(10), "h_data": In(32),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Parts, then what connects them, then the states."""
        m = Module()
        self._fields = command_fields(Opcode.SOFTMAX, self.i, self.spec.count_bits)
        for name in (
            "reader", "writer", "adder", "multiplier", "divider", "rounder", "high", "reciprocal"
        ):  # fmt: skip
            m.submodules[name] = getattr(self, f"_{name}")
        self._summing, self._coding, self._invert = Signal(), Signal(), Signal()
        self._issue, self._largest = Signal(), Signal(8)
        for port in ("valid", "address"):
            m.d.comb += getattr(self, f"c_{port}").eq(getattr(self._reader, f"c_{port}"))
        for port in ("valid", "address", "count", "data"):
            m.d.comb += getattr(self, f"f_{port}").eq(getattr(self._writer, f"f_{port}"))
        m.d.comb += [
            self._reader.c_ready.eq(self.c_ready), self._reader.c_data.eq(self.c_data),
            self._writer.f_ready.eq(self.f_ready),
        ]  # fmt: skip
        valid, value = self._look_up(m)
        total = self._sum(m, valid & self._summing, value)
        inverse = self._inverse(m, total)
        self._results(m, valid & self._coding, value, inverse)
        self._states(m)
        return m

    def _key(self) -> Value:
        """The reader's byte, so that unsigned comparison orders codes."""
        return self._reader.o ^ Cat(Const(0, 7), self._fields["signed"])

    def _look_up(self, m: Module) -> tuple[Value, Value]:
        """The exponential of the code that is issued, `_LOOK_UP` cycles later."""
        m.submodules.exponents = self.exponents
        write, read = self.exponents.write_port(), self.exponents.read_port()
        second = self._coding & (self._fields["form"] == _QUOTIENT)
        difference = (self._largest - self._key())[:8]
        m.d.comb += [
            write.en.eq(self.h_valid), write.addr.eq(self.h_address), write.data.eq(self.h_data),
            read.en.eq(self._issue),
            read.addr.eq(Cat(difference, (self._fields["table"] + second)[:2])),
        ]  # fmt: skip
        p = Pipeline(m, self._issue)
        p.advance()
        p["exponential"] = read.data
        p.advance()
        assert p.stage == _LOOK_UP
        return p.valid, p["exponential"]

    def _sum(self, m: Module, valid: Value, value: Value) -> Value:
        """The row's sum, as the form adds: 0 until its first exponential."""
        adder, fixed = self._adder, self._fields["form"] == _FIXED
        total, first = Signal(32, reset_less=True), Signal()
        m.d.comb += [
            adder.i_valid.eq(valid & ~fixed), adder.i_a.eq(Mux(first, 0, adder.o)),
            adder.i_b.eq(value),
        ]  # fmt: skip
        with m.If(valid):
            part = (value[:31] + (1 << 11)) >> 12
            m.d.sync += [total.eq(Mux(first, 0, total) + part), first.eq(0)]
        with m.If(~self._summing):
            m.d.sync += first.eq(1)
        return Mux(fixed, total, adder.o)

    def _inverse(self, m: Module, total: Value) -> Value:
        """What each exponential is multiplied with; the units behind it are free again then."""
        reciprocal, high = self._reciprocal, self._high
        multiplier, divider = self._multiplier, self._divider
        form, inverse = self._fields["form"], Signal(32, reset_less=True)
        self._inverted = Signal()
        m.d.comb += [
            reciprocal.i_valid.eq(self._invert & (form == _FIXED)), reciprocal.i.eq(total),
            reciprocal.m_o_valid.eq(high.o_valid), reciprocal.m_o.eq(high.o),
        ]  # fmt: skip
        with m.If(~self._coding):
            m.d.comb += [
                high.i_valid.eq(reciprocal.m_valid), high.i_a.eq(reciprocal.m_a),
                high.i_b.eq(reciprocal.m_b),
                multiplier.i_valid.eq(self._invert & (form == _INVERSE)),
                multiplier.i_a.eq(total), multiplier.i_b.eq(self._fields["scale"]),
                divider.i_valid.eq(multiplier.o_valid), divider.i_a.eq(127 << 23),
                divider.i_b.eq(multiplier.o),
            ]  # fmt: skip
            with m.If(divider.o_valid):
                m.d.sync += inverse.eq(divider.o)
        with m.Else():
            m.d.comb += divider.i_b.eq(total)
        m.d.sync += self._inverted.eq(
            ~self._coding & (divider.o_valid | reciprocal.o_valid)
            | (self._invert & (form == _QUOTIENT))
        )
        return inverse

    def _results(self, m: Module, valid: Value, value: Value, inverse: Value) -> None:
        """From exponentials to bytes for the writer, in order."""
        high, multiplier, divider = self._high, self._multiplier, self._divider
        rounder, form = self._rounder, self._fields["form"]
        with m.If(self._coding):
            m.d.comb += [
                high.i_valid.eq(valid & (form == _FIXED)), high.i_a.eq(value),
                high.i_b.eq(self._reciprocal.o),
                multiplier.i_valid.eq(valid & (form == _INVERSE)), multiplier.i_a.eq(value),
                multiplier.i_b.eq(inverse),
                divider.i_valid.eq(valid & (form == _QUOTIENT)), divider.i_a.eq(value),
                rounder.i_valid.eq(
                    Mux(form == _INVERSE, multiplier.o_valid, divider.o_valid)
                ),
                rounder.i.eq(Mux(form == _INVERSE, multiplier.o, divider.o)),
            ]  # fmt: skip
        m.d.comb += rounder.i_away.eq(form == _INVERSE)
        # Of a fixed-point result one bit stays behind the point, to round half up.
        p = Pipeline(m, high.o_valid & self._coding)
        p["shifted"] = Cat(Const(0, 1), high.o[:31]) >> (35 - self._reciprocal.zeros)[:6]
        p.advance()
        rounded = p.wire("rounded", p["shifted"][1:] + p["shifted"][0])
        p["integer"] = Mux(rounded[_BITS:].any(), (1 << _BITS) - 1, rounded)[:_BITS]
        p.advance()
        fixed = form == _FIXED
        q = Pipeline(m, Mux(fixed, p.valid, rounder.o_valid))
        q["value"] = Mux(fixed, p["integer"], rounder.o) + self._fields["zero"]
        q.advance()
        q["code"] = clamp(q["value"], self._fields["low"], self._fields["high"])[:8]
        q.advance()
        m.d.comb += [self._writer.i_valid.eq(q.valid), self._writer.i.eq(q["code"])]

    def _rows(self, m: Module) -> Value:
        """Addresses of the present row; whether it is the last."""
        fields, reader, writer = self._fields, self._reader, self._writer
        source, target = (Signal.like(self.c_address, name=n) for n in ("source", "target"))
        rows = Signal(self.spec.count_bits)
        m.d.comb += [
            reader.address.eq(source), reader.length.eq(fields["length"]),
            writer.address.eq(target), writer.length.eq(fields["length"]),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [
                source.eq(fields["s_base"]), target.eq(fields["d_base"]),
                rows.eq(fields["row_count"]),
            ]  # fmt: skip
        with m.Elif(writer.done):
            m.d.sync += [
                source.eq(source + fields["s_row_stride"]),
                target.eq(target + fields["d_row_stride"]), rows.eq(rows - 1),
            ]  # fmt: skip
        return rows == 1

    def _states(self, m: Module) -> None:
        """The passes of a row, one row after the other."""
        fields, reader, writer = self._fields, self._reader, self._writer
        last_row = self._rows(m)
        gap = Signal(range(_LOOK_UP + Float32Adder.latency + 1))  # cycles to wait for a sum
        takes = reader.o_valid & reader.o_next
        dividing = Signal()
        with m.If(takes & self._coding & (fields["form"] == _QUOTIENT)):
            m.d.sync += dividing.eq(1)
        with m.Elif(self._divider.o_valid):
            m.d.sync += dividing.eq(0)
        with m.If(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        m.d.comb += [
            writer.issue.eq(takes & self._coding),
            self._issue.eq(takes & (self._summing | self._coding)),
        ]  # fmt: skip
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.next = "ROW"
            with m.State("ROW"):
                m.d.comb += [reader.start.eq(1), writer.start.eq(1)]
                m.d.sync += self._largest.eq(0)
                m.next = "LARGEST"
            with m.State("LARGEST"):
                m.d.comb += reader.o_next.eq(1)
                with m.If(takes & (self._key() > self._largest)):
                    m.d.sync += self._largest.eq(self._key())
                with m.If(takes & reader.o_last):
                    m.d.comb += reader.start.eq(1)
                    m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += [self._summing.eq(1), reader.o_next.eq(gap == 0)]
                with m.If(takes & (fields["form"] != _FIXED)):
                    m.d.sync += gap.eq(Float32Adder.latency - 1)
                with m.If(takes & reader.o_last):
                    m.d.comb += reader.start.eq(1)
                    m.d.sync += gap.eq(_LOOK_UP + Float32Adder.latency)
                    m.next = "SUMMED"
            with m.State("SUMMED"):
                m.d.comb += [self._summing.eq(gap != 0), self._invert.eq(gap == 0)]
                with m.If(gap == 0):
                    m.next = "INVERT"
            with m.State("INVERT"), m.If(self._inverted):
                m.next = "RESULTS"
            with m.State("RESULTS"):
                m.d.comb += [self._coding.eq(1), reader.o_next.eq(writer.ready & ~dividing)]
                with m.If(writer.done):
                    m.d.comb += self.done.eq(last_row)
                    m.next = "ROW"
                    with m.If(last_row):
                        m.next = "IDLE"
