"""The order in which a program's commands run, and the bound of its cycles."""

import numpy as np
import pytest

from systolith.sim.external import MemoryTiming
from systolith.sim.limits import cycle_limit, executed
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.commands import Opcode, Target, encode
from systolith.spec.program import Program, ProgramError


def program_of(commands: list[int], external: np.ndarray | None = None) -> Program:
    spec = AcceleratorSpec(external=ExternalSpec(data_bytes=8))
    image = np.zeros(0, np.uint8) if external is None else external
    return Program(
        spec=spec, commands=np.array(commands, np.uint32), weights=np.zeros((0, 16), np.uint8),
        parameters=np.zeros((0, 8, 8), np.uint32), tables=np.zeros((4, 256), np.uint8), buffers={},
        inputs=(), outputs=(), layers=(), external=image, external_bytes=len(image),
    )  # fmt: skip


def test_jumps_into_what_was_loaded() -> None:
    late = np.array(encode(Opcode.FILL, value=3) + encode(Opcode.JUMP, address=40), "<u4")
    image = np.concatenate([np.zeros(12, np.uint8), late.view(np.uint8)])
    load = encode(Opcode.LOAD, target=Target.COMMANDS, e_base=12, m_base=100, length=4 * len(late))
    words = load + encode(Opcode.JUMP, address=100)
    words += [0xF] * (40 - len(words)) + encode(Opcode.FILL, value=7) + encode(Opcode.END)
    commands = list(executed(program_of(words, image)))
    names = [c.opcode.name for c in commands]
    assert names == ["LOAD", "JUMP", "FILL", "JUMP", "FILL", "END"]
    assert [c["value"] for c in commands if c.opcode is Opcode.FILL] == [3, 7]


def test_a_program_without_end() -> None:
    with pytest.raises(ProgramError, match="program must end, but made 100001 jumps"):
        list(executed(program_of(encode(Opcode.JUMP, address=0))))


def test_slow_memories_may_take_longer() -> None:
    words = encode(Opcode.SAVE, length=4000, d0_count=10, e_d0_stride=4000) + encode(Opcode.END)
    program = program_of(words, np.zeros(40_000, np.uint8))
    limits = [
        cycle_limit(program, MemoryTiming(**values))
        for values in ({"latency": 1}, {}, {"bandwidth": 0.25}, {"stalls": 1})
    ]
    assert limits == sorted(limits) and limits[0] > 2 * 5000 and limits[2] > limits[1] + 20_000
