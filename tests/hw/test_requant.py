"""The requantizer's gates against exact rationals and real float32 arithmetic."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from fractions import Fraction
from itertools import combinations, product
from math import floor
from random import Random

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.requant import Requantizer
from systolith.spec.requant import RequantMode, RequantWidths

SEED = 20261121
I32 = (-(1 << 31), (1 << 31) - 1)
CLAMPS = [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (255, 0, 255), (0, 0, 255)]
CLAMPS += [(-256, -256, 255), (255, -256, 255), (-7, -100, 60), (13, 13, 13)]


@dataclass(frozen=True, slots=True)
class Sample:
    acc: int
    bias: int
    multiplier: int
    shift: int
    offset: int = 0


def wrap(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def half_away(value: Fraction) -> int:
    return (1 if value >= 0 else -1) * floor(abs(value) + Fraction(1, 2))


WIDE = RequantWidths()


def exact(mode: RequantMode, s: Sample, widths: RequantWidths = WIDE) -> int | float:
    """The formula of the mode, in rationals (DOUBLE, FIXED) or in the machine's float32."""
    a = wrap(s.acc + s.bias, 32)
    rail = 1 << (widths.accumulator - 1)
    if mode is RequantMode.MAGNITUDE:
        total = wrap(min(abs(a), rail - 1) * s.multiplier + s.offset, widths.sum)
        return (-1 if a < 0 else 1) * floor(Fraction(total, 1 << s.shift))
    if mode is RequantMode.DOUBLE:
        x = wrap(a << max(s.shift, 0), 32)
        high = floor(Fraction(x * s.multiplier, 1 << 31) + Fraction(1, 2))
        return half_away(Fraction(high, 1 << max(-s.shift, 0)))
    if mode is RequantMode.FIXED:
        x = max(-rail, min(rail - 1, a))
        return floor(Fraction(wrap(x * s.multiplier + s.offset, widths.sum), 1 << s.shift))
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.float32(np.ldexp(np.float64(s.multiplier), s.shift))
        value = np.rint(np.float32(a) * scale)
    return 0.0 if np.isnan(value) else float(value)


def expected(
    mode: RequantMode, s: Sample, zero: int, low: int, high: int, widths: RequantWidths = WIDE
) -> int:
    y = exact(mode, s, widths)
    y = int(max(-(1 << 20), min(1 << 20, y)))
    return max(low, min(high, y + zero))


def split(a: int, rng: Random) -> tuple[int, int]:
    """An accumulator and a bias whose wrapped sum is ``a``."""
    bias = rng.choice([0, 0, 1, *I32, rng.randint(*I32)])
    return wrap(a - bias, 32), bias


def near(value: Fraction, rng: Random) -> int:
    """An int32 within 1 of ``value``, or its rail."""
    return max(I32[0], min(I32[1], floor(value) + rng.randint(-1, 2)))


def scaled(rng: Random) -> int:
    """An int32 with every number of significant bits equally likely."""
    return wrap(rng.choice([-1, 1]) * rng.getrandbits(rng.randint(0, 32)), 32)


def tie(rng: Random) -> Fraction:
    """Half an odd number in and just out of the 8-bit range."""
    return Fraction(2 * rng.randint(-300, 300) + 1, 2)


FIXED_RAILS = ((*I32, -1, 0, 1), range(64), (-(1 << 63), 0, (1 << 63) - 1))


def rails(mode: RequantMode) -> Iterator[Sample]:
    multipliers, shifts, offsets = {
        RequantMode.DOUBLE: ((0, 1, 1 << 30, I32[1]), range(-31, 32), (0,)),
        RequantMode.FLOAT32: ((1 << 23, (1 << 24) - 1), range(-128, 128), (0,)),
        RequantMode.FIXED: FIXED_RAILS,
        RequantMode.MAGNITUDE: FIXED_RAILS,
    }[mode]
    accs = (-1, *I32) if mode in (RequantMode.FIXED, RequantMode.MAGNITUDE) else (0, -1, 1, *I32)
    for acc, multiplier, shift, offset in product(accs, multipliers, shifts, offsets):
        yield Sample(acc, 0, multiplier, shift, offset)


