"""Encoders of weights: golden decodes what they make, and so does the check of programs."""

import numpy as np
import pytest

from systolith.compiler.weight_formats import ENCODERS, decoded_words
from systolith.golden.weights import weight_tiles
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, decode_one, encode
from systolith.spec.precision import WeightFormat

SHAPES = [(1, 1), (3, 5), (4, 4), (5, 3), (16, 16), (2, 9)]
POWERS = [0, 1, 2, 4, 8, 16, 32, 64, -128, -1, -2, -4, -8, -16, -32, -64]


def drawn(rng: np.random.Generator, form: WeightFormat, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that a format holds exactly."""
    if form is WeightFormat.INT4:
        return rng.integers(0, 16, shape) + int(rng.integers(-128, 113))
    if form is WeightFormat.LOG2:
        return rng.choice(POWERS, shape)
    if form is WeightFormat.CODEBOOK:  # 16 numbers for every column, of every channel tile or all
        held = (1 if rng.integers(2) else shape[0], 1, 1, shape[3], 16)
        books = np.broadcast_to(rng.integers(-128, 128, held), (*shape, 16))
        chosen = rng.integers(0, 16, (*shape, 1))
        return np.take_along_axis(books, chosen, axis=-1)[..., 0]
    numbers = rng.integers(-128, 128, shape)
    return numbers if form is WeightFormat.DENSE else numbers * (rng.random(shape) < 0.3)


@pytest.mark.parametrize("form", [f for f in WeightFormat if f is not WeightFormat.TWO_OF_FOUR])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_encoded_weights_are_decoded(form: WeightFormat, rows: int, columns: int) -> None:
    """Random tiles between other words, with any zero point."""
    for seed in range(12):
        rng = np.random.default_rng([seed, form])
        n, passes = (int(v) for v in rng.integers(1, 4, 2))
        numbers = drawn(rng, form, (n, passes, rows, columns))
        signed = int(rng.integers(2))
        codes = numbers + (0 if signed else 128)
        values = {"w_signed": signed, "w_zero": 0 if signed else 128, "w_hold": 0}
        counts = {"n_count": n, "ky_count": passes, "t_count": 2}
        encoded = ENCODERS[form](codes.astype(np.uint8), values)
        assert encoded is not None, f"seed {seed}"
        base = int(rng.integers(5))
        junk = rng.integers(0, 256, (40, columns)).astype(np.uint8)
        memory = np.concatenate([junk[:base], encoded.words, junk[base:]])
        fields = values | counts | {"w_base": base} | encoded.fields
        command = decode_one(encode(Opcode.MATMUL, **fields), 0)
        spec = AcceleratorSpec(
            array=ArraySpec(
                rows=rows,
                columns=columns,
                weight_formats=frozenset(WeightFormat) - {WeightFormat.TWO_OF_FOUR},
            ),
            memory=MemorySpec(weight_bytes=columns * 4096),
            post=PostSpec(lanes=1),
        )
        found = weight_tiles(spec, memory, command)
        np.testing.assert_array_equal(found.reshape(numbers.shape), numbers, f"seed {seed}")
        dense, read = decoded_words(memory, command.values, rows)
        assert read == len(encoded.words)
        signs = dense.view(np.int8) if command["w_signed"] else dense
        again = signs.astype(int).reshape(numbers.shape) - command["w_zero"]
        np.testing.assert_array_equal(again, numbers, f"seed {seed}")


@pytest.mark.parametrize(
    ("form", "numbers"),
    [
        (WeightFormat.INT4, [-8, 8]),
        (WeightFormat.LOG2, [-1, 3]),
        (WeightFormat.CODEBOOK, list(range(17))),
    ],
)
def test_weights_that_a_format_does_not_hold(form: WeightFormat, numbers: list[int]) -> None:
    tiles = np.array(numbers, np.int8).view(np.uint8).reshape(1, 1, -1, 1)
    assert ENCODERS[form](tiles, {"w_signed": 1, "w_zero": 0}) is None
    assert ENCODERS[form](tiles[:, :, :-1], {"w_signed": 1, "w_zero": 0}) is not None


def test_words_behind_the_end() -> None:
    """A damaged command is decoded to something: that its words exist is checked elsewhere."""
    memory = np.full((4, 3), 255, np.uint8)
    for form in set(WeightFormat) - {WeightFormat.TWO_OF_FOUR}:
        command = decode_one(
            encode(Opcode.MATMUL, w_format=int(form), w_base=3, n_count=4, kc_count=3), 0
        )
        _, read = decoded_words(memory, command.values, 5)
        assert 3 + read > len(memory)
