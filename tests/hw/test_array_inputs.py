"""The array's inputs: every byte in every precision, and when; streams are test_line_buffer's."""

import itertools

import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.activation import ActivationMemory
from systolith.hw.array_inputs import ArrayInputs
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec
from systolith.spec.precision import Precision

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


def test_ports_are_those_of_the_spec() -> None:
    plain = ArrayInputs(AcceleratorSpec())
    assert not hasattr(plain, "i_precision") and not hasattr(plain, "o_lane")
    lines = ArrayInputs(AcceleratorSpec(array=ArraySpec(depthwise_lines=3)))
    assert len(lines.o_d) == 9 * 3 * 16 and hasattr(lines, "i_below")
