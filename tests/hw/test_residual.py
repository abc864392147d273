"""The gates of the residual add and product against exact rationals."""

from dataclasses import astuple, dataclass, fields
from fractions import Fraction
from math import floor
from random import Random

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.residual import ResidualAdd
from systolith.sim.binding import Model
from systolith.sim.emit import simulation_verilog
from systolith.sim.verilator import build_model
from systolith.spec.requant import ResidualRounding

SEED = 20261122


@dataclass(frozen=True, slots=True)
class Coefficients:
    multiplier_y: int
    multiplier_r: int
    offset: int
    shift: int
    rounding: ResidualRounding
    zero: int = 0
    low: int = -128
    high: int = 127
    enable: int = 1
    product: int = 0
    zero_r: int = 0


def wrap48(value: int) -> int:
    return (value + (1 << 47)) % (1 << 48) - (1 << 47)


def rounded(value: Fraction, rounding: ResidualRounding) -> int:
    if rounding is ResidualRounding.FLOOR:
        return floor(value)
    if rounding is ResidualRounding.HALF_EVEN:
        return round(value)
    if rounding is ResidualRounding.NEAR_EVEN:
        return round(Fraction(floor(value * 2**16), 2**16))
    return (1 if value >= 0 else -1) * floor(abs(value) + Fraction(1, 2))


def expected(y: int, r: int, c: Coefficients) -> int:
    if not c.enable:
        return y
    if c.product:
        y *= r - c.zero_r
        r = int(y < 0)
    v = wrap48(y * c.multiplier_y + r * c.multiplier_r + c.offset)
    z = rounded(Fraction(v, 1 << c.shift), c.rounding) + c.zero
    return max(c.low, min(c.high, z))


def simulate(
    batches: list[tuple[Coefficients, list[tuple[int, int]]]], product: bool, multipliers: bool
) -> list[list[int]]:
    """Outputs of back-to-back pairs; the coefficients change once the pipeline is empty."""
    dut = ResidualAdd(product=product, multipliers=multipliers)
    results: list[list[int]] = []

    async def bench(ctx: SimulatorContext) -> None:
        for coefficients, pairs in batches:
            for field, value in zip(fields(Coefficients), astuple(coefficients), strict=True):
                ctx.set(getattr(dut, f"i_{field.name}"), value)
            if not multipliers:
                await ctx.tick().repeat(2)
            outputs = []
            for y, r in pairs + [(0, 0)] * dut.latency:
                ctx.set(dut.i_y, y)
                ctx.set(dut.i_r, r)
                outputs.append(ctx.get(dut.o))
                await ctx.tick()
            results.append(outputs[dut.latency :])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def check(
    batches: list[tuple[Coefficients, list[tuple[int, int]]]],
    *,
    product: bool = False,
    multipliers: bool = True,
) -> int:
    compared = 0
    outputs = simulate(batches, product, multipliers)
    for (coefficients, pairs), got in zip(batches, outputs, strict=True):
        want = [expected(y, r, coefficients) for y, r in pairs]
        wrong = [(p, w, g) for p, w, g in zip(pairs, want, got, strict=True) if w != g]
        assert not wrong, f"seed {SEED}: {coefficients}: (y, r), expected, got {wrong[0]}"
        compared += len(want)
    return compared


def tie_rich(rounding: ResidualRounding) -> list[Coefficients]:
    """Coefficients by which half or a quarter of all pairs are exact ties, of either sign."""
    return [
        Coefficients(1, 1, 0, 1, rounding),
        Coefficients(3, -1, 0, 2, rounding, zero=-5),
        Coefficients(-(1 << 20), 3 << 19, -(5 << 19), 21, rounding, zero=3, low=0, high=255),
        Coefficients(-3, -5, 7, 3, rounding, zero=-128),
        Coefficients(1 << 30, 1 << 29, 1 << 29, 30, rounding, zero=255, low=0, high=255),
    ]


def extreme(rounding: ResidualRounding) -> list[Coefficients]:
    i32, i48 = (1 << 31) - 1, (1 << 47) - 1
    return [
        Coefficients(i32, i32, 0, 47, rounding),
        Coefficients(-i32 - 1, -i32 - 1, -i48 - 1, 47, rounding),
        Coefficients(-i32 - 1, i32, i48, 46, rounding, zero=-256, low=-256, high=255),
        Coefficients(1, -1, 0, 0, rounding, zero=255, low=-256, high=255),
        Coefficients(i32, -i32 - 1, 12345, 33, rounding, low=-100, high=-100),
        Coefficients(1, 1, i48, 40, rounding),
    ]


def random_pairs(rng: Random, count: int) -> list[tuple[int, int]]:
    rails = (-256, -128, -1, 0, 1, 127, 255)
    pairs = [(y, r) for y in rails for r in rails]
    return pairs + [(rng.randint(-256, 255), rng.randint(-256, 255)) for _ in range(count)]


@pytest.mark.parametrize("multipliers", [True, False])
@pytest.mark.parametrize("rounding", ResidualRounding)
def test_ties_and_rails(rounding: ResidualRounding, multipliers: bool) -> None:
    rng = Random(SEED)
    batches = [(c, random_pairs(rng, 250)) for c in tie_rich(rounding) + extreme(rounding)]
    assert check(batches, multipliers=multipliers) == 11 * 299


