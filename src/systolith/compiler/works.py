"""The commands of a tile, and which tiles load what others have saved."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from systolith.compiler.ir import Pair, Storage, SymbolicCommand, View
from systolith.compiler.transfers import dense_view, reach, transfer
from systolith.spec.commands import Opcode

__all__ = ["TileWork", "last_writers"]


@dataclass(kw_only=True, eq=False)
class TileWork:
    """The commands of a tile, or of a part of its sums.

    Parameters
    ----------
    loads: LOADs of its operands.
    sums: partial MATMULs, whose sums the next tile's commands add to.
    pairs: what is computed on the array.
    moves: copies and softmax beside it.
    saves: SAVEs of its results.
    outputs: storages on chip that the SAVEs read and nothing else does.
    """

    loads: list[SymbolicCommand] = field(default_factory=list)
    sums: list[SymbolicCommand] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    moves: list[SymbolicCommand] = field(default_factory=list)
    saves: list[SymbolicCommand] = field(default_factory=list)
    outputs: list[Storage] = field(default_factory=list)

    def loaded(self, operand: View, name: str, layer: str) -> View:
        """Return where an operand is read on chip, after a LOAD if it is in external memory."""
        if not operand.storage.external:
            return operand
        near = dense_view(name, operand.shape, external=False)
        self.loads.append(transfer(Opcode.LOAD, layer, near, operand))
        return near

    def saved(self, result: View, name: str, layer: str) -> View:
        """Return where a result is written on chip, for a SAVE if it is in external memory."""
        if not result.storage.external:
            return result
        near = dense_view(name, result.shape, external=False)
        self.saves.append(transfer(Opcode.SAVE, layer, near, result))
        self.outputs.append(near.storage)
        return near


def last_writers(works: Sequence[TileWork]) -> list[int]:
    """For every tile, the last one before it that saves what it loads, -1 for none."""
    saved: dict[int, list[tuple[int, int, int]]] = {}
    result = []
    for index, work in enumerate(works):
        last = -1
        for load in work.loads:
            key, start, end = reach(load)
            for at, low, high in saved.get(key, ()):
                if low < end and start < high:
                    last = max(last, at)
        result.append(last)
        for save in work.saves:
            key, start, end = reach(save)
            saved.setdefault(key, []).append((index, start, end))
    return result
