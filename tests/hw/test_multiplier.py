"""Every form of the multiplier against `*`, over all operands there are, in Verilator."""

from itertools import product

import pytest
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from systolith.hw.array import WeightStationaryArray
from systolith.hw.multiplier import (
    FORMS,
    Multiplier,
    PairMultiplier,
    Product,
    activation_bits,
    weight_bits,
)
from systolith.sim.dut import Dut
from systolith.sim.pysim import simulate
from systolith.spec.array import ArraySpec
from systolith.spec.precision import MultiplierForm, Precision

W8A8, W4A8, W4A4 = Precision
SETS = [{W8A8, W4A8}, {W8A8, W4A4}, {W8A8, W4A8, W4A4}]
BYTES = range(-128, 256)
"""Activations: int8 or uint8."""
NIBBLES = range(-8, 16)
"""Their nibbles: int4 or uint4."""
WEIGHTS = {
    MultiplierForm.GENERIC: range(-16, 16),
    MultiplierForm.PACKED18: range(-15, 16),
    MultiplierForm.PACKED27: range(-16, 16),
}
"""Operands of the weights' nibbles that a form is exact for."""


def within(value: Value, values: range) -> Value:
    return (value >= values.start) & (value < values.stop)


class Sweep(wiring.Component):
    """Count through all operands; compare one multiplication a cycle with `*`.

    Members
    -------
    i_precision: what is multiplied.
    o_compared, o_wrong: operands so far, and those of another result.
    """

    bits = 20

    def __init__(self, kind: Multiplier, weights: range, precisions: set[Precision]):
        self.kind, self.weights, self.precisions = kind, weights, precisions
        super().__init__({"i_precision": In(2), "o_compared": Out(32), "o_wrong": Out(32)})

    def elaborate(self, platform: object) -> Module:
        """The counter, and two counters of results."""
        m = Module()
        count = Signal(self.bits)
        m.d.sync += count.eq(count + 1)
        x, w, low, high, real = self.operands(m, count)
        kind, nibbles = self.kind, self.i_precision != W8A8
        mode = kind.mode(self.i_precision)
        encoded_x = kind.activation(x, mode)[: kind.activation_bits].as_signed()
        encoded_w = kind.weight(w, nibbles)[: kind.weight_bits].as_signed()
        raw = kind.raw(encoded_x, encoded_w, mode)
        wrong = Const(0)
        for result, want in zip(kind.products(raw, mode), (low, high), strict=True):
            total = Signal(signed(24))  # any, to see that the carry is added to it
            m.d.comb += total.eq(Cat(count, count[:4]))
            wrong = wrong | (result.plus(total)[:24] != (total + want)[:24])
        with m.If(real):
            m.d.sync += self.o_compared.eq(self.o_compared + 1)
            m.d.sync += self.o_wrong.eq(self.o_wrong + wrong)
        return m

    def operands(self, m: Module, count: Signal) -> tuple[Value, ...]:
        """Activation, weight, both products, and whether there are such operands."""
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
        real = Mux(is_w4a4, within(x0, NIBBLES) & within(x1, NIBBLES), within(byte, BYTES))
        real = real & (~nibbles | within(w0, self.weights) & within(w1, self.weights))
        return x, w, low, high, real


class PairSweep(Sweep):
    """The same of two columns: all operands, or those of the first column and rails of the other.

    Bits of the counter: activation, first weight, second weight (all of it, or its choice).
    """

    def __init__(self, *, everything: bool):
        super().__init__(PairMultiplier(), range(-256, 256), {W8A8})
        self.everything = everything
        self.bits = 27 if everything else 20

    def operands(self, m: Module, count: Signal) -> tuple[Value, ...]:
        """Of 9 bits each."""
        x, w_a = count[:9].as_signed(), count[9:18].as_signed()
        w_b = count[18:].as_signed() if self.everything else Signal(signed(9))
        if not self.everything:
            m.d.comb += w_b.eq(Array([-256, 255, -1, 0])[count[18:]])
        return count[:9], Cat(w_a, w_b), x * w_a, x * w_b, within(x, BYTES)


