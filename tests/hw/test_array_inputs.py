"""The array's inputs: every byte in every precision, and when; streams are test_line_buffer's."""

import itertools
import random

import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.array_inputs import ArrayInputs
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec
from systolith.spec.precision import Precision, WeightFormat

LATENCY = ActivationMemory.read_latency


def operand(byte: int, precision: Precision, signed: int) -> int:
    """What the array takes for a byte."""

    def extended(code: int, width: int) -> int:
        return code - (1 << width) if signed and code >> width - 1 else code

    if precision is Precision.W4A4:
        low, high = (extended(code, 4) & 31 for code in (byte & 15, byte >> 4))
        return low | high << 5
    return extended(byte, 8) & 511


@pytest.mark.parametrize(
    ("precisions", "bits"),
    [([], 9), ([Precision.W4A8], 9), ([Precision.W4A4], 10), (list(Precision), 10)],
)
def test_every_byte(precisions: list[Precision], bits: int) -> None:
    """Control is given with the issue of a vector, its bytes and operands are there later."""
    built = frozenset({Precision.W8A8, *precisions})
    spec = AcceleratorSpec(array=ArraySpec(rows=2, columns=8, precisions=built))
    dut = ArrayInputs(spec)
    assert len(dut.o_x) == 2 * bits
    vectors = [
        (byte, (7 * byte + 3) & 255, precision, signed, byte % 3 == 0)
        for byte, precision, signed in itertools.product(range(256), sorted(built), (0, 1))
    ]

    async def bench(ctx: SimulatorContext) -> None:
        for t in range(len(vectors) + LATENCY):
            if t < len(vectors):
                _, _, precision, signed, switch = vectors[t]
                ctx.set(dut.i_signed, signed)
                ctx.set(dut.i_switch, switch)
                if len(built) > 1:
                    ctx.set(dut.i_precision, precision)
            if LATENCY - 1 <= t < len(vectors) + LATENCY - 1:
                assert ctx.get(dut.o_switch) == vectors[t - LATENCY + 1][4]
            if t >= LATENCY:
                low, high, precision, signed, _ = vectors[t - LATENCY]
                ctx.set(dut.i_x, low | high << 8)
                want = [operand(b, precision, signed) for b in (low, high)]
                assert ctx.get(dut.o_x) == want[0] | want[1] << bits
                if len(built) > 1:
                    assert ctx.get(dut.o_precision) == precision
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("more", [[], [Precision.W4A8, Precision.W4A4]])
def test_bytes_of_pairs_of_rows(more: list[Precision]) -> None:
    """Of a sparse vector all, in order; else two of a pair, and nothing that toggles beside."""
    array = ArraySpec(
        rows=6,
        columns=8,
        precisions=frozenset({Precision.W8A8, *more}),
        weight_formats=frozenset({WeightFormat.DENSE, WeightFormat.TWO_OF_FOUR}),
    )
    dut = ArrayInputs(AcceleratorSpec(array=array))
    rng = random.Random(5)
    vectors = []
    for _ in range(200):
        sparse = rng.randrange(2)
        precision = Precision.W8A8 if sparse else rng.choice(sorted(array.precisions))
        vectors.append((rng.randbytes(12), sparse, precision, rng.randrange(2)))

    async def bench(ctx: SimulatorContext) -> None:
        for t in range(len(vectors) + LATENCY):
            if t < len(vectors):
                _, sparse, precision, signed = vectors[t]
                ctx.set(dut.i_sparse, sparse)
                ctx.set(dut.i_signed, signed)
                if more:
                    ctx.set(dut.i_precision, precision)
            if t >= LATENCY:
                read, sparse, precision, signed = vectors[t - LATENCY]
                ctx.set(dut.i_x, int.from_bytes(read, "little"))
                taken = list(read)
                if not sparse:
                    taken = [b for i in range(0, 6, 2) for b in (*read[i : i + 2], 0, 0)]
                want = [operand(b, precision, signed) for b in taken]
                found = ctx.get(dut.o_x)
                assert [found >> dut.x_bits * k & (1 << dut.x_bits) - 1 for k in range(12)] == want
            await ctx.tick()

    simulate(dut, bench)


def test_ports_are_those_of_the_spec() -> None:
    plain = ArrayInputs(AcceleratorSpec())
    assert not hasattr(plain, "i_precision") and not hasattr(plain, "o_lane")
    lines = ArrayInputs(AcceleratorSpec(array=ArraySpec(depthwise_lines=3)))
    assert len(lines.o_d) == 9 * 3 * 16 and hasattr(lines, "i_below")
