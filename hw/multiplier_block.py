"""A multiplier with its registers, as a DSP block has them: operators, or the block itself."""

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.delay import delay
from systolith.hw.dsp import PRIMITIVES, Operands
from systolith.hw.multiplier import Multiplier
from systolith.hw.technology import Technology

__all__ = ["MultiplierBlock"]


class MultiplierBlock(wiring.Component):
    """The product of an activation and the resident weight.

    ``o = multiplier.raw(i_x, weight, i_mode)``; `i_take` makes `i_w` resident for the activation of
    the next cycle, with operand registers (``stages`` > 0) for the one of the same cycle.

    Latency: ``stages``, one more when ``pipelined``, from `i_x` to `o`.

    Parameters
    ----------
    multiplier: makes the product.
    stages: 1: registers of the operands, that of the weight being the resident weight; 2: and one
        inside the multiplier.
    pipelined: a register of the product.
    technology: whose multiplier block to name if it has all these registers; else operators are
        left to the synthesis tool.

    Members
    -------
    i_x, i_w: encoded operands, signed.
    i_mode: mode of the activation, if the multiplier has any.
    i_take: take the weight.
    o: what the multiplier gives.
    """

    def __init__(
        self,
        multiplier: Multiplier,
        *,
        stages: int = 0,
        pipelined: bool = False,
        technology: Technology = Technology.GENERIC,
    ):
        self.multiplier, self.stages, self.pipelined = multiplier, stages, pipelined
        self.technology = technology
        x, w = signed(multiplier.activation_bits), signed(multiplier.weight_bits)
        modes = len(multiplier.modes)
        raw = multiplier.raw(Signal(x), Signal(w), Signal(modes))
        super().__init__(
            ({"i_mode": In(modes)} if modes else {})
            | {"i_x": In(x), "i_w": In(w), "i_take": In(1), "o": Out(raw.shape())}
        )

    @property
    def latency(self) -> int:
        """Cycles from `i_x` to `o`."""
        return self.stages + int(self.pipelined)

    def elaborate(self, platform: object) -> Module:
        """Data registers have no reset, as those of DSP blocks have none."""
        m = Module()
        primitive = PRIMITIVES.get(self.technology)
        if primitive and self.stages and self.pipelined and self.multiplier.is_product:
            inner = self.stages > 1
            found = primitive(m, Operands(x=self.i_x, w=self.i_w, take=self.i_take, inner=inner))
            if found is not None:
                m.d.comb += self.o.eq(found)
                return m
        weight = Signal(self.i_w.shape(), reset_less=True)
        with m.If(self.i_take):
            m.d.sync += weight.eq(self.i_w)
        early = int(self.stages > 0)
        x: Value = delay(m, self.i_x, early, "x")
        mode: Value = Signal(0)
        if self.multiplier.modes:
            mode = delay(m, self.i_mode, early, "mode")
        product = self.multiplier.raw(x, weight, mode)
        m.d.comb += self.o.eq(delay(m, product, self.latency - early, "product"))
        return m
