"""The commands that a run executes, in order."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from systolith.cycles.machine import Issued
from systolith.cycles.nests import counts, offsets
from systolith.cycles.weights import row_bytes
from systolith.spec.commands import (
    COMMANDS,
    TRANSFER_LOOPS,
    Command,
    Opcode,
    Target,
    Unit,
    decode_one,
)
from systolith.spec.precision import WeightFormat
from systolith.spec.program import Program, ProgramError
from systolith.spec.registers import Window, window_stride
from systolith.spec.softmax import SoftmaxForm

__all__ = ["trace"]

_MOST = 1 << 20
"""Commands after which a program is said not to end."""
_KINDS: Mapping[Opcode, tuple[str, type[IntEnum]]] = {
    Opcode.LOAD: ("target", Target),
    Opcode.SOFTMAX: ("form", SoftmaxForm),
}
"""Fields with values that stand for nothing."""


def trace(program: Program) -> list[Issued]:
    """Follow the program through its jumps and through the commands that it loads, to END.

    Commands are loaded as external memory holds them before the run.

    Raises
    ------
    ProgramError: an unknown opcode, an address outside of a memory, or no END.
    """
    spec = program.spec
    words = np.array(program.commands, np.uint32)
    if spec.external.data_bytes:
        words = np.zeros(spec.memory.command_words, np.uint32)
        words[: len(program.commands)] = program.commands
    image = np.zeros(max(program.external_bytes, len(program.external)), np.uint8)
    image[: len(program.external)] = program.external
    weights, bitmaps = _weights(program), WeightFormat.BITMAP in spec.array.weight_formats
    jumps: set[tuple[int, bytes]] = set()
    issued: list[Issued] = []
    seen = dict.fromkeys(Unit, 0)
    position = 0
    while len(issued) < _MOST:
        try:
            command = decode_one(cast(Sequence[int], words), position)
            if command.opcode in _KINDS:
                name, kind = _KINDS[command.opcode]
                kind(command[name])
        except ValueError as error:
            raise ProgramError(f"command {len(issued)}: {error}") from None
        layout = COMMANDS[command.opcode]
        index = 0 if layout.unit is None else seen[layout.unit]
        issued.append(Issued(len(issued), command, layout.unit, layout.words, index))
        if layout.unit is None:
            return issued
        if command.opcode is Opcode.MATMUL and command["w_format"] == WeightFormat.BITMAP:
            issued[-1].rows = row_bytes(spec, weights, command)
        seen[layout.unit] += 1
        position += layout.words
        if command.opcode is Opcode.JUMP:
            position = command["address"]
            state = position, hashlib.sha1(words.tobytes()).digest()
            if state in jumps:
                raise ProgramError(f"program must end, but jumps to word {position} for ever")
            jumps.add(state)
        elif command.opcode is Opcode.LOAD and command["target"] == Target.COMMANDS:
            _load(words, image, command, 4)
        elif command.opcode is Opcode.LOAD and command["target"] == Target.WEIGHTS and bitmaps:
            _load(weights, image, command, window_stride(spec, Window.WEIGHTS))
    raise ProgramError(f"program must end, but has not after {_MOST} commands")


def _weights(program: Program) -> NDArray[np.uint8]:
    """The weight memory before the run; with an external memory all of it."""
    spec = program.spec
    if not spec.external.data_bytes:
        return program.weights
    memory = np.zeros((spec.weight_words, spec.array.columns), np.uint8)
    memory[: len(program.weights)] = program.weights
    return memory


def _load(
    memory: NDArray[np.uint32] | NDArray[np.uint8],
    image: NDArray[np.uint8],
    command: Command,
    size: int,
) -> None:
    """Write words of ``size`` bytes as a LOAD does.

    Raises
    ------
    ProgramError: words that do not exist on either side.
    """
    counts(command, TRANSFER_LOOPS)
    starts = command["e_base"] + offsets(command, "e", TRANSFER_LOOPS)
    places = command["m_base"] + offsets(command, "m", TRANSFER_LOOPS)
    many = command["length"] // size
    for start, place in zip(starts.tolist(), places.tolist(), strict=True):
        source = image[start : start + size * many]
        if len(source) < size * many or not 0 <= place <= len(memory) - many:
            name = Target(command["target"]).name.lower()
            raise ProgramError(f"loaded words of {name} must exist, which those at {start} do not")
        if memory.ndim == 1:
            memory[place : place + many] = source.view("<u4")
        else:
            memory[place : place + many] = source.reshape(many, size)[:, : memory.shape[1]]
