"""The commands that a program runs, in order, with the weights that each finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.weight_formats import decoded_words
from systolith.spec.commands import COMMANDS, Command, Opcode, Target, decode_one
from systolith.spec.program import Program
from systolith.spec.registers import Window, window_stride

__all__ = ["Trace", "trace_program"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What `trace_program` returns.

    Parameters
    ----------
    commands: in the order in which they are fetched, END last; MATMULs have one more value,
        `w_words`: the weight words that they read.
    positions: word address of each.
    weights: dense weight words [words, columns], whatever the commands' formats; those of command i
        begin at ``bases[i]``.
    bases: as `w_base`, but never overwritten; 0 for all but MATMUL.
    """

    commands: list[Command]
    positions: list[int]
    weights: NDArray[np.uint8]
    bases: list[int]


class _Memories:
    """Weight and command memory as LOADs fill them from what external memory holds at first."""

    def __init__(self, program: Program) -> None:
        self.program, self.spec = program, program.spec
        self.commands = np.zeros(self.spec.memory.command_words, np.uint32)
        first = np.asarray(program.commands)[: len(self.commands)]
        self.commands[: len(first)] = first
        self.weights = np.zeros((self.spec.weight_words, self.spec.array.columns), np.uint8)
        self.weights[: len(program.weights)] = program.weights[: len(self.weights)]
        self._kept: list[NDArray[np.uint8]] = []
        self._known: dict[bytes, int] = {}
        self._words = 0

    def load(self, command: Command) -> None:
        """Fill one of the two memories; what leaves them is for the check of addresses."""
        target = Target(command["target"])
        if target not in (Target.WEIGHTS, Target.COMMANDS):
            return
        codes = self.program.external[command["e_base"] : command["e_base"] + command["length"]]
        if target is Target.COMMANDS:
            words = np.ascontiguousarray(codes).view("<u4")
            room = self.commands[command["m_base"] :][: len(words)]
            room[...] = words[: len(room)]
            return
        rows = codes.reshape(-1, window_stride(self.spec, Window.WEIGHTS))
        part = rows[:, : self.spec.array.columns]
        place = self.weights[command["m_base"] :][: len(part)]
        place[...] = part[: len(place)]

    def keep(self, command: Command) -> tuple[int, int]:
        """Keep a copy of the weights that a MATMUL finds; return its address, and words read."""
        words, read = decoded_words(self.weights, command.values, self.spec.array.rows)
        key = words.tobytes()
        if key not in self._known:
            self._known[key] = self._words
            self._kept.append(words)
            self._words += len(words)
        return self._known[key], read

    def kept(self) -> NDArray[np.uint8]:
        """All copies."""
        return np.concatenate([self.weights[:0], *self._kept])


def trace_program(program: Program) -> Trace:
    """Follow a program from its first command to END.

    LOADs of weights and commands are taken to be one run, as the compiler emits them.

    Raises
    ------
    ValueError: an unknown opcode, or commands that run off the memory.
    """
    memories = _Memories(program)
    commands: list[Command] = []
    positions: list[int] = []
    bases: list[int] = []
    position = 0
    while not commands or commands[-1].opcode is not Opcode.END:
        command = decode_one(cast(Sequence[int], memories.commands), position)
        base = 0
        if command.opcode is Opcode.MATMUL:
            base, read = memories.keep(command)
            command = Command(command.opcode, {**command.values, "w_words": read})
        commands.append(command)
        positions.append(position)
        bases.append(base)
        if command.opcode is Opcode.LOAD:
            memories.load(command)
        jump = command.opcode is Opcode.JUMP
        position = command["address"] if jump else position + COMMANDS[command.opcode].words
    return Trace(commands=commands, positions=positions, weights=memories.kept(), bases=bases)
