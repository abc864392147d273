"""The weight-stationary processing element, cycle by cycle."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.pe import CHOICES, ProcessingElement
from systolith.sim.pysim import simulate


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("pipelined", "stages"), [(False, 0), (True, 0), (True, 1), (True, 2)])
def test_registers(pipelined: bool, stages: int, depthwise: bool, sparse: bool) -> None:
    """Random shifts and switches in any cycle; sums with all operand values, rails often."""
    rng = np.random.default_rng(3)
    pe = ProcessingElement(
        22, pipelined=pipelined, stages=stages, depthwise=depthwise, sparse=sparse
    )
    x = weight = shadow = resident = total = switch = lane = operand_register = 0
    products = [0] * (int(pipelined) + max(0, stages - 1))  # the latest first

    def operand() -> int:
        return int(rng.choice([-256, 255, 0, int(rng.integers(-256, 256))]))

    def several() -> tuple[int, list[int]]:
        """What a port holds, and the activations in it."""
        if not sparse:
            value = operand()
            return value, [value]
        values = [operand() for _ in range(CHOICES)]
        return sum((v & 511) << 9 * i for i, v in enumerate(values)), values

    def chosen(values: list[int], weight: int) -> tuple[int, int]:
        """The activation and the operand of a weight."""
        code = weight & 511
        return (values[weight >> 9], code - (code >> 8 << 9)) if sparse else (values[0], weight)

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal x, weight, shadow, resident, total, switch, lane, operand_register
        for cycle in range(800):
            if cycle > 4:
                assert ctx.get(pe.o_x) == x
                assert ctx.get(pe.o_w) == shadow
                assert ctx.get(pe.o_sum) == total
                assert ctx.get(pe.o_switch) == switch
                assert not depthwise or ctx.get(pe.o_lane) == lane
            settle = cycle < 4  # registers without reset get their first values
            (i_x, values), i_w = several(), operand()
            if sparse:
                i_w = i_w & 511 | int(rng.integers(CHOICES)) << 9
            i_sum = int(rng.integers(-(1 << 20), 1 << 20))
            i_shift, i_switch = (int(settle or rng.integers(2)) for _ in range(2))
            for name, value in (
                ("i_x", i_x), ("i_w", i_w), ("i_sum", i_sum), ("i_shift", i_shift),
                ("i_switch", i_switch),
            ):  # fmt: skip
                ctx.set(getattr(pe, name), value)
            factor, multiplicand = chosen(values, resident)[0], chosen(values, weight)[1]
            if depthwise:
                lane, i_d = int(rng.integers(2)), operand()
                ctx.set(pe.i_lane, lane)
                ctx.set(pe.i_d, i_d)
                factor = i_d if lane else factor
            products.insert(0, (operand_register if stages else factor) * multiplicand)
            total = i_sum + products.pop()
            operand_register = factor
            if switch if stages else i_switch:
                weight = resident if stages and sparse else shadow
            resident = shadow if i_switch else resident
            shadow = i_w if i_shift else shadow
            x, switch = i_x, i_switch
            await ctx.tick()

    simulate(pe, bench)
