"""The commands of a program in the order in which they run, those that it loads included."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from systolith.spec.commands import (
    COMMANDS,
    TRANSFER_LOOPS,
    Command,
    Opcode,
    Target,
    decode_one,
)
from systolith.spec.program import Program, ProgramError

__all__ = ["executed", "run_starts"]

_MOST_JUMPS = 100_000


def run_starts(command: Command, stream: str) -> NDArray[np.int64]:
    """Address of every run of a transfer."""
    starts = np.array([command[f"{stream}_base"]], np.int64)
    for name in TRANSFER_LOOPS:
        steps = np.arange(command[f"{name}_count"]) * command[f"{stream}_{name}_stride"]
        starts = (starts[:, None] + steps).reshape(-1)
    return starts


def executed(program: Program) -> Iterator[Command]:
    """The commands in the order in which they run, END included.

    Commands that the program loads are taken from its image of external memory: one that writes
    commands there itself is not followed.

    Raises
    ------
    ProgramError: the program never ends.
    """
    size = max(len(program.commands), program.spec.memory.command_words)
    memory = np.zeros(size, np.uint32)
    memory[: len(program.commands)] = program.commands
    position = jumps = 0
    while True:
        command = decode_one(memory, position)  # type: ignore[arg-type]  # it is indexed alone
        yield command
        if command.opcode is Opcode.END:
            return
        position += COMMANDS[command.opcode].words
        if command.opcode is Opcode.LOAD and command["target"] == Target.COMMANDS:
            places = zip(run_starts(command, "e"), run_starts(command, "m"), strict=True)
            for start, place in places:
                run = program.external[start : start + command["length"]]
                memory[place : place + len(run) // 4] = run[: len(run) // 4 * 4].view("<u4")
        elif command.opcode is Opcode.JUMP:
            position, jumps = command["address"], jumps + 1
            if jumps > _MOST_JUMPS:
                raise ProgramError(f"program must end, but made {jumps} jumps")
