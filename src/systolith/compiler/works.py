"""The commands of a tile, and which tiles load what others have saved."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from systolith.compiler.ir import Pair, Storage, SymbolicCommand
from systolith.compiler.transfers import reach

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
