"""What a run overwrites of what was loaded before it, and a host has to write again.

Without external memory nothing is: loads and saves come from it and go to it alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from systolith.spec.commands import COMMANDS, TRANSFER_LOOPS, Command, Opcode, Target, decode_one
from systolith.spec.program import Program
from systolith.spec.registers import Window

__all__ = ["Restore", "restore_of"]

_WINDOWS = {
    Target.WEIGHTS: Window.WEIGHTS,
    Target.PARAMETERS: Window.PARAMETERS,
    Target.TABLES: Window.TABLES,
    Target.COMMANDS: Window.COMMANDS,
    Target.EXPONENTS: Window.EXPONENTS,
}
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Restore:
    """What to write again before each run but the first.

    Parameters
    ----------
    windows: whose contents a run overwrites.
    external: [first, last + 1) of bytes of external memory's image, ascending and apart; bytes of
        inputs are not among them.
    """

    windows: frozenset[Window] = frozenset()
    external: Ranges = ()


def restore_of(program: Program) -> Restore:
    """Follow a program's commands, those that it loads included."""
    if not program.spec.external.data_bytes:
        return Restore()
    sizes = {
        Target.WEIGHTS: len(program.weights),
        Target.PARAMETERS: len(program.parameters),
        Target.TABLES: program.tables.size,
        Target.COMMANDS: len(program.commands),
        Target.EXPONENTS: program.exponents.size,
    }
    windows = set()
    dirty = np.zeros(len(program.external), bool)
    for command in _commands(program):
        if command.opcode is Opcode.SAVE:
            for start in _starts(command, "e").tolist():
                dirty[start : start + command["length"]] = True
        elif command.opcode is Opcode.LOAD and command["target"] in _WINDOWS:
            target = Target(command["target"])
            if int(_starts(command, "m").min()) < sizes[target]:
                windows.add(_WINDOWS[target])
    for name in program.inputs:
        if program.buffers[name].external:
            places = program.buffers[name].addresses()
            dirty[places[places < len(dirty)]] = False
    return Restore(windows=frozenset(windows), external=_ranges(dirty))


def _starts(command: Command, stream: str) -> NDArray[np.int64]:
    """Where the runs of a transfer begin."""
    total = np.full(1, command[f"{stream}_base"], np.int64)
    for name in TRANSFER_LOOPS:
        steps = np.arange(command[f"{name}_count"]) * command[f"{stream}_{name}_stride"]
        total = (total[:, None] + steps).reshape(-1)
    return total


def _commands(program: Program) -> Iterator[Command]:
    """Commands in the order in which they are fetched, from END on none."""
    words = np.zeros(program.spec.memory.command_words, np.uint32)
    words[: len(program.commands)] = program.commands
    position = 0
    while True:
        command = decode_one(cast(Sequence[int], words), position)
        yield command
        if command.opcode is Opcode.END:
            return
        position += COMMANDS[command.opcode].words
        if command.opcode is Opcode.JUMP:
            position = command["address"]
        elif command.opcode is Opcode.LOAD and command["target"] == Target.COMMANDS:
            _load_words(words, program.external, command)


def _load_words(words: NDArray[np.uint32], image: NDArray[np.uint8], command: Command) -> None:
    count = command["length"] // 4
    pairs = zip(_starts(command, "e").tolist(), _starts(command, "m").tolist(), strict=True)
    for source, place in pairs:
        words[place : place + count] = image[source : source + 4 * count].view("<u4")


def _ranges(flags: NDArray[np.bool_]) -> Ranges:
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return tuple((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))
