"""Parts in which LOAD writes words."""

import pytest

from systolith.hw.words import parameter_data_bits, weight_part_bytes
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)


@pytest.mark.parametrize(
    ("columns", "data_bytes", "part"),
    [(1, 4, 4), (1, 32, 4), (5, 4, 4), (5, 32, 8), (16, 8, 8), (16, 16, 16), (33, 32, 32)],
)
def test_weight_parts(columns: int, data_bytes: int, part: int) -> None:
    """A beat, or a word of the next power of two of bytes, at least 4, whichever is less."""
    spec = AcceleratorSpec(
        array=ArraySpec(rows=32, columns=columns),
        memory=MemorySpec(weight_bytes=columns * 64),
        post=PostSpec(lanes=1),
        external=ExternalSpec(data_bytes=data_bytes),
    )
    assert weight_part_bytes(spec) == part


@pytest.mark.parametrize(
    ("lanes", "data_bytes", "words"), [(8, 0, 8), (8, 4, 8), (3, 16, 8), (6, 16, 9), (4, 32, 11)]
)
def test_parameter_data(lanes: int, data_bytes: int, words: int) -> None:
    """Seven words, and the biases of a beat that divide a lane word."""
    spec = AcceleratorSpec(
        array=ArraySpec(rows=32, columns=lanes),
        memory=MemorySpec(weight_bytes=lanes * 64, parameter_channels=lanes * 16),
        post=PostSpec(lanes=lanes),
        external=ExternalSpec(data_bytes=data_bytes),
    )
    assert parameter_data_bits(spec) == 32 * words
