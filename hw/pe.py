"""The processing element of the weight-stationary array."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.delay import delay
from systolith.hw.multiplier import OPERAND_BITS, Multiplier
from systolith.hw.multiplier_block import MultiplierBlock
from systolith.hw.technology import Technology

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
    of its own, so `i_sum` belongs to the `i_x` of the cycle before, and with ``stages`` to one as
    many cycles earlier. Operand registers also delay the weight: unless ``sparse`` the shadow
    weight then becomes resident two cycles after `i_switch`, and must stay a cycle longer.

    Parameters
    ----------
    sum_bits: width of the partial sums.
    pipelined: register between multiplier and adder.
    stages: more registers of the multiplier, see `MultiplierBlock`.
    technology: whose multiplier it is.
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
        stages: int = 0,
        technology: Technology = Technology.GENERIC,
        depthwise: bool = False,
        sparse: bool = False,
        multiplier: Multiplier | None = None,
        high_bits: int = 0,
    ):
        self.depthwise, self.sparse = depthwise, sparse
        self.multiplier = multiplier or Multiplier()
        self.block = MultiplierBlock(
            self.multiplier, stages=stages, pipelined=pipelined, technology=technology
        )
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
        m.submodules.block = block = self.block
        shadow = Signal(self.i_w.shape(), reset_less=True)
        x = Signal(self.i_x.shape(), reset_less=True)
        total = Signal(self.o_sum.shape(), reset_less=True)
        with m.If(self.i_shift):
            m.d.sync += shadow.eq(self.i_w)
        weight: Value = shadow
        factor: Value = self.i_x
        if self.sparse:
            weight, factor = self._chosen(m, shadow)
        if self.depthwise:
            passing = factor
            factor = Signal(signed(self.multiplier.activation_bits))
            m.d.comb += factor.eq(Mux(self.i_lane, self.i_d, passing))
            m.d.comb += self.o_lane.eq(delay(m, self.i_lane, 1, "lane"))
        m.d.comb += [
            block.i_x.eq(factor), block.i_w.eq(weight),
            block.i_take.eq(self.o_switch if block.stages else self.i_switch),
        ]  # fmt: skip
        late: Value = Const(0, 0)
        if self.multiplier.modes:
            late = delay(m, self.i_mode, block.latency, "mode")
            m.d.comb += block.i_mode.eq(self.i_mode)
            m.d.comb += self.o_mode.eq(
                late if block.latency == 1 else delay(m, self.i_mode, 1, "passed")
            )
        low, high = self.multiplier.products(block.o, late)
        m.d.sync += [x.eq(self.i_x), self.o_switch.eq(self.i_switch)]
        m.d.sync += total.eq(low.plus(self.i_sum))
        if self.multiplier.has_high:
            total_high = Signal(self.o_high.shape(), reset_less=True)
            m.d.sync += total_high.eq(high.plus(self.i_high))
            m.d.comb += self.o_high.eq(total_high)
        m.d.comb += [self.o_x.eq(x), self.o_w.eq(shadow), self.o_sum.eq(total)]
        return m

    def _chosen(self, m: Module, shadow: Value) -> tuple[Value, Value]:
        """The weight for the multiplier, and the activation of the resident weight's place.

        The place chooses before operand registers and so a cycle before they need the weight, which
        then rests beside it.
        """
        bits = self.multiplier.weight_bits
        resident = Signal(self.i_w.shape(), reset_less=True)
        with m.If(self.i_switch):
            m.d.sync += resident.eq(shadow)
        first, second, third, fourth = (
            self.i_x.word_select(k, self.multiplier.activation_bits).as_signed()
            for k in range(CHOICES)
        )
        upper = Mux(resident[bits], fourth, third)
        chosen = Mux(resident[bits + 1], upper, Mux(resident[bits], second, first))
        return (resident if self.block.stages else shadow)[:bits].as_signed(), chosen
