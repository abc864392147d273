"""The checker on programs of nibbles: none of the generator's is wrong, changed ones are found."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.footprint import Spans, accesses
from systolith.sim.stress import random_program
from systolith.sim.stress_nibbles import with_nibbles
from systolith.sim.stress_specs import random_spec
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, decode, encode
from systolith.spec.precision import Precision
from systolith.spec.program import Program

W8A8, W4A8, W4A4 = Precision


def spec_of(*precisions: Precision) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=ArraySpec(rows=3, columns=4, precisions=frozenset({W8A8, *precisions})),
        memory=MemorySpec(activation_bytes=512, weight_bytes=4 * 36, parameter_channels=32),
        post=PostSpec(lanes=2),
    )


def program_of(spec: AcceleratorSpec, *commands: tuple[Opcode, dict[str, int]]) -> Program:
    words = [w for opcode, values in commands for w in encode(opcode, **values)]
    return Program(
        spec=spec,
        commands=np.array(words + encode(Opcode.END), np.uint32),
        weights=np.zeros((36, 4), np.uint8),
        parameters=np.zeros((16, 2, 8), np.uint32),
        tables=np.zeros((0, 256), np.uint8),
        buffers={}, inputs=(), outputs=(), layers=(),
    )  # fmt: skip


STORE = {"y_base": 256, "mode": 2, "channels": 4, "tile_channels": 4}


@pytest.mark.parametrize("seed", range(15))
def test_random_programs_are_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check_program(random_program(rng, with_nibbles(rng, random_spec(rng))))


@pytest.mark.parametrize(("built", "matmuls", "store", "text"), [
    ([], [{"precision": 1}], {}, "MATMUL 0 needs a precision that is not built in"),
    ([W4A4], [{"precision": 1}], {}, "MATMUL 0 needs a precision that is not built in"),
    ([W4A8], [{"precision": 1, "w_zero": 16}], {},
     "MATMUL 0 has a zero point that is no code of a nibble"),
    ([W4A8], [{"precision": 1, "depthwise": 1}], {}, "MATMUL 0 is depthwise and not W8A8"),
    ([W4A8], [{}], {"tile_channels": 5, "channels": 5},
     "STORE 0 stores more channels than MATMUL 0 makes"),
    ([W4A8], [{"precision": 1}], {"tile_channels": 9, "channels": 9},
     "STORE 0 stores more channels than MATMUL 0 makes"),
    ([W4A8], [{"partial": 1}, {"precision": 1, "accumulate": 1}], {},
     "MATMUL 1 adds to sums of other channels"),
    ([W4A8], [{}], {"packed": 1}, "STORE 1 packs nibbles, which is not built in"),
    ([W4A4], [{}], {"packed": 1, "residual": 1, "r_base": 254},
     "STORE 1 writes bytes that it reads"),
    ([W4A4], [{}], {"packed": 1, "y_base": 511}, "STORE 1 leaves the activation memory"),
    ([W4A8], [{"precision": 1}], {"tile_channels": 8, "channels": 8, "p_base": 13},
     "STORE 1 leaves the parameter memory"),
])  # fmt: skip
def test_faults(
    built: list[Precision], matmuls: list[dict[str, int]], store: dict[str, int], text: str
) -> None:
    lines = {"oy_count": 1, "ox_count": 1, "x_step": 1, "y_step": 1, "mx_count": 2}
    matmuls = [m | (lines if "depthwise" in m else {}) for m in matmuls]
    commands = [(Opcode.MATMUL, m) for m in matmuls] + [(Opcode.STORE, STORE | store)]
    with pytest.raises(ProgramFault, match=f"^{text}$"):
        check_program(program_of(spec_of(*built), *commands))


def test_what_is_right() -> None:
    """The same commands within their limits, and parts of a chain in two precisions."""
    spec = spec_of(W4A8, W4A4)
    wide = STORE | {"tile_channels": 8, "channels": 8}
    check_program(program_of(spec, (Opcode.MATMUL, {"precision": 1}), (Opcode.STORE, wide)))
    chain = [{"partial": 1}, {"precision": 2, "accumulate": 1}]
    packed = STORE | {"packed": 1, "y_base": 510}
    check_program(program_of(spec, *((Opcode.MATMUL, m) for m in chain), (Opcode.STORE, packed)))


def bytes_of(spans: Spans) -> set[int]:
    return {b for lo, hi in zip(spans.starts, spans.ends, strict=True) for b in range(lo, hi)}


def weight(byte: int, nibble: int, fields: dict[str, int]) -> int:
    code = byte >> 4 * nibble & 15
    code -= 16 if fields["w_signed"] and code > 7 else 0
    return code - fields["w_zero"]


@pytest.mark.parametrize("seed", range(12))
def test_footprints(seed: int) -> None:
    """Against the definition, row by row: of a tile the bytes from the first used row to the last;
    of packed vectors the bytes of all their channels.
    """
    rng = np.random.default_rng(seed)
    spec = spec_of(W4A8, W4A4)
    precision = W4A8 if seed % 2 else W4A4
    most = 8 if precision is W4A8 else 4
    width = int(rng.integers(1, most + 1))
    signed = int(rng.integers(2))
    fields = {
        "precision": int(precision), "w_signed": signed,
        "w_zero": int(rng.integers(-8, 8) if signed else rng.integers(16)),
        "n_count": 2, "ky_count": 2, "mx_count": 3,
        "x_base": 40, "x_n_stride": 30, "x_ky_stride": 9, "x_mx_stride": 7,
    }  # fmt: skip
    store = {
        "y_base": 256, "mode": 2, "n_count": 2, "mx_count": 3, "tile_channels": width,
        "channels": width + int(rng.integers(1, width + 1)), "y_n_stride": 11, "y_mx_stride": 29,
        "packed": 1,
    }  # fmt: skip
    zero = fields["w_zero"] & 15
    weights = np.full((36, 4), zero | zero << 4, np.uint8)
    rows, columns = rng.integers(0, 12, 9), rng.integers(0, 4, 9)
    weights[rows, columns] = rng.integers(0, 256, 9)
    program = replace(
        program_of(spec, (Opcode.MATMUL, fields), (Opcode.STORE, store)), weights=weights
    )
    commands = [(c.opcode, c.values) for c in decode(program.commands.tolist())][:2]
    matmul, stored = accesses(commands, weights, spec)
    reads: set[int] = set()
    for n, ky in product(range(2), range(2)):
        tile = weights[3 * (2 * n + ky) :][:3]
        count = min(width, store["channels"] - n * width)
        used = [
            row for row in range(3) for c, h in product(range(4), range(2))
            if (c + 4 * h if precision is W4A8 else c) < count
            and weight(int(tile[row, c]), h, fields)
        ]  # fmt: skip
        for row, mx in product(range(min(used), max(used) + 1) if used else (), range(3)):
            reads.add(40 + 30 * n + 9 * ky + 7 * mx + row)
    assert bytes_of(matmul.reads) == reads
    writes = {
        256 + 11 * n + 29 * mx + i
        for n, mx in product(range(2), range(3))
        for i in range(-(-min(width, store["channels"] - n * width) // 2))
    }
    assert bytes_of(stored.writes) == writes
