"""The streams' registers: no two in one place, and layouts that name the bytes of a tensor."""

import numpy as np
import pytest

from systolith.spec.program import Buffer
from systolith.spec.stream import STREAM_LAYOUT, STREAM_REGISTERS, stream_layout


def test_registers_have_places_and_sentences() -> None:
    offsets = [r.offset for r in STREAM_REGISTERS]
    assert len(set(offsets)) == len(offsets) and not any(o % 4 for o in offsets)
    assert all(r.doc.endswith(".") for r in STREAM_REGISTERS)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((3, 4, 5), (20, 5, 1)), ((3, 4, 5), (32, 5, 1)), ((2, 3, 5), (64, 8, 1)),
        ((1, 1, 10), (10, 10, 1)),
    ],
)  # fmt: skip
def test_layout_names_every_byte_in_order(
    shape: tuple[int, int, int], strides: tuple[int, int, int]
) -> None:
    buffer = Buffer(base=0x40, shape=shape, strides=strides, dtype="int8")
    layout = stream_layout(buffer)
    assert tuple(layout) == STREAM_LAYOUT
    addresses = [
        layout["base"] + row * layout["row_stride"] + run * layout["run_stride"] + byte
        for row in range(layout["rows"])
        for run in range(layout["runs"])
        for byte in range(layout["run_bytes"])
    ]
    assert np.array_equal(addresses, buffer.addresses().ravel())


def test_bytes_of_other_types() -> None:
    floats = Buffer(base=0, shape=(1, 2, 3), strides=(24, 12, 4), dtype="float32")
    assert stream_layout(floats)["run_bytes"] == 24
    packed = Buffer(base=0, shape=(1, 2, 3), strides=(4, 2, 1), dtype="uint8", window=0)
    assert stream_layout(packed)["run_bytes"] == 4


def test_not_in_external_memory() -> None:
    buffer = Buffer(base=0, shape=(1, 1, 1), strides=(1, 1, 1), dtype="int8", external=True)
    with pytest.raises(ValueError, match="must be on chip, not in external memory"):
        stream_layout(buffer)
