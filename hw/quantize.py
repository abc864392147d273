"""float32 numbers to codes, one a cycle, in every `QuantizeForm`, without a divider.

A code has few bits, so that of a quotient only the integer is needed, and whether the float32
number next to it lies above, at or below the middle between two integers. The product with the
inverse scale is near enough to name the middle; one exact product of that middle with the scale
then decides.
"""

from collections.abc import Collection

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.float32 import float32_parts, shift_sticky
from systolith.hw.pipeline import Pipeline
from systolith.hw.rounding import clamp
from systolith.spec.quantize import QuantizeForm

__all__ = ["QuantizeLane"]

_EVEN, _AWAY = QuantizeForm.DIVIDE_EVEN, QuantizeForm.DIVIDE_AWAY
_MULTIPLY, _FUSED = QuantizeForm.MULTIPLY_EVEN, QuantizeForm.FUSED_EVEN
_FRACTION = 36
"""Places of a product x * r behind the point; what is below is one sticky bit."""
_WHOLE = 11
"""Bits of integers. Every one of 2**10 or more has the code of the largest."""
_HALF_PLACE = 24
"""A float32 number v has half a unit of its last place at ``2**(floor(log2(v)) - 24)``."""


def _half_unit(whole: Value, places: int) -> Value:
    """Half a unit in the last place of the float32 number ``whole + 1/2``, in 2**-places."""
    lowest = places - _HALF_PLACE - 1
    unit: Value = Const(1 << lowest, places)
    for k in range(len(whole)):
        unit = Mux(whole[k], Const(1 << lowest + 1 + k, places), unit)
    return unit


def _half_unit_of(whole: Value, scale: Value) -> Value:
    """Half a unit in the last place of ``whole + 1/2`` in units of half a scale, rounded down."""
    result: Value = scale[23:]
    for k in range(len(whole)):
        result = Mux(whole[k], scale[22 - k :], result)
    return result


