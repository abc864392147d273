"""A code plus another tensor's value, each on its own scale, or times another's."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.pipeline import Pipeline
from systolith.hw.rounding import clamp, saturate, shift_coarse, shift_fine, sticky_mask
from systolith.spec.requant import ResidualRounding

__all__ = ["ResidualAdd"]

_SUM_BITS = 48
_PRODUCT_BITS = 18  # 256 * 511 and a sign


class ResidualAdd(wiring.Component):
    """Add two tensors' values, each times a factor, or multiply them; requantize the result.

    ``v = wrap48(i_y*i_multiplier_y + i_r*i_multiplier_r + i_offset)``, or, with ``i_product``,
    ``p = i_y*(i_r - i_zero_r); v = wrap48(p*i_multiplier_y + (p < 0)*i_multiplier_r + i_offset)``;
    ``o = clamp(round(v, i_shift, i_rounding) + i_zero, i_low, i_high)`` with `ResidualRounding`,
    or ``o = i_y`` while ``i_enable`` is 0. One sample a cycle, `latency` cycles later; no stall.

    Defined for ``i_shift`` 0 to 47 and ``i_low <= i_high``.

    Parameters
    ----------
    product: whether to build the product; without it ``i_product`` and ``i_zero_r`` do nothing.

    Members
    -------
    i_valid: there is a sample.
    i_y, i_r: the sample.
    i_multiplier_y, i_multiplier_r, i_offset, i_shift, i_rounding, i_zero, i_low, i_high, i_enable,
    i_product, i_zero_r:
        must hold still from a command's first sample until its last one has left.
    o_valid, o: the result's code.
    """

    i_valid: Signal
    i_y: Signal
    i_r: Signal
    i_multiplier_y: Signal
    i_multiplier_r: Signal
    i_offset: Signal
    i_shift: Signal
    i_rounding: Signal
    i_zero: Signal
    i_low: Signal
    i_high: Signal
    i_enable: Signal
    i_product: Signal
    i_zero_r: Signal
    o_valid: Signal
    o: Signal

    latency = 8
    """Cycles from ``i_y`` and ``i_r`` to ``o``."""

    def __init__(self, *, product: bool = False) -> None:
        self.product = product
        super().__init__(
            {
                "i_valid": In(1, init=1),  # type: ignore[call-arg]  # stubs lack init
                "i_y": In(signed(9)),
                "i_r": In(signed(9)),
                "i_multiplier_y": In(signed(32)),
                "i_multiplier_r": In(signed(32)),
                "i_offset": In(signed(_SUM_BITS)),
                "i_shift": In(unsigned(6)),
                "i_rounding": In(unsigned(2)),
                "i_zero": In(signed(9)),
                "i_low": In(signed(9)),
                "i_high": In(signed(9)),
                "i_enable": In(unsigned(1)),
                "i_product": In(unsigned(1)),
                "i_zero_r": In(signed(9)),
                "o_valid": Out(1),
                "o": Out(signed(9)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the stages, a register after each."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        p["y"], p["r"] = self.i_y, self.i_r
        if self.product:
            self._combine(p)
            p.advance()
        else:
            p["left"], p["right"] = self.i_y, self.i_r
        for build in (
            self._multiply,
            self._add_products,
            self._add_offset,
            self._shift,
            shift_fine,
            saturate,
            *((self._round_and_clamp,) if self.product else (self._round, self._clamp)),
        ):
            build(p)
            p.advance()
        assert p.stage == self.latency
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["code"])]
        return m

    def _combine(self, p: Pipeline) -> None:
        """Put the product in the place of y, and its sign in that of r."""
        product = p.wire("product", (p["y"] * (p["r"] - self.i_zero_r))[:_PRODUCT_BITS].as_signed())
        sign = Cat(product[-1], Const(0, 1)).as_signed()
        p["left"] = Mux(self.i_product, product, p["y"])
        p["right"] = Mux(self.i_product, sign, p["r"])

    def _multiply(self, p: Pipeline) -> None:
        """Multiply by each half of the factors: 17 bits by 18 fit the multipliers of any FPGA."""
        operands = (("y", p["left"], self.i_multiplier_y), ("r", p["right"], self.i_multiplier_r))
        for name, operand, factor in operands:
            p[f"{name}_low"] = operand * factor[:16]
            p[f"{name}_high"] = operand * factor[16:].as_signed()

    def _add_products(self, p: Pipeline) -> None:
        p["low"] = p["y_low"] + p["r_low"]
        p["high"] = p["y_high"] + p["r_high"]

    def _add_offset(self, p: Pipeline) -> None:
        weighted = Cat(Const(0, 16), p["high"]).as_signed() + p["low"]
        p["total"] = (weighted + self.i_offset)[:_SUM_BITS].as_signed()
        near = self.i_rounding == ResidualRounding.NEAR_EVEN
        p["mask"] = sticky_mask(self.i_shift, _SUM_BITS - 1, near)

    def _shift(self, p: Pipeline) -> None:
        """Start the shift, with a fraction bit below the unit."""
        value = p.wire("value", Cat(Const(0, 1), p["total"]).as_signed())
        shift_coarse(p, value, self.i_shift, p["mask"])

    def _round(self, p: Pipeline) -> None:
        shifted, sticky = p["shifted"], p["sticky"]
        # On the floor, one half goes up unless it is a tie that must go down.
        away = self.i_rounding == ResidualRounding.HALF_AWAY
        tie_up = Mux(away, ~shifted[-1], shifted[1])
        up = (self.i_rounding != ResidualRounding.FLOOR) & shifted[0] & (sticky | tie_up)
        p["sum"] = shifted[1:].as_signed() + self.i_zero + up

    def _clamp(self, p: Pipeline) -> None:
        p["code"] = Mux(self.i_enable, clamp(p["sum"], self.i_low, self.i_high), p["y"])

    def _round_and_clamp(self, p: Pipeline) -> None:
        """Both in one stage, short beside the others: the product's stage costs no latency."""
        self._round(p)
        self._clamp(p)
