"""Compressed weights through the loader, against golden's decoders."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import SimulatorContext

from systolith.golden.weights import weight_tiles
from systolith.hw.weight_decoder import weight_bits
from systolith.hw.weights import WeightLoader
from systolith.sim.pysim import simulate
from systolith.sim.stress_weights import draw_format, most_words, weight_image
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, decode_one, encode
from systolith.spec.precision import NIBBLE_BITS, Precision, WeightFormat

Fields = dict[str, int]


def spec_of(
    rows: int, columns: int, formats=tuple(WeightFormat)[:5], precisions=()
) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows,
            columns=columns,
            weight_formats=frozenset({WeightFormat.DENSE, *formats}),
            precisions=frozenset({Precision.W8A8, *precisions}),
        ),
        memory=MemorySpec(weight_bytes=columns * max(16, 24 * rows + 64), parameter_channels=4),
        post=PostSpec(lanes=1),
    )


def sequence(spec: AcceleratorSpec, memory: np.ndarray, fields: Fields) -> np.ndarray:
    """Tiles in the order of a command."""
    command = decode_one(encode(Opcode.MATMUL, **fields), 0)
    tiles = weight_tiles(spec, memory, command).astype(int)
    if fields["w_hold"]:
        return tiles
    return np.concatenate([tiles] * fields["t_count"])


def operands(spec: AcceleratorSpec, word: int, precision: int) -> np.ndarray:
    """[columns] or [columns, 2] of what the loader sends."""
    bits = weight_bits(spec)
    raw = np.array([word >> bits * c & (1 << bits) - 1 for c in range(spec.array.columns)])
    size = 9 if precision == Precision.W8A8 else NIBBLE_BITS
    parts = np.stack([raw, raw >> size], axis=-1) & (1 << size) - 1
    parts -= parts >> (size - 1) << size
    return parts[..., 0] if precision == Precision.W8A8 else parts


def run(spec: AcceleratorSpec, commands: list[Fields], memory: np.ndarray, wait) -> list:
    """The array's shadow weights at every switch, ``wait(tile)`` cycles after they are ready."""
    loader = WeightLoader(spec)
    precisions = [c.get("precision", 0) for c in commands for _ in sequence(spec, memory, c)]
    switched: list[tuple[np.ndarray, int]] = []

    async def push(ctx: SimulatorContext) -> None:
        for command in commands:
            words = encode(Opcode.MATMUL, **command)
            ctx.set(loader.i, sum(w << 32 * i for i, w in enumerate(words)))
            ctx.set(loader.push, 1)
            await ctx.tick().until(loader.push_ready)
            ctx.set(loader.push, 0)

    async def bench(ctx: SimulatorContext) -> None:
        for i, row in enumerate(memory):
            ctx.set(loader.memory.data[i], int.from_bytes(row.tobytes(), "little"))
        shadow = [0] * spec.array.rows
        waited, due, cycle = 0, [], 0
        while len(switched) < len(precisions):
            ready = bool(ctx.get(loader.ready))
            switch = ready and waited >= wait(len(switched) + len(due))
            waited = waited + 1 if ready and not switch else 0
            ctx.set(loader.i_switch, switch)
            if switch:
                due.append(cycle)
            # The array sees switches two cycles after the loader, as it does the weights.
            if due and due[0] == cycle - 2:
                kind = precisions[len(switched)]
                tile = np.stack([operands(spec, word, kind) for word in shadow])
                switched.append((tile, due.pop(0)))
            enables, above = ctx.get(loader.o_shift), [ctx.get(loader.o_w), *shadow]
            shadow = [above[r] if enables >> r & 1 else shadow[r] for r in range(len(shadow))]
            cycle += 1
            assert cycle < 20_000
            await ctx.tick()
        ctx.set(loader.i_switch, 0)
        await ctx.tick().repeat(3)
        assert not ctx.get(loader.busy)

    simulate(loader, push, bench)
    return switched


def draw(rng: np.random.Generator, spec: AcceleratorSpec) -> Fields:
    while True:
        signed = int(rng.integers(2))
        fields = {f"{n}_count": int(rng.integers(1, 4)) for n in ("t", "n", "ky", "kc")}
        fields |= {
            "kx_count": 1, "w_signed": signed, "w_hold": int(rng.integers(5) == 0),
            "w_zero": int(rng.integers(-128, 128) if signed else rng.integers(0, 256)),
            "precision": int(rng.choice(sorted(spec.array.precisions))),
        }  # fmt: skip
        fields |= draw_format(rng, spec, fields)
        if most_words(spec, fields) <= spec.weight_words:
            return fields


