"""Weights of two of four through the decoder and the loader, against the text of the format."""

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.hw.weight_decoder import WeightDecoder, weight_bits
from systolith.hw.weights import WeightLoader
from systolith.sim.pysim import simulate
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, encode
from systolith.spec.precision import Precision, WeightFormat

DENSE, TWO_OF_FOUR = WeightFormat.DENSE, WeightFormat.TWO_OF_FOUR
Fields = dict[str, int]


def spec_of(rows: int, columns: int, *more: WeightFormat | Precision) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows,
            columns=columns,
            weight_formats=frozenset(
                {DENSE, TWO_OF_FOUR, *(m for m in more if isinstance(m, WeightFormat))}
            ),
            precisions=frozenset({Precision.W8A8, *(m for m in more if isinstance(m, Precision))}),
        ),
        memory=MemorySpec(weight_bytes=columns * 200, parameter_channels=4),
        post=PostSpec(lanes=1),
    )


def columns_of(spec: AcceleratorSpec, word: int) -> np.ndarray:
    """[columns, 2]: 9-bit operand and place."""
    bits = weight_bits(spec)
    raw = np.array([word >> bits * c & (1 << bits) - 1 for c in range(spec.array.columns)])
    code = raw & 511
    return np.stack([code - (code >> 8 << 9), raw >> bits - 2], axis=-1)


