"""The buffer of bitmaps: rows out of bytes, whenever words arrive and rows are taken."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.weight_unpacker import WeightUnpacker
from systolith.sim.pysim import simulate


def tiles_of(rng: np.random.Generator, columns: int, count: int) -> tuple[np.ndarray, list]:
    """Words of random tiles, and their rows: (bits, codes, last of its tile)."""
    stream, rows = bytearray(), []
    for _ in range(count):
        size = int(rng.integers(1, 6))
        for i in range(size):
            density = rng.choice([0, 0.1, 0.5, 0.9, 1])
            bits = (rng.random(columns) < density).astype(np.uint8)
            codes = rng.integers(0, 256, int(bits.sum())).astype(np.uint8)
            stream += np.packbits(bits, bitorder="little").tobytes() + codes.tobytes()
            rows.append((bits, codes, i == size - 1))
        stream += rng.bytes(-len(stream) % columns)
    return np.frombuffer(bytes(stream), np.uint8).reshape(-1, columns), rows


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 8, 9, 16])
@pytest.mark.parametrize("reads, takes", [(1.0, 1.0), (1.0, 0.4), (0.4, 1.0), (0.6, 0.6)])
def test_rows(columns: int, reads: float, takes: float) -> None:
    """Every row comes out whole, also after a flush in the middle of everything."""
    rng = np.random.default_rng(columns)
    words, rows = tiles_of(rng, columns, 12)
    unpacker = WeightUnpacker(columns)

    async def once(ctx: SimulatorContext, until: int) -> None:
        position, taken, data = 0, 0, None
        while taken < until:
            read = bool(ctx.get(unpacker.room)) and rng.random() < reads
            ctx.set(unpacker.read, read)
            ctx.set(unpacker.data, int.from_bytes(rng.bytes(columns) if data is None else data))
            data = None
            if read:
                word = words[position] if position < len(words) else words[0]
                data, position = word[::-1].tobytes(), position + 1
            ctx.set(unpacker.last, rows[taken][2])
            take = bool(ctx.get(unpacker.ready)) and rng.random() < takes
            ctx.set(unpacker.take, take)
            await ctx.tick()
            if take:
                bits, codes, _ = rows[taken]
                got = np.array([ctx.get(unpacker.o_bits) >> c & 1 for c in range(columns)])
                np.testing.assert_array_equal(got, bits, err_msg=f"row {taken}")
                found = ctx.get(unpacker.o_codes) & (1 << 8 * len(codes)) - 1
                assert found == int.from_bytes(codes.tobytes(), "little"), f"row {taken}"
                taken += 1
        ctx.set(unpacker.take, 0)
        ctx.set(unpacker.flush, 1)
        await ctx.tick()
        ctx.set(unpacker.flush, 0)

    async def bench(ctx: SimulatorContext) -> None:
        for until in (3, 1, 7, len(rows)):
            await once(ctx, until)

    simulate(unpacker, bench)


def test_columns() -> None:
    with pytest.raises(ValueError, match="columns must be between 1 and 64, not 65"):
        WeightUnpacker(65)
