"""The processing element of the weight-stationary array."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["OPERAND_BITS", "ProcessingElement"]

OPERAND_BITS = 9
"""Operands are 9-bit signed, so that int8 and uint8 with any weight zero point share one array."""


class ProcessingElement(wiring.Component):
    """Multiply the passing activation by the resident weight and add it to the passing sum.

    ``o_sum <= i_sum + i_x * weight``; the weight is double buffered: `i_shift` moves the shadow
    weights one row down, `i_switch` makes the shadow weight resident one cycle later. With
    ``depthwise`` the operand is `i_d` in cycles in which `i_lane` is high.

    Latency: 1 cycle from `i_x`, `i_sum` to `o_sum`; with ``pipelined`` the product has a register
    of its own, so `i_sum` belongs to the `i_x` of the cycle before.

    Parameters
    ----------
    sum_bits: width of the partial sums.
    pipelined: register between multiplier and adder.
    depthwise: whether there are `i_d`, `i_lane` and `o_lane`.

    Members
    -------
    i_x, o_x: activation, moving right.
    i_d: activation of the column's depthwise stream, in place of `i_x`.
    i_lane, o_lane: use `i_d`; moving right with the activations.
    i_switch, o_switch: weight switch, moving right, one cycle ahead of the first activation it is
        for.
    i_shift: take `i_w` into the shadow register.
    i_w, o_w: shadow weights, moving down.
    i_sum, o_sum: partial sums, moving down.
    """

    def __init__(self, sum_bits: int, *, pipelined: bool = False, depthwise: bool = False):
        self.pipelined, self.depthwise = pipelined, depthwise
        operand = signed(OPERAND_BITS)
        lane = {"i_d": In(operand), "i_lane": In(1), "o_lane": Out(1)}
        super().__init__(
            (lane if depthwise else {})
            | {
                "i_x": In(operand), "o_x": Out(operand),
                "i_switch": In(1), "o_switch": Out(1),
                "i_shift": In(1),
                "i_w": In(operand), "o_w": Out(operand),
                "i_sum": In(signed(sum_bits)), "o_sum": Out(signed(sum_bits)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Data registers have no reset: what they hold is ignored until real data has passed."""
        m = Module()
        operand = signed(OPERAND_BITS)
        weight = Signal(operand, reset_less=True)
        shadow = Signal(operand, reset_less=True)
        x = Signal(operand, reset_less=True)
        total = Signal(self.o_sum.shape(), reset_less=True)
        product = Signal(signed(2 * OPERAND_BITS), reset_less=True)
        with m.If(self.i_shift):
            m.d.sync += shadow.eq(self.i_w)
        with m.If(self.i_switch):
            m.d.sync += weight.eq(shadow)
        factor = self.i_x
        if self.depthwise:
            factor = Signal(operand)
            m.d.comb += factor.eq(Mux(self.i_lane, self.i_d, self.i_x))
            m.d.sync += self.o_lane.eq(self.i_lane)
        (m.d.sync if self.pipelined else m.d.comb).__iadd__(product.eq(factor * weight))
        m.d.sync += [x.eq(self.i_x), self.o_switch.eq(self.i_switch)]
        m.d.sync += total.eq(self.i_sum + product)
        m.d.comb += [self.o_x.eq(x), self.o_w.eq(shadow), self.o_sum.eq(total)]
        return m