class QuantizeLane(wiring.Component):
    """Quantize float32 numbers: one a cycle, `latency` cycles later; nothing stalls.

    Parameters
    ----------
    forms: what `i_form` may be; with divisions only, the multipliers are smaller.
    held: the parameters hold still while numbers are under way, so that they need no registers.

    Members
    -------
    i_valid, i: there is a number, its bits.
    i_form: `QuantizeForm`.
    i_scale, i_inverse: bits of the scale, a positive normal number, and of F(1 / scale).
    i_zero, i_low, i_high: zero point, least and greatest code.
    o_valid, o: the code; `o` holds until the next one.

    Raises
    ------
    ValueError: no form, or one that is not a `QuantizeForm`.
    """

    latency = 8

    i_valid: Signal
    i: Signal
    i_form: Signal
    i_scale: Signal
    i_inverse: Signal
    i_zero: Signal
    i_low: Signal
    i_high: Signal
    o_valid: Signal
    o: Signal

    def __init__(self, forms: Collection[QuantizeForm], *, held: bool = False) -> None:
        if not forms or not all(isinstance(form, QuantizeForm) for form in forms):
            raise ValueError(f"forms must be QuantizeForms, at least one, not {forms!r}")
        self.forms, self._held = frozenset(forms), held
        super().__init__(
            {
                "i_valid": In(1), "i": In(32), "i_form": In(2),
                "i_scale": In(32), "i_inverse": In(32),
                "i_zero": In(signed(9)), "i_low": In(signed(9)), "i_high": In(signed(9)),
                "o_valid": Out(1), "o": Out(8),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Multiply; align; name the middle and compare; round, add, clamp."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        for stage in (
            self._multiply, self._add_parts, self._align, self._place, self._middle,
            self._compare, self._integer, self._clamp,
        ):  # fmt: skip
            stage(p)
            p.advance()
        assert p.stage == self.latency
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["code"])]
        return m

    def _has(self, *forms: QuantizeForm) -> bool:
        return not self.forms.isdisjoint(forms)

    def _parameter(self, p: Pipeline, name: str) -> Value:
        """A parameter of the number that is at the present stage."""
        value: Value = getattr(self, f"i_{name}")
        return value if self._held else p[name]

    def _is(self, p: Pipeline, form: QuantizeForm) -> Value:
        """Whether the number's form is ``form``."""
        if not self._has(form):
            return Const(0)
        if len(self.forms) == 1:
            return Const(1)
        return self._parameter(p, "form") == form

    def _divides(self, p: Pipeline) -> Value:
        if not self._has(_MULTIPLY, _FUSED):
            return Const(1)
        return self._is(p, _EVEN) | self._is(p, _AWAY)

    def _multiply(self, p: Pipeline) -> None:
        """Product of significands, in two parts; quotients need its upper bits only."""
        if not self._held:
            for name in ("form", "scale", "inverse", "zero", "low", "high"):
                p[name] = getattr(self, f"i_{name}")
        (x, x_field), (r, r_field) = float32_parts(self.i[:31]), float32_parts(self.i_inverse[:31])
        p["x"], p["negative"] = x, self.i[31]
        special = self.i[23:31].all()
        p["nan"], p["infinite"] = special & self.i[:23].any(), special & ~self.i[:23].any()
        p["difference"] = x_field - self.i_scale[23:31]
        # Where the product's last bit would be if the point were left of `_FRACTION` bits.
        p["right"] = 300 - _FRACTION - x_field - r_field
        if self._has(_MULTIPLY, _FUSED):
            p["low_part"], p["high_part"] = x * r[:17], x * r[17:]
        else:
            p["product"] = Cat(Const(0, 20), x[11:] * r[9:])

    def _add_parts(self, p: Pipeline) -> None:
        if self._has(_MULTIPLY, _FUSED):
            p["product"] = (p["low_part"] + (p["high_part"] << 17))[:48]
        right = p["right"]
        p["beyond"] = right < 0
        p["shift"] = Mux(right > 63, 63, right)[:6]

    def _align(self, p: Pipeline) -> None:
        """Set the product in fixed point, and whether it is too large for it."""
        value = Cat(Const(0, 1), p["product"])
        p["aligned"] = shift_sticky(p, "aligning", value, p["shift"])
        p["large"] = (p["beyond"] & p["product"].any()) | p["infinite"]

    def _place(self, p: Pipeline) -> None:
        """Set integer, fraction and sign of the product, or of its sum with the zero point."""
        aligned, negative, large = p["aligned"], p["negative"], p["large"]
        if self._has(_FUSED):
            fused = self._is(p, _FUSED)
            zero = Mux(fused, self._parameter(p, "zero"), 0)[:9].as_signed()
            zero = p.wire("own_zero", Mux(negative, -zero, zero))
            total = p.wire("total", aligned + (zero << _FRACTION + 1))
            below = p.wire("below", total[-1])
            aligned = p.wire("magnitude", Mux(below, -total, total))[: len(aligned) + 1]
            negative = negative ^ below
            # The sum of a large product keeps its sign.
            negative = Mux(large, p["negative"], negative)
        p["sum_negative"] = negative
        p["fraction"] = aligned[: _FRACTION + 1]
        whole = aligned[_FRACTION + 1 :]
        p["whole"] = whole[: _WHOLE - 1]
        # A quotient's middle need not be known where its integer is too large.
        p["too_large"] = large | whole[_WHOLE - 1 :].any()

    def _middle(self, p: Pipeline) -> None:
        """Multiply the scale by twice the middle; place the number beside it."""
        whole = p["whole"]
        p["unit"] = _half_unit(whole, _FRACTION)
        if not self._has(_EVEN, _AWAY):
            return
        scale = Cat(self._parameter(p, "scale")[:23], Const(1, 1))
        p["twice"] = scale * Cat(Const(1, 1), whole)
        p["scaled_unit"] = _half_unit_of(whole, scale)
        difference = p["difference"]
        p["far_below"] = difference < -2
        p["far_above"] = difference > _WHOLE - 1
        p["numerator"] = (p["x"] << (difference + 2)[:4])[: 24 + _WHOLE + 2]
        if self._has(_AWAY):
            self._note_wraps(p, scale)

    def _note_wraps(self, p: Pipeline, scale: Value) -> None:
        """Set whether the integer is 2**31 or more, and whether its sum with the zero point is.

        In terms of the significands, F(x / s) is 2**31 or more exactly where x / s is: no quotient
        of integers comes as near below. It is the number before, 2**31 - 128, if x is s - 1 and
        1 is less than 1.5 * 2**-24 of s, or if x is s - 1/2.
        """
        difference, x = p["difference"], p["x"]
        beyond = (difference > 31) | ((difference == 31) & (x >= scale)) | p["infinite"] | p["nan"]
        close = (difference == 31) & (x == (scale - 1)[:24]) & (3 * scale > 1 << 25)
        close |= (difference == 30) & x.all() & ~scale[:23].any()
        zero = self._parameter(p, "zero")
        p["converted"] = beyond
        p["wraps"] = close & ~p["negative"] & (zero >= 128)

    def _compare(self, p: Pipeline) -> None:
        """Set where the float32 number lies: above the middle, or at it."""
        fraction, unit = p["fraction"], p["unit"]
        middle = Const(1 << _FRACTION, _FRACTION + 1)
        below = p.wire("unit_below", Mux(p["whole"].any(), unit, unit >> 1))
        above: Value = p.wire("above_middle", fraction > middle + (unit << 1))
        reaches: Value = p.wire("reaches_middle", fraction >= middle - (below << 1))
        if self._has(_EVEN, _AWAY):
            rest = p.wire("rest", p["numerator"] - (p["twice"] << 1))
            # Below 1/2 units are half as large: that of a scale is less than 1 then.
            under = Mux(p["whole"].any(), p["scaled_unit"], 0)
            divides = self._divides(p)
            above = Mux(divides, rest > p["scaled_unit"], above)
            reaches = Mux(divides, rest + under >= 0, reaches)
        p["above"], p["at"] = above, reaches & ~above

    def _integer(self, p: Pipeline) -> None:
        """Round, and give it its sign."""
        up = p["above"] | (p["at"] & (self._is(p, _AWAY) | p["whole"][0]))
        large: Value = p["too_large"]
        small: Value = Const(0)
        if self._has(_EVEN, _AWAY):
            divides = self._divides(p)
            large = Mux(divides, p["far_above"] | large, large)
            small = divides & p["far_below"] & ~p["infinite"]
        most = (1 << _WHOLE) - 1
        integer = p.wire("integer", Mux(large, most, p["whole"] + up)[:_WHOLE])
        integer = p.wire("near", Mux(small, 0, integer))
        p["signed"] = Mux(p["sum_negative"], -integer, integer).as_signed()

    def _clamp(self, p: Pipeline) -> None:
        """Add the zero point; what is no number has the code that its form says."""
        zero, low, high = (self._parameter(p, name) for name in ("zero", "low", "high"))
        added = zero
        if self._has(_FUSED):
            added = Mux(self._is(p, _FUSED), 0, zero)[:9].as_signed()
        code = clamp(p.wire("total_code", p["signed"] + added), low, high)
        lowest = self._is(p, _EVEN)
        code = Mux(p["nan"], Mux(lowest, low, high), code)
        if self._has(_AWAY):
            converted = self._is(p, _AWAY) & p["converted"]
            code = Mux(converted, Mux(zero < 0, high, low), code)
            code = Mux(self._is(p, _AWAY) & p["wraps"], low, code)
        p["code"] = code[:8]
