"""Programs as files: they survive, and damaged ones are one-line errors."""

import random

import numpy as np
import pytest

from systolith.spec.commands import Opcode, encode
from systolith.spec.configuration import PRESETS
from systolith.spec.program import Buffer, Layer, Program, ProgramError

RNG = np.random.default_rng(5)


def _program() -> Program:
    spec = PRESETS["tiny"]
    return Program(
        spec=spec,
        commands=np.array(encode(Opcode.FILL) + encode(Opcode.END), np.uint32),
        weights=RNG.integers(0, 256, (8, 4), dtype=np.uint8),
        parameters=RNG.integers(0, 1 << 32, (3, 1, 8), dtype=np.uint32),
        tables=RNG.integers(0, 256, (4, 256), dtype=np.uint8),
        buffers={"in": Buffer(base=3, shape=(2, 3, 4), strides=(64, 8, 1), dtype="uint8")},
        inputs=("in",),
        outputs=(),
        layers=(Layer(name="a", op="conv2d", tensor="t", stamp=0, macs=7, fused=("b", "c")),),
    )


def test_a_program_survives_its_file() -> None:
    program = _program()
    data = program.to_bytes()
    back = Program.from_bytes(data)
    for name in ("spec", "buffers", "inputs", "outputs", "layers"):
        assert getattr(back, name) == getattr(program, name)
    for name in ("commands", "weights", "parameters", "tables"):
        assert np.array_equal(getattr(back, name), getattr(program, name))
        assert getattr(back, name).dtype == getattr(program, name).dtype
    assert back.to_bytes() == data


def test_addresses_follow_the_strides() -> None:
    buffer = _program().buffers["in"]
    addresses = buffer.addresses()
    assert addresses.shape == buffer.shape
    assert addresses[1, 2, 3] == 3 + 64 + 2 * 8 + 3


def test_every_truncation_is_an_error() -> None:
    data = _program().to_bytes()
    for size in [*range(64), *range(64, len(data), 37), len(data) - 1]:
        with pytest.raises(ProgramError):
            Program.from_bytes(data[:size])


def test_every_damaged_byte_is_an_error() -> None:
    data = bytearray(_program().to_bytes())
    for position in random.Random(7).sample(range(len(data)), 300):
        data[position] ^= 0x10
        with pytest.raises(ProgramError) as caught:
            Program.from_bytes(bytes(data))
        assert "\n" not in str(caught.value)
        data[position] ^= 0x10
    Program.from_bytes(bytes(data))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "file must start with 'SYSTOLTH': not a Systolith program"),
        (b"SYSTOLTH" + bytes(12), "program version must be 2, not 0"),
        (
            b"SYSTOLTH" + b"\x02\0\0\0" + bytes(8),
            "program is damaged: its checksum does not match",
        ),
    ],
)
def test_texts(data: bytes, text: str) -> None:
    with pytest.raises(ProgramError) as caught:
        Program.from_bytes(data)
    assert str(caught.value) == text
