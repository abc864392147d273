"""Every byte and nibble through the decoders, against the texts of the formats."""

from itertools import product

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.weight_decoder import WeightDecoder, weight_bits
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.precision import Precision, WeightFormat

COLUMNS = 3


def spec_of(formats: set[WeightFormat], *precisions: Precision) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(
            rows=2,
            columns=COLUMNS,
            weight_formats=frozenset({WeightFormat.DENSE, *formats}),
            precisions=frozenset({Precision.W8A8, *precisions}),
        ),
        memory=MemorySpec(weight_bytes=COLUMNS * 16),
        post=PostSpec(lanes=1),
    )


def number(code: int, bits: int, signed: bool) -> int:
    return code - (1 << bits) if signed and code >> (bits - 1) else code


def byte_of(form: WeightFormat, nibble: int, signed: int, book: list[int]) -> int:
    """The byte of a nibble, from the definition."""
    if form is WeightFormat.INT4:
        return number(nibble, 4, bool(signed)) & 255
    if form is WeightFormat.CODEBOOK:
        return book[nibble]
    if nibble == 8:
        return 128
    size = 2 ** ((nibble & 7) - 1) if nibble & 7 else 0
    return (-size if nibble & 8 else size) & 255


def outputs(ctx: SimulatorContext, decoder: WeightDecoder, bits: int, width: int) -> list[int]:
    """The low ``width`` bits of every column, signed."""
    word = ctx.get(decoder.o)
    return [number(word >> bits * c & (1 << width) - 1, width, True) for c in range(COLUMNS)]


def wrapped(value: int, bits: int) -> int:
    return number(value & (1 << bits) - 1, bits, True)


@pytest.mark.parametrize("form", [WeightFormat.INT4, WeightFormat.LOG2, WeightFormat.CODEBOOK])
def test_nibbles_of_every_half(form: WeightFormat) -> None:
    """All nibbles in both halves, int and uint, with zero points at the ends."""
    spec = spec_of({form})
    decoder = WeightDecoder(spec)
    books = np.random.default_rng(1).integers(0, 256, (16, COLUMNS)).astype(np.uint8)

    async def bench(ctx: SimulatorContext) -> None:
        if form is WeightFormat.CODEBOOK:
            ctx.set(decoder.book_valid, 1)
            for k, row in enumerate(books):
                ctx.set(decoder.book_index, k)
                ctx.set(decoder.word, int.from_bytes(row.tobytes(), "little"))
                await ctx.tick()
            ctx.set(decoder.book_valid, 0)
        ctx.set(decoder.format, int(form))
        for high, signed, zero, nibble in product((0, 1), (0, 1), (-256, 0, 255), range(16)):
            nibbles = [(nibble + 5 * c) & 15 for c in range(COLUMNS)]
            byte = [n << 4 | (15 - n) if high else (15 - n) << 4 | n for n in nibbles]
            ctx.set(decoder.word, int.from_bytes(bytes(byte), "little"))
            ctx.set(decoder.high, high)
            ctx.set(decoder.w_signed, signed)
            ctx.set(decoder.w_zero, zero)
            await ctx.delay(1e-9)
            codes = [byte_of(form, n, signed, books[:, c].tolist()) for c, n in enumerate(nibbles)]
            want = [wrapped(number(code, 8, bool(signed)) - zero, 9) for code in codes]
            assert outputs(ctx, decoder, weight_bits(spec), 9) == want

    simulate(decoder, bench)


def test_bitmaps() -> None:
    """Codes go to the columns that have one, 0 to the others, whatever the zero point."""
    spec = spec_of({WeightFormat.BITMAP})
    decoder = WeightDecoder(spec)

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(decoder.format, int(WeightFormat.BITMAP))
        ctx.set(decoder.w_signed, 1)
        codes = bytes([7, 255, 128])
        ctx.set(decoder.codes, int.from_bytes(codes, "little"))
        for bits, zero in product(range(1 << COLUMNS), (-9, 0, 30)):
            ctx.set(decoder.bits, bits)
            ctx.set(decoder.w_zero, zero)
            await ctx.delay(1e-9)
            left = iter(codes)
            want = [
                wrapped(number(next(left), 8, True) - zero, 9) if bits >> c & 1 else 0
                for c in range(COLUMNS)
            ]
            assert outputs(ctx, decoder, weight_bits(spec), 9) == want

    simulate(decoder, bench)


def test_every_byte_in_every_precision() -> None:
    """A byte is one operand of 9 bits, or two of 5."""
    spec = spec_of(set(), Precision.W4A8, Precision.W4A4)
    decoder = WeightDecoder(spec)
    assert weight_bits(spec) == 10

    async def bench(ctx: SimulatorContext) -> None:
        for precision, signed, byte in product(Precision, (0, 1), range(256)):
            codes = bytes([byte, 255 - byte, byte ^ 0x55])
            zero = (-8, 7)[byte & 1] if signed else (0, 15)[byte & 1]
            ctx.set(decoder.precision, int(precision))
            ctx.set(decoder.w_signed, signed)
            ctx.set(decoder.w_zero, zero)
            ctx.set(decoder.word, int.from_bytes(codes, "little"))
            await ctx.delay(1e-9)
            if precision is Precision.W8A8:
                want = [wrapped(number(code, 8, bool(signed)) - zero, 9) for code in codes]
                assert outputs(ctx, decoder, 10, 9) == want
                continue
            pairs = [
                [wrapped(number(half, 4, bool(signed)) - zero, 5) for half in (c & 15, c >> 4)]
                for c in codes
            ]
            found = outputs(ctx, decoder, 10, 10)
            assert [[wrapped(v, 5), wrapped(v >> 5, 5)] for v in found] == pairs

    simulate(decoder, bench)
