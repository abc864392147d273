"""Commands with all their fields, and the LOADs among them that may move."""

from collections.abc import Sequence
from dataclasses import dataclass

from systolith.compiler.footprint import Access
from systolith.compiler.hazards import LastAccess
from systolith.spec.commands import COMMANDS, Opcode, Unit

__all__ = ["Item", "Movable", "movable_loads"]


@dataclass(kw_only=True, eq=False, slots=True)
class Item:
    """A command with all its fields.

    Parameters
    ----------
    opcode, values, layer: the command.
    access: what it touches in all memories.
    storages: identities of the storages it names.
    """

    opcode: Opcode
    values: dict[str, int]
    layer: str
    access: Access
    storages: frozenset[int] = frozenset()

    @property
    def words(self) -> int:
        """Length in command words."""
        return COMMANDS[self.opcode].words

    @property
    def partial(self) -> bool:
        """Whether it is a MATMUL that leaves its sums for the next."""
        return bool(self.values.get("partial"))


@dataclass(kw_only=True, eq=False, slots=True)
class Movable:
    """A LOAD that may be anywhere after one command and before another.

    Parameters
    ----------
    item: the LOAD.
    after: number of the last other command that it must follow, -1 for none.
    before: number of the first other command that must follow it.
    """

    item: Item
    after: int
    before: int


def movable_loads(items: Sequence[Item]) -> tuple[list[Item], list[Movable]]:
    """Take the LOADs out of a program; return the other commands, and the LOADs.

    A LOAD may wait for its first user: until then nothing else uses its storage.
    """
    others: list[Item] = []
    loads: list[Movable] = []
    unused: dict[int, list[Movable]] = {}
    last = LastAccess()
    for item in items:
        if item.opcode is not Opcode.LOAD:
            for storage in item.storages & unused.keys():
                kept = []
                for movable in unused.pop(storage):
                    if movable.item.access.conflicts(item.access):
                        movable.before = len(others)
                    else:
                        kept.append(movable)
                if kept:
                    unused[storage] = kept
            # Here all units count together: a number is a position among the others.
            last.record(Unit.MOVE, len(others), item.access)
            others.append(item)
            continue
        found = last.conflicts(item.access, (Unit.MOVE,))
        movable = Movable(item=item, after=found.get(Unit.MOVE, -1), before=len(others))
        loads.append(movable)
        for storage in item.storages:
            unused.setdefault(storage, []).append(movable)
    return others, loads
