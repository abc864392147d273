"""Codes to float32 numbers, one a cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.float32 import bit_length, round_float32, shift_sticky
from systolith.hw.pipeline import Pipeline

__all__ = ["DequantizeLane"]


class DequantizeLane(wiring.Component):
    """``F((i - i_zero) * scale)``: one number a cycle, `latency` cycles later; nothing stalls.

    Parameters
    ----------
    held: the parameters hold still while codes are under way, so that they need no registers.

    Members
    -------
    i_valid, i: there is a code.
    i_scale: bits of the scale, a positive normal number.
    i_zero: zero point.
    o_valid, o: the number's bits, infinity if it is too large; `o` holds until the next one.
    """

    latency = 4

    i_valid: Signal
    i: Signal
    i_scale: Signal
    i_zero: Signal
    o_valid: Signal
    o: Signal

    def __init__(self, *, held: bool = False) -> None:
        self._held = held
        super().__init__(
            {
                "i_valid": In(1), "i": In(signed(9)), "i_scale": In(32), "i_zero": In(signed(9)),
                "o_valid": Out(1), "o": Out(32),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Subtract; multiply; normalise; round."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        p["offset"], p["scale"] = self.i - self.i_zero, self.i_scale
        p.advance()
        offset, scale = p["offset"], self.i_scale if self._held else p["scale"]
        p["negative"] = offset[-1]
        magnitude = p.wire("magnitude", Mux(offset[-1], -offset, offset))[:9]
        p["product"] = magnitude * Cat(scale[:23], Const(1, 1))
        p["field"] = scale[23:31]
        p.advance()
        # A product other than 0 has 24 bits or more.
        product = p["product"]
        cut = p.wire("cut", (bit_length(product) - 24)[:4])
        p["short"] = shift_sticky(p, "shifted", Cat(Const(0, 2), product), cut)[:26]
        p["step"] = p["field"] + cut - 1
        p["nothing"] = product == 0
        p.advance()
        round_float32(p, p["short"], p["step"].as_unsigned())
        p["number"] = Mux(p["nothing"], 0, Cat(p["bits"][:31], p["negative"]))
        p.advance()
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["number"])]
        return m
