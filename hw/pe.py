"""The processing element of the weight-stationary array."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.delay import delay
from systolith.hw.multiplier import OPERAND_BITS, Multiplier

__all__ = ["CHOICES", "OPERAND_BITS", "PLACE_BITS", "ProcessingElement"]

CHOICES = 4
"""Activations of which a sparse element takes one."""
PLACE_BITS = 2
"""The number of one of them."""


class ProcessingElement(wiring.Component):
    """Multiply the passing activation by the resident weight and add it to the passing sum.

    ``o_sum <= i_sum + i_x * weight``; the weight is double buffered: `i_shift` moves the shadow
    weights one row down, `i_switch` makes the shadow weight resident one cycle later. With
    ``depthwise`` the operand is `i_d` in cycles in which `i_lane` is high. With ``sparse`` it is
    one of the `CHOICES` activations in `i_x`, that of the weight's place. Other products, and a
    second sum, are the multiplier's.

    Latency: 1 cycle from `i_x`, `i_sum` to `o_sum`; with ``pipelined`` the product has a register
    of its own, so `i_sum` belongs to the `i_x` of the cycle before.

    Parameters
    ----------
    sum_bits: width of the partial sums.
    pipelined: register between multiplier and adder.
    depthwise: whether there are `i_d`, `i_lane` and `o_lane`.
    sparse: whether there are several activations in `i_x` and `o_x`, the first in the low bits,
        and a place above the weight in `i_w` and `o_w`.
    multiplier: makes the products; operands are encoded as it says.
    high_bits: width of the second partial sums, if the multiplier makes them.

    Members
    -------
    i_x, o_x: activation, moving right.
    i_mode, o_mode: mode of the multiplier, moving right with the activations; if it has any.
    i_d: activation of the column's depthwise stream, in place of `i_x`; 9-bit signed.
    i_lane, o_lane: use `i_d`; moving right with the activations.
    i_switch, o_switch: weight switch, moving right, one cycle ahead of the first activation it is
        for.
    i_shift: take `i_w` into the shadow register.
    i_w, o_w: shadow weights, moving down.
    i_sum, o_sum: partial sums, moving down.
    i_high, o_high: second partial sums, moving down, if there are any.
    """

    def __init__(
        self,
        sum_bits: int,
        *,
        pipelined: bool = False,
        depthwise: bool = False,
        sparse: bool = False,
        multiplier: Multiplier | None = None,
        high_bits: int = 0,
    ):
        self.pipelined, self.depthwise, self.sparse = pipelined, depthwise, sparse
        self.multiplier = multiplier or Multiplier()
        x, w = signed(self.multiplier.activation_bits), signed(self.multiplier.weight_bits)
        if sparse:
            x, w = unsigned(CHOICES * x.width), unsigned(w.width + PLACE_BITS)
        lane = {"i_d": In(signed(OPERAND_BITS)), "i_lane": In(1), "o_lane": Out(1)}
        modes = len(self.multiplier.modes)
        high = (
            {"i_high": In(signed(high_bits)), "o_high": Out(signed(high_bits))}
            if self.multiplier.has_high
            else {}
        )
        super().__init__(
            (lane if depthwise else {})
            | ({"i_mode": In(modes), "o_mode": Out(modes)} if modes else {})
            | high
            | {
                "i_x": In(x), "o_x": Out(x),
                "i_switch": In(1), "o_switch": Out(1),
                "i_shift": In(1),
                "i_w": In(w), "o_w": Out(w),
                "i_sum": In(signed(sum_bits)), "o_sum": Out(signed(sum_bits)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Data registers have no reset: what they hold is ignored until real data has passed."""
        m = Module()
        weight = Signal(self.i_w.shape(), reset_less=True)
        shadow = Signal(self.i_w.shape(), reset_less=True)
        x = Signal(self.i_x.shape(), reset_less=True)
        total = Signal(self.o_sum.shape(), reset_less=True)
        with m.If(self.i_shift):
            m.d.sync += shadow.eq(self.i_w)
        with m.If(self.i_switch):
            m.d.sync += weight.eq(shadow)
        operand, factor = weight, self.i_x
        if self.sparse:
            operand, factor = self._chosen(weight)
        if self.depthwise:
            passing = factor
            factor = Signal(signed(self.multiplier.activation_bits))
            m.d.comb += factor.eq(Mux(self.i_lane, self.i_d, passing))
            m.d.sync += self.o_lane.eq(self.i_lane)
        mode: Value = self.i_mode if self.multiplier.modes else Const(0, 0)
        passed = delay(m, mode, 1, "mode") if self.multiplier.modes else mode
        value = self.multiplier.raw(factor, operand, mode)
        product = Signal(value.shape(), reset_less=True)
        (m.d.sync if self.pipelined else m.d.comb).__iadd__(product.eq(value))
        low, high = self.multiplier.products(product, passed if self.pipelined else mode)
        m.d.sync += [x.eq(self.i_x), self.o_switch.eq(self.i_switch)]
        m.d.sync += total.eq(low.plus(self.i_sum))
        if self.multiplier.modes:
            m.d.comb += self.o_mode.eq(passed)
        if self.multiplier.has_high:
            total_high = Signal(self.o_high.shape(), reset_less=True)
            m.d.sync += total_high.eq(high.plus(self.i_high))
            m.d.comb += self.o_high.eq(total_high)
        m.d.comb += [self.o_x.eq(x), self.o_w.eq(shadow), self.o_sum.eq(total)]
        return m

    def _chosen(self, weight: Value) -> tuple[Value, Value]:
        """The operand of a weight, and the activation of its place."""
        bits = self.multiplier.weight_bits
        first, second, third, fourth = (
            self.i_x.word_select(k, self.multiplier.activation_bits).as_signed()
            for k in range(CHOICES)
        )
        upper = Mux(weight[bits], fourth, third)
        chosen = Mux(weight[bits + 1], upper, Mux(weight[bits], second, first))
        return weight[:bits].as_signed(), chosen