def tile_at(memory: np.ndarray, base: int, rows: int, fields: Fields) -> np.ndarray:
    """[rows, columns, 2]: operands and places of a tile that begins at word ``base``."""
    sparse = fields["w_format"] == TWO_OF_FOUR
    words = memory[base + (-(-rows // 4) if sparse else 0) :][:rows]
    codes = (words.view(np.int8) if fields["w_signed"] else words).astype(int) - fields["w_zero"]
    row = np.arange(rows)
    places = np.broadcast_to(row[:, None] & 1, codes.shape)
    if sparse:
        places = memory[base + row // 4] >> (2 * (row % 4))[:, None] & 3
    return np.stack([(codes + 256) % 512 - 256, places], axis=-1)


def expected(memory: np.ndarray, rows: int, fields: Fields) -> list[np.ndarray]:
    """Tiles in the order of a command."""
    size = rows + (-(-rows // 4) if fields["w_format"] == TWO_OF_FOUR else 0)
    held = fields["w_hold"]
    count = 1 if held else fields["n_count"] * fields["ky_count"] * fields["kc_count"]
    tiles = [tile_at(memory, fields["w_base"] + k * size, rows, fields) for k in range(count)]
    return tiles * (1 if held else fields["t_count"])


def draw(rng: np.random.Generator) -> Fields:
    signed = int(rng.integers(2))
    fields = {f"{n}_count": int(rng.integers(1, 3)) for n in ("t", "n", "ky", "kc")}
    return fields | {
        "w_format": int(rng.choice([DENSE, TWO_OF_FOUR])), "w_hold": int(rng.integers(5) == 0),
        "w_signed": signed, "w_base": int(rng.integers(100)),
        "w_zero": int(rng.integers(-128, 128) if signed else rng.integers(0, 256)),
    }  # fmt: skip


def switches(
    spec: AcceleratorSpec, commands: list[Fields], memory: np.ndarray, waits: list[int]
) -> list[int]:
    """Compare every tile in the array's shadow weights; return the cycles of the switches."""
    loader, rows = WeightLoader(spec), spec.array.rows
    tiles = [tile for c in commands for tile in expected(memory, rows, c)]
    cycles: list[int] = []

    async def push(ctx: SimulatorContext) -> None:
        for command in commands:
            words = encode(Opcode.MATMUL, **command)
            ctx.set(loader.i, sum(w << 32 * i for i, w in enumerate(words)))
            ctx.set(loader.push, 1)
            await ctx.tick().until(loader.push_ready)
            ctx.set(loader.push, 0)

    async def bench(ctx: SimulatorContext) -> None:
        for i, word in enumerate(memory):
            ctx.set(loader.memory.data[i], int.from_bytes(word.tobytes(), "little"))
        shadow, waited, compared, cycle = [0] * rows, 0, 0, 0
        while compared < len(tiles):
            ready = bool(ctx.get(loader.ready)) and len(cycles) < len(tiles)
            switch = ready and waited >= waits[len(cycles)]
            waited = waited + 1 if ready and not switch else 0
            ctx.set(loader.i_switch, switch)
            if switch:
                cycles.append(cycle)
            # The array sees switches two cycles after the loader, as it does the weights.
            if compared < len(cycles) and cycles[compared] == cycle - 2:
                got = np.stack([columns_of(spec, word) for word in shadow])
                np.testing.assert_array_equal(got, tiles[compared], err_msg=f"tile {compared}")
                compared += 1
            enables, above = ctx.get(loader.o_shift), [ctx.get(loader.o_w), *shadow]
            shadow = [above[r] if enables >> r & 1 else shadow[r] for r in range(rows)]
            cycle += 1
            assert cycle < 5000
            await ctx.tick()
        ctx.set(loader.i_switch, 0)
        await ctx.tick().repeat(3)
        assert not ctx.get(loader.busy)

    simulate(loader, push, bench)
    return cycles


@pytest.mark.parametrize("slow", [0, 1])
@pytest.mark.parametrize(
    ("rows", "columns", "more"),
    [
        (2, 1, ()),
        (4, 3, ()),
        (6, 2, (Precision.W4A8, Precision.W4A4)),
        (10, 3, (WeightFormat.CODEBOOK, WeightFormat.BITMAP, WeightFormat.INT4)),
    ],
)
def test_random_commands(rows: int, columns: int, more: tuple, slow: int) -> None:
    """Dense and sparse commands one after the other, switched at once or after random waits."""
    rng = np.random.default_rng([rows, slow])
    spec = spec_of(rows, columns, *more)
    memory = rng.integers(0, 256, (200, columns)).astype(np.uint8)
    commands = [draw(rng) for _ in range(8)]
    assert {c["w_format"] for c in commands} == {DENSE, TWO_OF_FOUR}
    waits = (rng.integers(0, 3 * rows, 500) * slow).tolist()
    switches(spec, commands, memory, waits)


@pytest.mark.parametrize(("rows", "words"), [(2, 1), (4, 1), (6, 2), (8, 2), (10, 3)])
def test_places_take_cycles_of_their_own(rows: int, words: int) -> None:
    """A tile is loaded in rows + ceil(rows / 4) cycles."""
    rng = np.random.default_rng(rows)
    memory = rng.integers(0, 256, (200, 2)).astype(np.uint8)
    fields = {"t_count": 2, "n_count": 2, "ky_count": 1, "kc_count": 2, "w_hold": 0}
    fields |= {"w_format": int(TWO_OF_FOUR), "w_signed": 1, "w_base": 3, "w_zero": 0}
    cycles = switches(spec_of(rows, 2), [fields], memory, [0] * 8)
    assert np.diff(cycles).tolist() == [rows + words] * 7


def test_places_are_read_while_the_tile_before_waits() -> None:
    """So tiles of more vectors than that follow without a bubble: only rows follow a switch."""
    rows = 8
    memory = np.random.default_rng(1).integers(0, 256, (200, 2)).astype(np.uint8)
    fields = {"t_count": 1, "n_count": 4, "ky_count": 1, "kc_count": 1, "w_hold": 0}
    fields |= {"w_format": int(TWO_OF_FOUR), "w_signed": 0, "w_base": 0, "w_zero": 9}
    cycles = switches(spec_of(rows, 2), [fields], memory, [5] * 4)
    assert np.diff(cycles).tolist() == [rows + 5] * 3


@pytest.mark.parametrize("rows", [2, 6])
def test_every_place_of_every_row(rows: int) -> None:
    """All bytes of places; of other formats a row's own activation, whatever is stored."""
    columns = 4
    spec = spec_of(rows, columns, WeightFormat.INT4)
    decoder = WeightDecoder(spec)

    async def bench(ctx: SimulatorContext) -> None:
        for first in range(0, 256, columns):
            stored = [[(first + c + 85 * k) & 255 for c in range(columns)] for k in range(2)]
            ctx.set(decoder.place_valid, 1)
            for k in range(-(-rows // 4)):
                ctx.set(decoder.place_index, k)
                ctx.set(decoder.word, int.from_bytes(bytes(stored[k]), "little"))
                await ctx.tick()
            ctx.set(decoder.place_valid, 0)
            for row in range(rows):
                ctx.set(decoder.row, row)
                for form in (DENSE, TWO_OF_FOUR, WeightFormat.INT4):
                    ctx.set(decoder.format, int(form))
                    await ctx.delay(1e-9)
                    got = columns_of(spec, ctx.get(decoder.o))[:, 1].tolist()
                    places = [stored[row // 4][c] >> 2 * (row % 4) & 3 for c in range(columns)]
                    assert got == (places if form is TWO_OF_FOUR else [row & 1] * columns)

    simulate(decoder, bench)
