"""gemmlowp's reciprocal in fixed point: Newton's steps, one multiplication after the other."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.pipeline import Pipeline

__all__ = ["HighMultiplier", "Reciprocal"]


class HighMultiplier(wiring.Component):
    """Upper half of a doubled product, rounded half up: ``(i_a * i_b + 2**30) >> 31``.

    One product a cycle, `latency` cycles later; nothing stalls. Defined where the result fits: not
    for both operands -2**31.

    Members
    -------
    i_valid, i_a, i_b: there are operands.
    o_valid, o: the result; `o` holds until the next one.
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
                "i_a": In(signed(32)), "i_b": In(signed(32)),
                "o_valid": Out(1), "o": Out(signed(32)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Four parts of 17x17 bits, as multiplier blocks take them; two sums."""
        m = Module()
        p = Pipeline(m, self.i_valid)
        (a_low, a_high), (b_low, b_high) = (
            (x[:16], x[16:].as_signed()) for x in (self.i_a, self.i_b)
        )
        for name, x, y in (
            ("low", a_low, b_low), ("left", a_high, b_low),
            ("right", a_low, b_high), ("high", a_high, b_high),
        ):  # fmt: skip
            p[name] = x * y
        p.advance()
        p["outer"] = (p["high"] << 32) + p["low"] + (1 << 30)
        p["inner"] = p["left"] + p["right"]
        p.advance()
        p["result"] = (p["outer"] + (p["inner"] << 16))[31:63].as_signed()
        p.advance()
        m.d.comb += [self.o_valid.eq(p.valid), self.o.eq(p["result"])]
        return m


class Reciprocal(wiring.Component):
    """``1 / x`` for x = i / 2**bits in [1/2, 1), halved, in Q31; `latency` cycles after `i_valid`.

    It computes on a `HighMultiplier` that others may use while no reciprocal is under way.

    Members
    -------
    i_valid, i: a sum from 1 to 2**31 - 1; none may come while a reciprocal is under way.
    m_valid, m_a, m_b, m_o_valid, m_o: the multiplier.
    o_valid, o: the reciprocal; `o` and `zeros` hold until the next one.
    zeros: leading zeros of the sum in 32 bits.
    """

    _steps = 7
    latency = 2 + _steps * (HighMultiplier.latency + 1)

    i_valid: Signal
    i: Signal
    m_valid: Signal
    m_a: Signal
    m_b: Signal
    m_o_valid: Signal
    m_o: Signal
    o_valid: Signal
    o: Signal
    zeros: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "i_valid": In(1), "i": In(32),
                "m_valid": Out(1), "m_a": Out(signed(32)), "m_b": Out(signed(32)),
                "m_o_valid": In(1), "m_o": In(signed(32)),
                "o_valid": Out(1), "o": Out(31), "zeros": Out(range(33)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Step 0 makes the first guess; odd steps find its error, even ones mend it."""
        m = Module()
        total, half = Signal(32, reset_less=True), Signal(31, reset_less=True)
        x, error = Signal(signed(32), reset_less=True), Signal(signed(32), reset_less=True)
        step, under_way = Signal(range(self._steps)), Signal()
        loaded, go = Signal(), Signal()
        m.d.sync += [loaded.eq(self.i_valid), go.eq(0), self.o_valid.eq(0)]
        with m.If(self.i_valid):
            m.d.sync += total.eq(self.i)
        zeros = Signal(range(33), name="leading")
        m.d.comb += zeros.eq(_leading_zeros(total))
        with m.If(loaded):
            m.d.sync += [
                self.zeros.eq(zeros), half.eq((total << zeros)[1:32]), step.eq(0), go.eq(1),
                under_way.eq(1),
            ]  # fmt: skip
        mends = (step != 0) & ~step[0]
        m.d.comb += [
            self.m_valid.eq(go), self.m_a.eq(Mux(mends, x, half)),
            self.m_b.eq(Mux(step == 0, Const(-1010580540, signed(32)), Mux(mends, error, x))),
            self.o.eq(Mux(x >= 1 << 30, (1 << 31) - 1, x << 1)),
        ]  # fmt: skip
        with m.If(under_way & self.m_o_valid):
            last = step == self._steps - 1
            m.d.sync += [step.eq(step + 1), go.eq(~last), self.o_valid.eq(last)]
            with m.If(last):
                m.d.sync += under_way.eq(0)
            with m.If(step == 0):
                m.d.sync += x.eq(self.m_o + 1515870810)
            with m.Elif(mends):
                m.d.sync += x.eq(x + (self.m_o << 2))
            with m.Else():
                m.d.sync += error.eq((1 << 29) - self.m_o)
        return m


def _leading_zeros(value: Value) -> Value:
    result: Value = Const(len(value), range(33))
    for k in range(len(value)):
        result = Mux(value[k], len(value) - 1 - k, result)
    return result
