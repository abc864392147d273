"""Newton's reciprocal and its multiplier against integers of Python, and against golden."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.reciprocal import HighMultiplier, Reciprocal
from systolith.sim.dut import Dut

ONE = (1 << 31) - 1


def high(a: int, b: int) -> int:
    return (a * b + (1 << 30)) >> 31


def reciprocal(total: int) -> tuple[int, int]:
    """gemmlowp's `GetReciprocal`: Q31, and the leading zeros."""
    zeros = 32 - total.bit_length()
    half = (total << zeros) >> 1
    x = 1515870810 + high(half, -1010580540)
    for _ in range(3):
        x += high(x, (1 << 29) - high(half, x)) << 2
    return min(x << 1, ONE), zeros


class Both(wiring.Component):
    """A reciprocal with its multiplier.

    Members
    -------
    i_valid, i, o_valid, o, zeros: those of `Reciprocal`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i_valid": In(1), "i": In(32), "o_valid": Out(1), "o": Out(31), "zeros": Out(6)
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = HighMultiplier()
        m.submodules.unit = unit = Reciprocal()
        m.d.comb += [
            unit.i_valid.eq(self.i_valid), unit.i.eq(self.i), self.o.eq(unit.o),
            self.o_valid.eq(unit.o_valid), self.zeros.eq(unit.zeros),
            multiplier.i_valid.eq(unit.m_valid), multiplier.i_a.eq(unit.m_a),
            multiplier.i_b.eq(unit.m_b), unit.m_o_valid.eq(multiplier.o_valid),
            unit.m_o.eq(multiplier.o),
        ]  # fmt: skip
        return m


def test_products() -> None:
    rng = np.random.default_rng(50)
    low, top = -(1 << 31), ONE
    edges = [low + 1, -1, 0, 1, top, 1 << 30, -(1 << 30), 1 << 16, (1 << 16) - 1]
    a = np.concatenate([np.repeat(edges, len(edges)), rng.integers(low, top, 50_000), [low]])
    b = np.concatenate([np.tile(edges, len(edges)), rng.integers(low, top, 50_000), [top]])
    # Products half way between two results.
    a[500:1500] = rng.integers(-(1 << 15), 1 << 15, 1000) * 2 + 1 << 14
    b[500:1500] = rng.integers(-(1 << 14), 1 << 14, 1000) * 2 + 1 << 16
    rest = np.zeros(HighMultiplier.latency, np.int64)
    inputs = {
        "i_valid": np.concatenate([np.ones_like(a), rest]),
        "i_a": np.concatenate([a, rest]),
        "i_b": np.concatenate([b, rest]),
    }
    with Dut.build(HighMultiplier()) as dut:
        got = dut.drive(inputs, ["o"])["o"][HighMultiplier.latency :]
    wanted = [high(int(x), int(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("count", [20_000, pytest.param(500_000, marks=pytest.mark.slow)])
def test_reciprocals(count: int) -> None:
    rng = np.random.default_rng(51)
    powers = np.int64(1) << np.arange(31)
    totals = np.concatenate([powers, powers + 1, powers * 2 - 1])
    totals = np.concatenate([totals, rng.integers(1, 1 << rng.integers(1, 32, count))])
    totals = totals[totals <= ONE]
    period = Reciprocal.latency
    valid = np.zeros(len(totals) * period + 1, np.int64)
    valid[: len(totals) * period : period] = 1
    with Dut.build(Both()) as dut:
        inputs = {"i_valid": valid, "i": np.append(np.repeat(totals, period), 0)}
        got = dut.drive(inputs, ["o", "o_valid", "zeros"])
    assert np.array_equal(np.flatnonzero(got["o_valid"]), np.arange(1, len(totals) + 1) * period)
    wanted = np.array([reciprocal(int(t)) for t in totals])
    np.testing.assert_array_equal(got["o"][period::period], wanted[:, 0])
    np.testing.assert_array_equal(got["zeros"][period::period], wanted[:, 1])
    assert len(totals) > count * 0.9
