"""Products in parts: what the parts make together, and which operands stay whole."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from systolith.hw.partial_products import cut_operands, partial_product
from systolith.sim.pysim import simulate


class Product(wiring.Component):
    """The sum of the products of all parts, each moved to its place."""

    def __init__(self, a_bits: int, b_bits: int) -> None:
        self.bits = a_bits, b_bits
        super().__init__(
            {"a": In(signed(a_bits)), "b": In(signed(b_bits)), "o": Out(signed(a_bits + b_bits))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = cut_operands(self.a, self.b)
        self.counts = [len(operand) for operand in parts]
        terms = []
        for i, a in enumerate(parts[0]):
            for j, b in enumerate(parts[1]):
                product = Signal(signed(sum(self.bits)), name=f"product_{i}{j}")
                m.d.comb += product.eq(partial_product(a, b))
                place = (len(parts[0][0]) if i else 0) + (len(parts[1][0]) if j else 0)
                terms.append(product << place)
        m.d.comb += self.o.eq(sum(terms[1:], terms[0]))
        return m


@pytest.mark.parametrize(
    ("a_bits", "b_bits", "parts"),
    [
        (16, 16, 1),
        (18, 25, 1),
        (25, 18, 1),
        (20, 16, 1),
        (20, 25, 2),
        (32, 18, 2),
        (20, 32, 2),
        (32, 32, 4),
    ],
)
def test_products(a_bits: int, b_bits: int, parts: int) -> None:
    dut = Product(a_bits, b_bits)
    rng = np.random.default_rng(a_bits * 64 + b_bits)
    ends = [[-(1 << bits - 1), (1 << bits - 1) - 1, 0, -1] for bits in (a_bits, b_bits)]
    pairs = [(a, b) for a in ends[0] for b in ends[1]]
    for _ in range(200):
        values = (int(rng.integers(-(1 << n - 1), 1 << n - 1)) for n in (a_bits, b_bits))
        pairs.append((next(values), next(values)))

    async def bench(ctx: SimulatorContext) -> None:
        for a, b in pairs:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            await ctx.delay(1e-9)
            assert ctx.get(dut.o) == a * b, (a, b)

    simulate(dut, bench)
    assert np.prod(dut.counts) == parts
