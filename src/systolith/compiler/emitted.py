"""What emission makes: commands in program order, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.ir import Storage, SymbolicCommand, View
from systolith.compiler.steps import Step
from systolith.compiler.works import TileWork
from systolith.spec.commands import Opcode
from systolith.spec.program import Layer

__all__ = ["Emission", "Entry"]


@dataclass(kw_only=True, eq=False)
class Emission:
    """Commands in program order and the layers they complete.

    Parameters
    ----------
    commands: END last.
    layers: in order of their stamps.
    enemies, rivals: storages that are accessed at the same time, by the array or beside it.
    views: external tensors that are not where `Layout` has them.
    contents: external storages, and what they hold before the run, if that matters.
    owners: number of the step of every command, or of the one that it prepares.
    tiles: tiles of the layers that have external operands.
    """

    commands: list[SymbolicCommand] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    enemies: list[tuple[Storage, Storage]] = field(default_factory=list)
    rivals: list[tuple[Storage, Storage]] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)
    contents: dict[Storage, NDArray[np.uint8] | None] = field(default_factory=dict)
    owners: list[int] = field(default_factory=list)
    tiles: dict[str, int] = field(default_factory=dict)

    def steps_in(self, ranges: Sequence[tuple[int, int]]) -> set[int]:
        """Steps with a command in one of some ranges of moments of `live_ranges`."""
        opcodes = [c.opcode for c in self.commands[: len(self.owners)]]
        moments = np.cumsum([opcode is not Opcode.STORE for opcode in opcodes])
        owners = np.array(self.owners)
        found: set[int] = set()
        for first, last in ranges:
            found |= set(owners[(moments >= first) & (moments <= last)].tolist())
        return found


@dataclass(kw_only=True, eq=False)
class Entry:
    """A step or a tile of one, as a unit of the order."""

    step: Step
    work: TileWork
    fills: list[SymbolicCommand] = field(default_factory=list)
    late_fills: list[SymbolicCommand] = field(default_factory=list)
    last: bool = False
