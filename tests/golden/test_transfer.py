"""LOAD in golden: words must lie on the bus as the hardware takes them."""

import numpy as np
import pytest

from systolith.golden.memory import Chip
from systolith.golden.transfer import External, load
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, ExternalSpec
from systolith.spec.commands import Opcode, Target, decode_one, encode
from systolith.spec.program import Program, ProgramError


@pytest.mark.parametrize(
    ("target", "form", "data_bytes", "part"),
    [
        (Target.ACTIVATIONS, 0, 16, 1), (Target.TABLES, 0, 16, 1), (Target.COMMANDS, 0, 16, 4),
        (Target.WEIGHTS, 0, 4, 4), (Target.WEIGHTS, 0, 16, 16), (Target.WEIGHTS, 0, 32, 16),
        (Target.PARAMETERS, 0, 8, 8), (Target.PARAMETERS, 0, 32, 16),
        (Target.PARAMETERS, 1, 32, 32), (Target.PARAMETERS, 2, 8, 8),
        (Target.PARAMETERS, 2, 32, 16), (Target.PARAMETERS, 3, 4, 4),
        (Target.PARAMETERS, 3, 16, 16), (Target.PARAMETERS, 3, 32, 32),
    ],
)  # fmt: skip
def test_alignment(target: Target, form: int, data_bytes: int, part: int) -> None:
    """Multiples of a beat or of a word (of a channel), whichever is less."""
    spec = AcceleratorSpec(
        array=ArraySpec(rows=32, columns=16), external=ExternalSpec(data_bytes=data_bytes)
    )
    program = Program(
        spec=spec, commands=np.zeros(0, np.uint32), weights=np.zeros((0, 16), np.uint8),
        parameters=np.zeros((0, 8, 8), np.uint32), tables=np.zeros((0, 256), np.uint8), buffers={},
        inputs=(), outputs=(), layers=(), external_bytes=1024,
    )  # fmt: skip
    chip = Chip(program)
    external = External(np.arange(1024, dtype=np.uint8), 1024)
    for address in range(0, 64, 1 if part < 8 else 4):
        words = encode(Opcode.LOAD, e_base=address, length=512, target=int(target), form=form)
        command = decode_one(words, 0)
        if address % part:
            with pytest.raises(ProgramError, match=f"must be a multiple of {part}, not {address}"):
                load(chip, external, command)
        else:
            load(chip, external, command)