@pytest.mark.parametrize("multipliers", [True, False])
@pytest.mark.parametrize("rounding", ResidualRounding)
def test_every_shift_with_ties_around_its_half(
    rounding: ResidualRounding, multipliers: bool
) -> None:
    rng = Random(SEED + 1)
    batches = []
    for shift in range(48):
        unit = 1 << shift
        near_tie = wrap48((rng.randint(-40, 40) * unit) + unit // 2)
        pairs = [(y, r) for y in (-1, 0, 1) for r in (-1, 0, 1)]
        batches.append((Coefficients(1, 0, near_tie, shift, rounding), pairs))
        batches.append((Coefficients(-1, 2, -near_tie, shift, rounding, zero=9), pairs))
    assert check(batches, multipliers=multipliers) == 96 * 9


@pytest.mark.parametrize("multipliers", [True, False])
def test_random_coefficients(multipliers: bool) -> None:
    rng = Random(SEED + 2)
    batches = []
    for _ in range(60):
        shift = rng.randint(0, 39)
        limit = min(1 << 31, 1 << (shift + 1))
        coefficients = Coefficients(
            rng.randint(-limit, limit - 1),
            rng.randint(-limit, limit - 1),
            rng.randint(-(64 << shift), 64 << shift),
            shift,
            rng.choice(list(ResidualRounding)),
            zero=rng.randint(-256, 255),
            low=rng.randint(-256, -1),
            high=rng.randint(0, 255),
        )
        batches.append((coefficients, random_pairs(rng, 40)))
    assert check(batches, multipliers=multipliers) == 60 * 89


@pytest.mark.parametrize("multipliers", [True, False])
@pytest.mark.parametrize("product", [False, True])
def test_bypass_keeps_y(product: bool, multipliers: bool) -> None:
    off = Coefficients(7, 9, 11, 3, ResidualRounding.HALF_AWAY, 5, -10, 10, enable=0)
    assert (
        check(
            [(off, [(y, -y) for y in range(-255, 256)])], product=product, multipliers=multipliers
        )
        == 511
    )


def products(rounding: ResidualRounding) -> list[Coefficients]:
    """Scales with many ties, offsets that depend on the sign, zero points at every rail."""
    half = 1 << 30
    return [
        Coefficients(1, 0, 0, 8, rounding, product=1),
        Coefficients(1, -1, 1, 1, rounding, product=1, zero_r=-256, low=-256, high=255),
        Coefficients(1 << 23, -(1 << 23), half, 31, rounding, 5, product=1, zero_r=-128),
        Coefficients(-3 << 20, 1 << 28, -7, 28, rounding, product=1, zero_r=255, low=0, high=255),
        Coefficients(178956971, 0, 1 << 13, 31, rounding, product=1, zero_r=127),
        Coefficients((1 << 31) - 1, -(1 << 31), (1 << 47) - 1, 47, rounding, product=1, zero_r=7),
    ]


@pytest.mark.parametrize("multipliers", [True, False])
@pytest.mark.parametrize("rounding", ResidualRounding)
def test_product_and_sum_on_one_unit(rounding: ResidualRounding, multipliers: bool) -> None:
    """Also the largest product that 9-bit operands have, and sums as without the product."""
    rng = Random(SEED + 3)
    pairs = [(-256, 255), (-256, -256), (255, -256), (255, 255)]
    batches = [(c, pairs + random_pairs(rng, 250)) for c in products(rounding)]
    batches += [(c, random_pairs(rng, 50)) for c in tie_rich(rounding) + extreme(rounding)]
    assert check(batches, product=True, multipliers=multipliers) == 6 * 303 + 11 * 99


@pytest.mark.parametrize("multipliers", [True, False])
@pytest.mark.parametrize("rounding", ResidualRounding)
def test_product_at_every_shift(rounding: ResidualRounding, multipliers: bool) -> None:
    rng = Random(SEED + 4)
    batches = []
    for shift in range(48):
        # The offset moves a product of -2, 0 or 2 around half a code, and beyond by 2**-16.
        unit, sign = 1 << shift, rng.choice([-1, 1])
        offset = wrap48(sign * ((rng.randint(-40, 40) * unit) + unit // 2 + (unit >> 16)))
        c = Coefficients(1, rng.randint(-9, 9), offset, shift, rounding, product=1, zero_r=3)
        batches.append((c, [(y, r) for y in (-1, 0, 1, 2) for r in (2, 3, 4, 5)]))
    assert check(batches, product=True, multipliers=multipliers) == 48 * 16


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(build_model(simulation_verilog(ResidualAdd(product=True)), jobs=1))


@pytest.mark.parametrize("rounding", ResidualRounding)
def test_every_pair_of_bytes(model: Model, rounding: ResidualRounding) -> None:
    """All pairs, in Verilator: coefficients of either sign, rich in ties, sums and products."""
    values = np.arange(256)
    latency = ResidualAdd.latency
    for c in tie_rich(rounding) + products(rounding)[2:5]:
        # Where the output is uint8 the operands are, too.
        codes = values if c.low == 0 else values - 128
        y, r = (grid.reshape(-1) for grid in np.meshgrid(codes, codes))
        count = len(y) + latency
        inputs = {"i_y": np.pad(y, (0, latency)), "i_r": np.pad(r, (0, latency))}
        inputs["i_valid"] = np.ones(count, np.int64)
        for field, value in zip(fields(Coefficients), astuple(c), strict=True):
            inputs[f"i_{field.name}"] = np.full(count, value)
        raw = {}
        for name, column in inputs.items():
            port = model.variables[name]
            raw[name] = (column & ((1 << port.width) - 1)).astype(port.storage.dtype)
        output = np.empty(count, np.uint16)
        model.drive(count, raw, {"o": output})
        got = output[latency:].astype(np.int64)
        got -= (got & 256) << 1
        want = [expected(*pair, c) for pair in zip(y.tolist(), r.tolist(), strict=True)]
        np.testing.assert_array_equal(got, want, err_msg=str(c))
