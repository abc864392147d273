"""MATMULs and STOREs of nibbles that cannot run; test_execute has those that can."""

import re

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, encode
from systolith.spec.precision import Precision
from systolith.spec.program import Buffer, Program, ProgramError
from systolith.spec.requant import RequantMode

W8A8, W4A8, W4A4 = Precision
STORE = {
    "y_base": 512, "mode": int(RequantMode.FIXED), "channels": 4, "tile_channels": 4, "high": 9
}  # fmt: skip


def run(commands: list[tuple[Opcode, dict[str, int]]], *precisions: Precision) -> None:
    """Run commands on a 3 x 4 array with these precisions besides W8A8."""
    spec = AcceleratorSpec(
        array=ArraySpec(
            rows=3, columns=4, depthwise_lines=1, precisions=frozenset({W8A8, *precisions})
        ),
        memory=MemorySpec(activation_bytes=1024, weight_bytes=4 * 16),
        post=PostSpec(lanes=2),
    )
    words = [w for opcode, values in commands for w in encode(opcode, **values)]
    program = Program(
        spec=spec,
        commands=np.array(words + encode(Opcode.END), np.uint32),
        weights=np.zeros((16, 4), np.uint8),
        parameters=np.zeros((8, 2, 8), np.uint32),
        tables=np.zeros((0, 256), np.uint8),
        buffers={"x": Buffer(base=0, shape=(1, 1, 8), strides=(8, 8, 1), dtype="uint8")},
        inputs=("x",),
        outputs=("x",),
        layers=(),
    )
    execute(program, {"x": np.zeros((1, 1, 8), np.uint8)})


def matmul(precision: Precision, **fields: int) -> tuple[Opcode, dict[str, int]]:
    return Opcode.MATMUL, {"precision": int(precision), **fields}


def store(**fields: int) -> tuple[Opcode, dict[str, int]]:
    return Opcode.STORE, STORE | fields


LINES = {
    "depthwise": 1, "mx_count": 2, "oy_count": 1, "ox_count": 1, "x_step": 1, "y_step": 1
}  # fmt: skip


@pytest.mark.parametrize(("commands", "precisions", "message"), [
    ([matmul(W4A8)], [], "0 (MATMUL): precision must be one of W8A8 on this accelerator, not 1"),
    ([matmul(W4A8)], [W4A4],
     "0 (MATMUL): precision must be one of W8A8, W4A4 on this accelerator, not 1"),
    ([(Opcode.MATMUL, {"precision": 3})], [W4A8, W4A4],
     "0 (MATMUL): precision must be one of W8A8, W4A8, W4A4 on this accelerator, not 3"),
    ([matmul(W4A8, w_signed=1, w_zero=8)], [W4A8],
     "0 (MATMUL): w_zero of nibbles must be -8 to 7, not 8"),
    ([matmul(W4A8, w_signed=1, w_zero=-9)], [W4A8],
     "0 (MATMUL): w_zero of nibbles must be -8 to 7, not -9"),
    ([matmul(W4A4, w_zero=16)], [W4A4],
     "0 (MATMUL): w_zero of nibbles must be 0 to 15, not 16"),
    ([matmul(W4A4, w_zero=-1)], [W4A4],
     "0 (MATMUL): w_zero of nibbles must be 0 to 15, not -1"),
    ([matmul(W4A4, **LINES)], [W4A4], "0 (MATMUL): precision must be W8A8 if depthwise is 1"),
    ([matmul(W8A8), store(tile_channels=5)], [W4A4],
     "1 (STORE): tile_channels must be between 1 and 4, not 5"),
    ([matmul(W4A8), store(tile_channels=9)], [W4A8],
     "1 (STORE): tile_channels must be between 1 and 8, not 9"),
    ([matmul(W8A8), store(tile_channels=5)], [W4A8],
     "1 (STORE): tile_channels must be at most 4 after a MATMUL without w4a8, not 5"),
    ([matmul(W4A8), matmul(W4A4), store(tile_channels=8, channels=8, mx_count=2)], [W4A8, W4A4],
     "2 (STORE): tile_channels must be at most 4 after a MATMUL without w4a8, not 8"),
    ([matmul(W8A8, partial=1), matmul(W4A8, accumulate=1)], [W4A8],
     "1 (MATMUL): partial sums must be of 8 channels, not 4"),
    ([matmul(W8A8), store(packed=1)], [W4A8],
     "1 (STORE): packed must be 0 on an accelerator without w4a4, not 1"),
])  # fmt: skip
def test_commands_that_cannot_run(
    commands: list[tuple[Opcode, dict[str, int]]], precisions: list[Precision], message: str
) -> None:
    with pytest.raises(ProgramError, match=f"^{re.escape('command ' + message)}$"):
        run(commands, *precisions)


def test_precisions_of_one_chain() -> None:
    """Parts of a sum may differ in precision, if their vectors have as many channels."""
    run([matmul(W8A8, partial=1), matmul(W4A4, accumulate=1), store()], W4A8, W4A4)
