"""A code plus another tensor's value, each on its own scale, or times another's."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.pipeline import Pipeline
from systolith.hw.rounding import clamp, saturate, shift_coarse, shift_fine, sticky_mask
from systolith.spec.requant import ResidualRounding

__all__ = ["ResidualAdd"]

_SUM_BITS = 48
_PRODUCT_BITS = 18  # 256 * 511 and a sign
_DIGIT_BITS = 3

_Term = tuple[int, Value]
"""A signed number, and the place of its bit 0 in a sum."""


class ResidualAdd(wiring.Component):
    """Add two tensors' values, each times a factor, or multiply them; requantize the result.

    ``v = wrap48(i_y*i_multiplier_y + i_r*i_multiplier_r + i_offset)``, or, with ``i_product``,
    ``p = i_y*(i_r - i_zero_r); v = wrap48(p*i_multiplier_y + (p < 0)*i_multiplier_r + i_offset)``;
    ``o = clamp(round(v, i_shift, i_rounding) + i_zero, i_low, i_high)`` with `ResidualRounding`,
    or ``o = i_y`` while ``i_enable`` is 0. One sample a cycle, `latency` cycles later; no stall.

    Defined for ``i_shift`` 0 to 47 and ``i_low <= i_high``.

    Without ``multipliers`` the products with the factors are sums of their multiples, chosen by
    groups of three bits of the sample: look-up tables in place of four multipliers. The multiples,
    which are the same for all samples of a command, are registers.

    Parameters
    ----------
    product: whether to build the product; without it ``i_product`` and ``i_zero_r`` do nothing.
    multipliers: whether the products with the factors are made by multipliers.

    Members
    -------
    i_valid: there is a sample.
    i_y, i_r: the sample.
    i_multiplier_y, i_multiplier_r, i_offset, i_shift, i_rounding, i_zero, i_low, i_high, i_enable,
    i_product, i_zero_r:
        must hold still from a command's first sample (two cycles before it, without
        ``multipliers``) until its last one has left.
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

    def __init__(self, *, product: bool = False, multipliers: bool = True) -> None:
        self.product, self.multipliers = product, multipliers
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
        products = (self._multiply, self._add_products, self._add_offset)
        if not self.multipliers:
            products = (self._choose, self._add_chosen, self._add_last)
        for build in (
            *products,
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
        self._make_mask(p)

    def _make_mask(self, p: Pipeline) -> None:
        near = self.i_rounding == ResidualRounding.NEAR_EVEN
        p["mask"] = sticky_mask(self.i_shift, _SUM_BITS - 1, near)

    def _choose(self, p: Pipeline) -> None:
        """Choose a multiple of a factor for every digit of an operand, and add up two and two.

        An operand is made positive by flipping its sign, which adds a constant to it; what that
        adds to the sum is taken off the offset.
        """
        m, terms, excess = p.m, list[_Term](), list[Value]()
        operands = (("y", p["left"], self.i_multiplier_y), ("r", p["right"], self.i_multiplier_r))
        for name, operand, factor in operands:
            multiples = self._multiples(m, name, factor)
            digits = Cat(operand[:-1], ~operand[-1])
            excess.append(Cat(Const(0, len(operand) - 1), factor).as_signed())
            for place in range(0, len(digits), _DIGIT_BITS):
                digit = digits[place : place + _DIGIT_BITS]
                chosen = p.wire(f"{name}_{place}", multiples[digit])
                terms.append((place, chosen.as_signed()))
        both = Signal(signed(_SUM_BITS), reset_less=True)
        self._rest = Signal(signed(_SUM_BITS), reset_less=True)
        m.d.sync += [both.eq(excess[0] + excess[1]), self._rest.eq(self.i_offset - both)]
        self._keep(p, self._in_pairs(terms))

    @staticmethod
    def _multiples(m: Module, name: str, factor: Signal) -> Array:
        """A factor times 0 to 7; those that are no shifts of another are registers."""
        shape = signed(len(factor) + _DIGIT_BITS)
        made: list[Value] = [Const(0, shape), factor]
        for n in range(2, 1 << _DIGIT_BITS):
            if n % 2:
                made.append(Signal(shape, name=f"{name}_times_{n}", reset_less=True))
                m.d.sync += made[n].eq(
                    Cat(Const(0, n.bit_length() - 1), factor).as_signed()
                    + made[n - (1 << (n.bit_length() - 1))]
                )
            else:
                made.append(Cat(Const(0, 1), made[n // 2]).as_signed())
        wide = [Signal(shape, name=f"{name}_multiple_{n}") for n in range(len(made))]
        m.d.comb += [signal.eq(value) for signal, value in zip(wide, made, strict=True)]
        return Array(wide)

    @staticmethod
    def _in_pairs(terms: list[_Term]) -> list[_Term]:
        """Add neighbours, by place; one may be left over."""
        terms = sorted(terms, key=lambda term: term[0])
        sums = [] if len(terms) % 2 == 0 else [terms.pop()]
        for (place, low), (above, high) in zip(terms[::2], terms[1::2], strict=True):
            gap = above - place
            upper = (low[gap:].as_signed() + high)[: _SUM_BITS - above]
            sums.append((place, Cat(low[:gap], upper).as_signed()))
        return sums

    def _keep(self, p: Pipeline, terms: list[_Term]) -> None:
        """Put numbers into the next stage's registers."""
        self._places = [place for place, _ in terms]
        for i, (_, value) in enumerate(terms):
            p[f"sum_{i}"] = value

    def _kept(self, p: Pipeline) -> list[_Term]:
        return [(place, p[f"sum_{i}"]) for i, place in enumerate(self._places)]

    def _add_chosen(self, p: Pipeline) -> None:
        self._keep(p, self._in_pairs([*self._kept(p), (0, self._rest)]))

    def _add_last(self, p: Pipeline) -> None:
        """Add the two numbers, or three, of which one level of logic makes two."""
        terms = [Cat(Const(0, place), value).as_signed() for place, value in self._kept(p)]
        wide: list[Value] = [
            p.wire(f"term_{i}", Cat(v, v[-1].replicate(_SUM_BITS))[:_SUM_BITS])
            for i, v in enumerate(terms)
        ]
        if len(wide) == 3:
            a, b, c = wide
            wide = [a ^ b ^ c, Cat(Const(0, 1), (a & b) | (a & c) | (b & c))[:_SUM_BITS]]
        p["total"] = (wide[0] + wide[1])[:_SUM_BITS].as_signed()
        self._make_mask(p)

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
