"""Every form of the multiplier against `*`, over all operands there are, in Verilator."""

import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.multiplier import FORMS, activation_bits, multiplier, weight_bits
from systolith.sim.dut import Dut
from systolith.spec.precision import MultiplierForm, Precision

W8A8, W4A8, W4A4 = Precision
SETS = [{W8A8, W4A8}, {W8A8, W4A4}, {W8A8, W4A8, W4A4}]
BITS = 20
BYTES = range(-128, 256)
"""Activations: int8 or uint8."""
NIBBLES = range(-8, 16)
"""Their nibbles: int4 or uint4."""
WEIGHTS: dict[MultiplierForm, range] = {MultiplierForm.GENERIC: range(-16, 16)}
"""Operands of the weights' nibbles that a form is exact for."""


def within(value: Value, values: range) -> Value:
    return (value >= values.start) & (value < values.stop)


class Sweep(wiring.Component):
    """Count through all operands of a precision; compare one multiplication a cycle with `*`."""

    def __init__(self, form: MultiplierForm, precisions: set[Precision]):
        self.form, self.precisions = form, precisions
        super().__init__({"i_precision": In(2), "o_compared": Out(32), "o_wrong": Out(32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kind = multiplier(self.form, self.precisions)
        count = Signal(BITS)
        m.d.sync += count.eq(count + 1)
        x_bits, w_bits = activation_bits(self.precisions), weight_bits(self.precisions)
        is_w4a4, nibbles = self.i_precision == W4A4, self.i_precision != W8A8
        # What a port does not use in a precision gets other bits of the counter.
        x, w = Signal(x_bits), Signal(w_bits)
        m.d.comb += x.eq(Mux(is_w4a4, count[:10], Cat(count[:9], count[19])))
        m.d.comb += w.eq(Mux(is_w4a4, count[10:], count[9:19]))
        byte, weight = x[:9].as_signed(), w[:9].as_signed()
        x0, x1 = x[:5].as_signed(), x[5:10].as_signed() if x_bits == 10 else Const(0)
        w0, w1 = w[:5].as_signed(), w[5:10].as_signed()
        low, high = Signal(signed(19)), Signal(signed(19))
        with m.Switch(self.i_precision):
            with m.Case(W8A8):
                m.d.comb += low.eq(byte * weight)
            with m.Case(W4A8):
                m.d.comb += [low.eq(byte * w0), high.eq(byte * w1)]
            with m.Case(W4A4):
                m.d.comb += low.eq(x0 * w0 + x1 * w1)
        values = WEIGHTS[self.form]
        real = Mux(is_w4a4, within(x0, NIBBLES) & within(x1, NIBBLES), within(byte, BYTES))
        real = real & (~nibbles | within(w0, values) & within(w1, values))
        mode = kind.mode(self.i_precision)
        encoded_x = kind.activation(x, mode)[: kind.activation_bits].as_signed()
        encoded_w = kind.weight(w, nibbles)[: kind.weight_bits].as_signed()
        raw = kind.raw(encoded_x, encoded_w, mode)
        got_low, got_high = kind.products(raw, mode)
        wrong = (got_low != low) | (got_high != high)
        with m.If(real):
            m.d.sync += self.o_compared.eq(self.o_compared + 1)
            m.d.sync += self.o_wrong.eq(self.o_wrong + wrong)
        return m


@pytest.mark.parametrize("precisions", SETS)
@pytest.mark.parametrize("form", FORMS)
def test_all_operands(form: MultiplierForm, precisions: set[Precision]) -> None:
    """Every operand of every precision: values compared are counted, none may differ."""
    weights = len(WEIGHTS[form])
    counts = {
        W8A8: len(BYTES) * 512 * 4,  # with either value of the bits that are not used
        W4A8: len(BYTES) * weights**2 * 2,
        W4A4: len(NIBBLES) ** 2 * weights**2,
    }
    with Dut.build(Sweep(form, precisions)) as dut:
        for precision in precisions:
            dut.reset()
            dut.io["i_precision"] = precision
            dut.clock.tick(1 << BITS)
            assert dut.io["o_compared"] == counts[precision]
            assert dut.io["o_wrong"] == 0


def test_table_is_complete() -> None:
    assert set(FORMS) == set(WEIGHTS)