def double_samples(rng: Random) -> Iterator[Sample]:
    while True:
        shift = rng.randint(-31, 31)
        q = rng.choice([1 << 30, I32[1], rng.randint(1 << 30, I32[1]), rng.getrandbits(31)])
        # The second rounding ties: high = tie * 2**r, so a = high * 2**31 / q / 2**left.
        target = tie(rng) * (Fraction(1 << 31, q) if q else 1) / Fraction(2) ** shift
        a = near(target, rng) if rng.random() < 0.6 else scaled(rng)
        yield Sample(*split(a, rng), q, shift)


def conversion_decides(rng: Random) -> tuple[int, int, int]:
    """a, multiplier, shift: the conversion ties next to a tie of the last rounding.

    ``a = T*2**n + 2**(n-1)`` with ``T = (2k+1) * 2**(s-1)`` of 24 bits, times ``2**-(n+s)``: to
    even gives ``k + 1/2`` exactly, any other rounding of the tie gives more.
    """
    odd, bits = 2 * rng.randint(0, 127) + 1, rng.randint(1, 7)
    s = 25 - odd.bit_length()
    return ((odd << (s + bits - 1)) + (1 << (bits - 1))), 1 << 23, -(23 + bits + s)


def product_decides(rng: Random) -> tuple[int, int, int]:
    """a, multiplier, shift: the product ties next to a tie of the last rounding.

    ``f * g = odd * 2**r + 1`` of 25 bits; in 24 bits, to even, that is ``odd * 2**r``, a tie.
    """
    while True:
        f, r = 2 * rng.randint(1, 127) + 1, rng.randint(17, 24)
        g = pow(f, -1, 1 << r)
        odd, spare = (f * g) >> r, 24 - g.bit_length()
        if odd & 1 and odd.bit_length() + r == 25 and spare >= 0:
            j = rng.randint(0, 31 - f.bit_length())
            return f << j, g << spare, -(r + 1 + j + spare)


def float32_samples(rng: Random) -> Iterator[Sample]:
    while True:
        m = rng.choice([1 << 23, (1 << 24) - 1, rng.randint(1 << 23, (1 << 24) - 1)])
        e = rng.choice([rng.randint(-60, -16), rng.randint(-128, 127)])
        kind = rng.randrange(6)
        if kind == 0:
            a = near(tie(rng) / (m * Fraction(2) ** e), rng)
        elif kind == 1:  # The conversion to 24 bits ties.
            bits = rng.randint(1, 8)
            head = rng.randint(1 << 23, (1 << 24) - 1)
            a = rng.choice([-1, 1]) * ((head << bits) + (1 << (bits - 1)) + rng.randint(-1, 1))
        elif kind == 2:  # It carries to a 25th bit.
            a = rng.choice([-1, 1]) * ((1 << rng.randint(24, 31)) - rng.randint(0, 200))
            e = -rng.randint(40, 56)
        elif kind in (3, 4):
            a, m, e = (conversion_decides if kind == 3 else product_decides)(rng)
            a *= rng.choice([-1, 1])
        else:
            a = scaled(rng)
        yield Sample(*split(wrap(a, 32), rng), m, e)


def fixed_samples(rng: Random) -> Iterator[Sample]:
    while True:
        a, m, shift = scaled(rng), scaled(rng), rng.randint(0, 63)
        # An edge of FIXED; MAGNITUDE has those of the positive side.
        edge = (rng.randint(-300, 300) << shift) - a * m + rng.randint(-1, 1)
        half = (1 << shift) >> 1
        offset = rng.choice([edge, half, half - 1, rng.getrandbits(64)])
        yield Sample(*split(a, rng), m, shift, wrap(offset, 64))


STREAMS = {
    RequantMode.DOUBLE: double_samples,
    RequantMode.FLOAT32: float32_samples,
    RequantMode.FIXED: fixed_samples,
    RequantMode.MAGNITUDE: fixed_samples,
}