class Sweeps(wiring.Component):
    """All sweeps side by side, so that one model is built; each as a pair of ports."""

    def __init__(self) -> None:
        self.sweeps = {
            f"{form}_{i}": Sweep(FORMS[form].nibbles(precisions), WEIGHTS[form], precisions)
            for form in FORMS
            for i, precisions in enumerate(SETS)
        }
        self.sweeps["pairs"] = PairSweep(everything=False)
        # Beyond what there is: shows why, and that a wrong result is counted.
        packed = FORMS[MultiplierForm.PACKED18].nibbles(SETS[0])
        self.sweeps["beyond"] = Sweep(packed, range(-16, 16), SETS[0])
        ports = {f"o_{kind}_{n}": Out(32) for n in self.sweeps for kind in ("compared", "wrong")}
        super().__init__({"i_precision": In(2), **ports})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, sweep in self.sweeps.items():
            m.submodules[name] = sweep
            m.d.comb += [
                sweep.i_precision.eq(self.i_precision),
                getattr(self, f"o_compared_{name}").eq(sweep.o_compared),
                getattr(self, f"o_wrong_{name}").eq(sweep.o_wrong),
            ]
        return m


def test_all_operands() -> None:
    """Every operand of every precision: those compared are counted, no result may differ.

    Of pairs, all operands of a column with rails of the other.
    """
    design, compared = Sweeps(), 0
    with Dut.build(design) as dut:
        for precision in Precision:
            dut.reset()
            dut.io["i_precision"] = precision
            dut.clock.tick(1 << Sweep.bits)
            for name, sweep in design.sweeps.items():
                if precision not in sweep.precisions:
                    continue
                count = {
                    W8A8: len(BYTES) << 11,  # with all values of the bits that are not used
                    W4A8: len(BYTES) * len(sweep.weights) ** 2 * 2,
                    W4A4: len(NIBBLES) ** 2 * len(sweep.weights) ** 2,
                }[precision]
                got = dut.io[f"o_compared_{name}"], dut.io[f"o_wrong_{name}"]
                # -16 above a negative nibble: wrong in the high field, but for x = 0.
                beyond = name == "beyond" and precision is W4A8
                assert got == (count, (len(BYTES) - 1) * 16 * 2 * beyond), (name, precision)
                compared += count * (name != "beyond")
    assert compared == 15_952_512


@pytest.mark.slow
def test_all_pairs() -> None:
    """Every activation with every two weights: 100 million."""
    with Dut.build(PairSweep(everything=True)) as dut:
        dut.reset()
        dut.clock.tick(1 << 27)
        assert (dut.io["o_compared"], dut.io["o_wrong"]) == (len(BYTES) << 18, 0)


@pytest.mark.parametrize("form", MultiplierForm)
def test_the_spec_knows_the_columns(form: MultiplierForm) -> None:
    """What shares a multiplier leaves in the same cycle, and the specification says so."""
    for precisions, columns, lines in product(({W8A8}, *SETS), (1, 4, 5), (0, 1)):
        spec = ArraySpec(
            rows=2,
            columns=columns,
            depthwise_lines=lines,
            precisions=frozenset(precisions),
            multiplier=form,
        )
        array = WeightStationaryArray.of(spec)
        array._MustUse__silence = True  # Amaranth warns of what is not elaborated
        delays = [array.column_delay(c) for c in range(columns)]
        assert delays == [spec.column_delay(c) for c in range(columns)]
        shared = form is MultiplierForm.PACKED27 and precisions == {W8A8} and not lines
        assert delays == [c // 2 if shared else c for c in range(columns)]


@pytest.mark.parametrize("carry", [0, 1])
@pytest.mark.parametrize("value", [-3, 2])
def test_carry(value: int, carry: int) -> None:
    """A carry adds 1; without one nothing is added but the value."""
    total = Const(-5, signed(6))
    for case, want in (
        (Product(Const(value, signed(4)), Const(carry, 1)), value + carry - 5),
        (Product(Const(value, signed(4))), value - 5),
    ):
        m, result = Module(), Signal(signed(8))
        m.d.comb += result.eq(case.plus(total))

        async def bench(ctx: SimulatorContext, result: Signal = result, want: int = want) -> None:
            assert ctx.get(result) == want

        simulate(m, bench)


def test_table_is_complete() -> None:
    assert set(FORMS) == set(MultiplierForm) == set(WEIGHTS)