def compare(spec: AcceleratorSpec, seed: int, slow: int, commands: list[Fields] | None = None):
    """Load random commands, compare every tile, and return the cycles of the switches."""
    rng = np.random.default_rng(seed)
    memory = weight_image(rng, spec)
    commands = commands or [draw(rng, spec) for _ in range(6)]
    waits = (rng.integers(0, 3 * spec.array.rows, 1000) * slow).tolist()
    switched = run(spec, commands, memory, lambda k: waits[k])
    expected = [tile for c in commands for tile in sequence(spec, memory, c)]
    for k, ((got, _), want) in enumerate(zip(switched, expected, strict=True)):
        np.testing.assert_array_equal(got, want, err_msg=f"tile {k} of seed {seed}, {commands}")
    return np.array([cycle for _, cycle in switched])


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (4, 4), (5, 3), (2, 9)])
@pytest.mark.parametrize("slow", [0, 1])
def test_every_format(rows: int, columns: int, slow: int) -> None:
    """Commands of random formats one after the other, switched at once or after random waits."""
    compare(spec_of(rows, columns), 10 * rows + slow, slow)


@pytest.mark.parametrize("form", list(WeightFormat)[1:5])
def test_one_format(form: WeightFormat) -> None:
    """A decoder that is built alone."""
    compare(spec_of(3, 4, (form,)), int(form), 0)


@pytest.mark.slow
def test_large_tiles() -> None:
    compare(spec_of(16, 16), 5, 0)


def test_nibbles() -> None:
    """Two operands of 5 bits a byte, between commands of compressed bytes."""
    precisions = (Precision.W4A8, Precision.W4A4)
    compare(spec_of(3, 4, (WeightFormat.INT4,), precisions), 3, 1)
    compare(spec_of(4, 3, (), precisions), 4, 0)


@pytest.mark.parametrize("form", [WeightFormat.INT4, WeightFormat.LOG2])
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_a_tile_takes_rows_cycles(form: WeightFormat, rows: int) -> None:
    """A row a cycle, though a word holds two."""
    spec = spec_of(rows, 3, (form,))
    counts = {"t_count": 2, "n_count": 3, "ky_count": 2, "kx_count": 1, "kc_count": 2}
    fields = counts | {"w_hold": 0, "w_format": int(form), "w_base": 3, "w_zero": 0, "w_signed": 1}
    assert set(np.diff(compare(spec, 1, 0, [fields]))) == {rows}


@pytest.mark.parametrize("hold", [0, 1])
def test_a_codebook_takes_16_cycles(hold: int) -> None:
    """In front of every channel tile, or once."""
    spec = spec_of(4, 3, (WeightFormat.CODEBOOK,))
    fields = {"t_count": 1, "n_count": 3, "ky_count": 1, "kx_count": 1, "kc_count": 2}
    fields |= {"w_hold": 0, "w_format": int(WeightFormat.CODEBOOK), "book_hold": hold}
    fields |= {"w_base": 0, "w_zero": 0, "w_signed": 1}
    between = 4 if hold else 20
    cycles = compare(spec, 1, 0, [fields])
    assert np.diff(cycles).tolist() == [4, between, 4, between, 4]


def test_sparse_bitmaps_take_rows_cycles() -> None:
    """Tiles of few weights follow each other without a bubble."""
    spec = spec_of(8, 8, (WeightFormat.BITMAP,))
    rng = np.random.default_rng(1)
    stream = b"".join(bytes([1 << rng.integers(8), rng.integers(256)] * 8) for _ in range(6))
    memory = np.zeros((spec.weight_words, 8), np.uint8)
    memory[:12] = np.frombuffer(stream, np.uint8).reshape(12, 8)
    fields = {"t_count": 1, "n_count": 3, "ky_count": 2, "kx_count": 1, "kc_count": 1}
    fields |= {"w_hold": 0, "w_format": int(WeightFormat.BITMAP), "w_base": 0}
    fields |= {"w_zero": 0, "w_signed": 1}
    switched = run(spec, [fields], memory, lambda _: 0)
    assert set(np.diff([cycle for _, cycle in switched])) == {8}
    want = sequence(spec, memory, fields)
    assert np.count_nonzero(want) >= 40
    np.testing.assert_array_equal([tile for tile, _ in switched], want)


def test_precision_and_format_are_independent_fields() -> None:
    """A program of another accelerator is refused by the definition."""
    spec = spec_of(3, 3, ())
    fields = draw(np.random.default_rng(0), spec) | {"w_format": int(WeightFormat.LOG2)}
    with pytest.raises(ValueError, match="w_format must be one of DENSE on this accelerator"):
        sequence(spec, np.zeros((64, 3), np.uint8), fields)
    mixed = replace(spec_of(3, 3), array=replace(spec.array, precisions=frozenset(Precision)))
    with pytest.raises(ValueError, match="w_format must be one of"):
        sequence(mixed, np.zeros((64, 3), np.uint8), fields | {"precision": 1})