def simulate(
    dut: Requantizer, mode: RequantMode, batches: list[tuple[tuple[int, int, int], list[Sample]]]
) -> list[list[int]]:
    """Outputs of back-to-back samples; the clamp changes once the pipeline is empty."""
    results: list[list[int]] = []
    ports = [getattr(dut, f"i_{field.name}") for field in fields(Sample)]

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(dut.i_mode, mode)
        for (zero, low, high), samples in batches:
            ctx.set(dut.i_zero, zero)
            ctx.set(dut.i_low, low)
            ctx.set(dut.i_high, high)
            outputs = []
            for sample in samples + [Sample(0, 0, 0, 0)] * dut.latency:
                for port, value in zip(ports, astuple(sample), strict=True):
                    ctx.set(port, value)
                outputs.append(ctx.get(dut.o))
                await ctx.tick()
            results.append(outputs[dut.latency :])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def check(
    modes: frozenset[RequantMode], mode: RequantMode, batches: list, widths: RequantWidths = WIDE
) -> int:
    """Compare gates and formula sample by sample, and return how many were compared."""
    outputs = simulate(Requantizer(modes, widths), mode, batches)
    compared = 0
    for (clamp, samples), got in zip(batches, outputs, strict=True):
        assert len(got) == len(samples)
        for sample, code in zip(samples, got, strict=True):
            want = expected(mode, sample, *clamp, widths)
            assert code == want, f"seed {SEED}: {mode.name} {clamp} {sample}: {code}, not {want}"
            compared += 1
    return compared


@pytest.mark.parametrize("mode", RequantMode)
def test_rails_at_every_shift(mode: RequantMode) -> None:
    samples = list(rails(mode))
    assert check(frozenset(RequantMode), mode, [((-3, -128, 127), samples)]) >= 1200


@pytest.mark.parametrize("mode", RequantMode)
def test_ties_and_random(mode: RequantMode) -> None:
    stream = STREAMS[mode](Random(SEED))
    batches = [(clamp, [next(stream) for _ in range(600)]) for clamp in CLAMPS]
    assert check(frozenset(RequantMode), mode, batches) == 600 * len(CLAMPS)


SUBSETS = [frozenset(c) for n in (1, 2) for c in combinations(RequantMode, n)]


