"""What a run overwrites of what was loaded before it, and a host has to write again.

Without external memory nothing is: loads and saves come from it and go to it alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.drivers.walk import executed, run_starts
from systolith.spec.commands import Opcode, Target
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
    for command in executed(program):
        if command.opcode is Opcode.SAVE:
            for start in run_starts(command, "e").tolist():
                dirty[start : start + command["length"]] = True
        elif command.opcode is Opcode.LOAD and command["target"] in _WINDOWS:
            target = Target(command["target"])
            if int(run_starts(command, "m").min()) < sizes[target]:
                windows.add(_WINDOWS[target])
    for name in program.inputs:
        if program.buffers[name].external:
            places = program.buffers[name].addresses()
            dirty[places[places < len(dirty)]] = False
    return Restore(windows=frozenset(windows), external=_ranges(dirty))


def _ranges(flags: NDArray[np.bool_]) -> Ranges:
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return tuple((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))
