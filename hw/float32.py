"""IEEE 754 binary32 arithmetic for numbers that are finite and not negative.

Every operation rounds once to nearest, ties to even. Subnormal numbers are kept; a result that is
too large becomes infinity. The sign bit of operands is ignored, that of results is 0.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.pipeline import Pipeline

__all__ = [
    "Float32Adder", "Float32Divider", "Float32Multiplier", "Float32Rounder",
    "bit_length", "float32_parts", "round_float32", "shift_sticky",
]  # fmt: skip

_INFINITY = 0xFF << 23
_BIAS = 150
"""Exponent field e and significand m, of 24 bits, stand for ``m * 2**(e - 150)``."""


def float32_parts(bits: Value) -> tuple[Value, Value]:
    """Return significand and exponent field; that of subnormal numbers counts as 1."""
    normal = bits[23:31].any()
    return Cat(bits[:23], normal), Mux(normal, bits[23:31], 1)


def bit_length(value: Value) -> Value:
    """Return the number of significant bits."""
    result: Value = Const(0, len(value).bit_length())
    for k in range(len(value)):
        result = Mux(value[k], Const(k + 1, len(result)), result)
    return result


def shift_sticky(p: Pipeline, name: str, value: Value, amount: Value) -> Value:
    """Shift right; the lowest bit of the result is set, too, if a bit that is lost was."""
    for k in range(len(amount)):
        value = p.wire(f"{name}_{1 << k}", value)
        lost = value[: 1 << k].any()
        moved = value >> min(1 << k, len(value))
        moved = (moved | lost)[: len(value)]
        value = Mux(amount[k], moved, value)
    return p.wire(name, value)


def round_float32(p: Pipeline, value: Value, step: Value) -> None:
    """Set ``bits``: 24 bits of significand, guard and sticky bit, and exponent field less 1.

    The significand's leading bit adds to the exponent field, which is 0 where there is none.
    """
    up = p.wire("up", value[1] & (value[0] | value[2]))
    total = p.wire("rounded", (step << 23) + value[2:] + up)
    p["bits"] = Mux(total[23:] >= 0xFF, Const(_INFINITY, 32), total)[:32]


def _measure(p: Pipeline) -> None:
    """Set ``cut`` and ``step`` for the number ``value * 2**exponent``, exponent as signed field.

    A number other than 0 has 24 significant bits or more, or is subnormal.
    """
    value, exponent = p["value"], p["exponent"]
    normal = p.wire("normal", bit_length(value) - 24)
    subnormal = p.wire("subnormal", 1 - exponent)
    keeps = p.wire("keeps", (normal >= subnormal) & value.any())
    cut = p.wire("least_cut", Mux(keeps, normal, Mux(subnormal > 63, 63, subnormal)))
    p["cut"] = cut[:6]
    p["step"] = Mux(keeps, exponent + normal - 1, 0)[:10]


def _cut(p: Pipeline) -> None:
    """Set ``short``: significand, guard and sticky bit."""
    p["short"] = shift_sticky(p, "shifted", Cat(Const(0, 2), p["value"]), p["cut"])[:26]


class Float32Adder(wiring.Component):
    """Add: one sum a cycle, `latency` cycles later; nothing stalls.

    Members
    -------
    i_valid, i_a, i_b: there are operands.
    o_valid, o: their sum; `o` holds until the next one.
    """

    latency = 3

    i_valid: Signal
    i_a: Signal
    i_b: Signal
    o_valid: Signal
    o: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "i_valid": In(1),
                "i_a": In(32), "i_b": In(32), "o_valid": Out(1), "o": Out(32),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Order the operands; align and add; round."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        swap = p.wire("swap", self.i_a[:31] < self.i_b[:31])
        large, large_exponent = float32_parts(p.wire("large_bits", Mux(swap, self.i_b, self.i_a)))
        small, small_exponent = float32_parts(p.wire("small_bits", Mux(swap, self.i_a, self.i_b)))
        apart = p.wire("apart", (large_exponent - small_exponent)[:8])
        p["large"], p["small"] = large, small
        p["shift"] = Mux(apart >= 31, 31, apart)[:5]
        p["exponent"] = large_exponent
        p.advance()
        aligned = shift_sticky(p, "aligned", Cat(Const(0, 2), p["small"]), p["shift"])
        total = p.wire("total", Cat(Const(0, 2), p["large"]) + aligned)
        carry = total[26]
        p["short"] = Mux(carry, Cat(total[:2].any(), total[2:]), total[:26])
        p["step"] = (p["exponent"] - 1 + carry)[:9]
        p.advance()
        round_float32(p, p["short"], p["step"])
        p.advance()
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["bits"])]
        return m


class Float32Multiplier(wiring.Component):
    """Multiply: one product a cycle, `latency` cycles later; nothing stalls.

    Members
    -------
    i_valid, i_a, i_b: there are operands.
    o_valid, o: their product; `o` holds until the next one.
    """

    latency = 5

    i_valid: Signal
    i_a: Signal
    i_b: Signal
    o_valid: Signal
    o: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "i_valid": In(1),
                "i_a": In(32), "i_b": In(32), "o_valid": Out(1), "o": Out(32),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Two parts of the product, of the widths of common multiplier blocks; add; round."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        (a, a_exponent), (b, b_exponent) = float32_parts(self.i_a), float32_parts(self.i_b)
        p["low_part"], p["high_part"] = a * b[:17], a * b[17:]
        p["exponents"] = a_exponent + b_exponent
        p.advance()
        p["value"] = (p["low_part"] + (p["high_part"] << 17))[:48]
        p["exponent"] = p["exponents"] - _BIAS
        p.advance()
        for stage in (_measure, _cut):
            stage(p)
            p.advance()
        round_float32(p, p["short"], p["step"])
        p.advance()
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["bits"])]
        return m


class Float32Divider(wiring.Component):
    """Divide: one quotient at a time, `latency` cycles after its operands; two bits a cycle.

    Defined for ``i_b > 0``, and for operands that come when no quotient is under way.

    Members
    -------
    i_valid, i_a, i_b: there are operands.
    o_valid, o: the quotient a / b; `o` holds until the next one.
    """

    _digits = 13
    """Cycles of two bits each: 24 bits of significand, one for a quotient below 1, one guard."""
    latency = 3 + _digits + 3

    i_valid: Signal
    i_a: Signal
    i_b: Signal
    o_valid: Signal
    o: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "i_valid": In(1), "i_a": In(32), "i_b": In(32), "o_valid": Out(1), "o": Out(32),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Normalise; divide, bit by bit from the left; round."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        for name, bits in (("a", self.i_a), ("b", self.i_b)):
            p[name], p[f"{name}_field"] = float32_parts(bits)
        p.advance()
        exponents = []
        for name in ("a", "b"):
            lift = p.wire(f"{name}_lift", (24 - bit_length(p[name]))[:5])
            p[f"{name}_normal"] = (p[name] << lift)[:24]
            exponents.append(p[f"{name}_field"] - lift)
        p["difference"] = exponents[0] - exponents[1]
        p.advance()
        quotient, rest, done = self._digits_of(m, p)
        q = Pipeline(m, done)
        q["value"] = Cat(rest.any(), quotient)
        # Of the quotient 25 bits are behind the point, and one more stands for the rest.
        q["exponent"] = p["difference"] + (_BIAS - 26)
        for stage in (_measure, _cut):
            stage(q)
            q.advance()
        round_float32(q, q["short"], q["step"])
        q.advance()
        m.d.comb += [self.o_valid.eq(q.valid), self.o.eq(q["bits"])]
        return m

    def _digits_of(self, m: Module, p: Pipeline) -> tuple[Signal, Signal, Signal]:
        """Quotient of 26 bits, rest, and the pulse that says they are there."""
        quotient = Signal(2 * self._digits, reset_less=True)
        rest = Signal(25, reset_less=True)
        left, done = Signal(range(self._digits + 1)), Signal()
        dividend, divisor = p["a_normal"], p["b_normal"]
        value, digits = rest, []
        for k in range(2):
            less = p.wire(f"less{k}", value - divisor)
            fits = p.wire(f"fits{k}", ~less[-1])
            value = p.wire(f"rest{k}", Mux(fits, less[:24], value[:24]) << 1)
            digits.append(fits)
        m.d.sync += done.eq(left == 1)
        with m.If(p.valid):
            m.d.sync += [left.eq(self._digits), rest.eq(dividend)]
        with m.Elif(left != 0):
            m.d.sync += [
                left.eq(left - 1), rest.eq(value),
                quotient.eq(Cat(digits[1], digits[0], quotient)),
            ]  # fmt: skip
        return quotient, rest, done


class Float32Rounder(wiring.Component):
    """Round to an integer: one a cycle, `latency` cycles later; nothing stalls.

    Parameters
    ----------
    bits: width of the result, 1 to 22; larger ones become the largest.

    Members
    -------
    i_valid, i: there is a number, or infinity.
    i_away: ties go away from 0, else to even.
    o_valid, o: the integer; `o` holds until the next one.
    """

    latency = 2

    i_valid: Signal
    i: Signal
    i_away: Signal
    o_valid: Signal
    o: Signal

    def __init__(self, bits: int) -> None:
        if not 1 <= bits <= 22:
            raise ValueError(f"bits must be between 1 and 22, not {bits!r}")
        self.bits = bits
        super().__init__(
            {
                "i_valid": In(1),
                "i": In(32), "i_away": In(1), "o_valid": Out(1), "o": Out(bits),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Shift to two bits behind the point; round."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        significand, exponent = float32_parts(self.i)
        p["large"] = exponent >= _BIAS - 23 + self.bits
        shift = p.wire("shift", Mux(exponent < _BIAS - 31, 31, _BIAS - exponent)[:5])
        p["short"] = shift_sticky(p, "shifted", Cat(Const(0, 2), significand), shift)
        p["away"] = self.i_away
        p.advance()
        short = p["short"]
        up = p.wire("up", short[1] & (short[0] | short[2] | p["away"]))
        total = p.wire("rounded", short[2 : 2 + self.bits] + up)
        full = p["large"] | total[self.bits]
        p["integer"] = Mux(full, (1 << self.bits) - 1, total)[: self.bits]
        p.advance()
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["integer"])]
        return m