@pytest.mark.parametrize("modes", SUBSETS, ids=lambda s: "+".join(m.name for m in sorted(s)))
def test_every_subset_of_modes(modes: frozenset[RequantMode]) -> None:
    for mode in modes:
        stream = STREAMS[mode](Random(SEED + mode))
        samples = [next(stream) for _ in range(300)]
        every = list(rails(mode))
        samples += every[:: max(1, len(every) // 200)]
        check(modes, mode, [((5, -128, 127), samples)])


@pytest.mark.parametrize("mode", RequantMode)
def test_samples_are_adversarial(mode: RequantMode) -> None:
    """At least a tenth of the samples land within the codes, and they are not all alike."""
    stream = STREAMS[mode](Random(SEED))
    values = [exact(mode, next(stream)) for _ in range(2000)]
    inside = [v for v in values if abs(v) < 300]
    assert len(inside) > 200
    assert len(set(inside)) > 100


def fitted(sample: Sample, widths: RequantWidths) -> Sample:
    """The sample with its parameters cut to the widths."""
    return replace(
        sample,
        multiplier=wrap(sample.multiplier, widths.multiplier),
        offset=wrap(sample.offset, widths.sum),
    )


def narrow_samples(rng: Random, widths: RequantWidths) -> Iterator[Sample]:
    """Sums on and beside multiples of the shift's unit, accumulators at and beyond the rails."""
    rail = 1 << (widths.accumulator - 1)
    while True:
        a = rng.choice([scaled(rng), rng.choice([-1, 1]) * rail + rng.randint(-2, 2)])
        a = max(I32[0], min(I32[1], a))
        m = wrap(scaled(rng) >> (32 - widths.multiplier), widths.multiplier)
        shift = rng.randint(0, 63)
        x = max(-rail, min(rail - 1, a))
        edge = (rng.randint(-300, 300) << shift) - abs(x) * m + rng.randint(-1, 1)
        offset = rng.choice([edge, rng.choice([edge, -edge]), rng.getrandbits(64)])
        yield fitted(Sample(*split(a, rng), m, shift, offset), widths)


WIDTHS = [(18, 18), (16, 16), (18, 25), (18, 32), (24, 24), (25, 18), (25, 32), (32, 25), (32, 17)]
WIDTHS += [(19, 26), (26, 19), (31, 31), (25, 19), (25, 20), (24, 21)]
FIXED_MODES = frozenset({RequantMode.FIXED, RequantMode.MAGNITUDE})


@pytest.mark.parametrize(("multiplier", "accumulator"), WIDTHS)
def test_widths(multiplier: int, accumulator: int) -> None:
    widths = RequantWidths(multiplier=multiplier, accumulator=accumulator)
    stream = narrow_samples(Random(SEED + 64 * multiplier + accumulator), widths)
    samples = [next(stream) for _ in range(200)]
    every = [fitted(s, widths) for s in rails(RequantMode.FIXED)]
    batches = [((5, -128, 127), samples + every[::20])]
    for mode in FIXED_MODES:
        assert check(FIXED_MODES, mode, batches, widths) > 300
    inside = [s for s in samples if abs(exact(RequantMode.MAGNITUDE, s, widths)) < 300]
    assert len(inside) > 40


@pytest.mark.parametrize("modes", [{RequantMode.FLOAT32}, {RequantMode.FLOAT32, *FIXED_MODES}])
def test_float32_in_25_bits(modes: set[RequantMode]) -> None:
    widths = RequantWidths(multiplier=25)
    for mode in modes:
        fixed = mode in FIXED_MODES
        rng = Random(SEED)
        stream = narrow_samples(rng, widths) if fixed else float32_samples(rng)
        check(
            frozenset(modes), mode, [((5, -128, 127), [next(stream) for _ in range(600)])], widths
        )


@pytest.mark.parametrize(
    ("mode", "widths"),
    [
        (RequantMode.FLOAT32, {"multiplier": 24}),
        (RequantMode.FLOAT32, {"accumulator": 31}),
        (RequantMode.DOUBLE, {"multiplier": 31}),
        (RequantMode.DOUBLE, {"accumulator": 31}),
        (RequantMode.FIXED, {"multiplier": 15}),
    ],
)
def test_widths_are_checked(mode: RequantMode, widths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"^widths for \w+ must be at least \(\d+, \d+\), not"):
        Requantizer(frozenset({mode}), RequantWidths(**widths))


def test_latency_depends_on_modes_and_widths_only() -> None:
    latencies = {mode: Requantizer.latency_of(frozenset({mode})) for mode in RequantMode}
    assert latencies == {
        RequantMode.DOUBLE: 11,
        RequantMode.FLOAT32: 13,
        RequantMode.FIXED: 9,
        RequantMode.MAGNITUDE: 11,
    }
    assert Requantizer.latency_of(frozenset(RequantMode) - {RequantMode.MAGNITUDE}) == 13
    assert Requantizer.latency_of(frozenset(RequantMode)) == 14
    narrow = RequantWidths(accumulator=31)
    assert Requantizer.latency_of(frozenset({RequantMode.FIXED}), narrow) == 10


def test_parameters_are_needed_late() -> None:
    """Cycles from the sample to the stage that uses them, with the fewest stages and with all."""
    fixed = Requantizer.delays_of(frozenset({RequantMode.FIXED}))
    assert fixed == {"bias": 0, "multiplier": 1, "offset": 3, "shift": 4}
    every = Requantizer.delays_of(frozenset(RequantMode))
    assert every == {"bias": 0, "multiplier": 6, "offset": 8, "shift": 3}


@pytest.mark.parametrize("modes", [frozenset(), frozenset({1})])
def test_modes_are_checked(modes: frozenset) -> None:
    with pytest.raises(ValueError, match=r"^modes must be a non-empty set of RequantMode, not "):
        Requantizer(modes)
