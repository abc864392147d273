"""Tokens: which command waits for which other unit, no more often than needed."""

from collections.abc import Sequence
from dataclasses import dataclass

from systolith.compiler.footprint import Access
from systolith.spec.commands import Unit

__all__ = ["Clock", "Timeline", "Tokens", "assign_tokens"]

Clock = tuple[int, ...]
"""Per unit, how many of its commands are known to be finished."""


@dataclass(kw_only=True, slots=True)
class Tokens:
    """A command's wait and signal masks."""

    wait: int = 0
    signal: int = 0


class Timeline:
    """Vector clocks of the units, as commands are walked in program order.

    A STORE is finished only after the MATMUL whose tiles it consumed has read everything: that
    pairing needs no token. Units run their own commands one after the other.
    """

    def __init__(self) -> None:
        self.now: dict[Unit, list[int]] = {u: [0] * len(Unit) for u in Unit}
        self._finished: dict[Unit, list[Clock]] = {u: [] for u in Unit}

    def count(self, unit: Unit) -> int:
        """Commands of the unit so far."""
        return len(self._finished[unit])

    def finished(self, unit: Unit, index: int) -> Clock:
        """What is known to be done once command ``index`` of the unit is."""
        return self._finished[unit][index]

    def knows(self, unit: Unit, other: Unit, index: int) -> bool:
        """Whether the unit's next command starts after command ``index`` of ``other`` is done."""
        return self.now[unit][other] > index

    def wait(self, unit: Unit, other: Unit, index: int) -> None:
        """Let the unit's next command start after command ``index`` of ``other``."""
        theirs = self._finished[other][index]
        self.now[unit] = [max(a, b) for a, b in zip(self.now[unit], theirs, strict=True)]

    def run(self, unit: Unit) -> None:
        """Append the unit's next command."""
        index = self.count(unit)
        clock = self.now[unit]
        if unit is Unit.STORE:
            matmul = self._finished[Unit.COMPUTE][index]
            clock = [max(a, b) for a, b in zip(clock, matmul, strict=True)]
        clock = list(clock)
        clock[unit] = index + 1
        self._finished[unit].append(tuple(clock))
        self.now[unit] = clock


def _latest_conflict(
    own: Access, others: Sequence[tuple[int, Access]], known: int, skip: int
) -> int | None:
    """Position in ``others`` of the latest conflicting command that is not yet known."""
    for index in range(len(others) - 1, known - 1, -1):
        if index != skip and own.conflicts(others[index][1]):
            return index
    return None


def assign_tokens(commands: Sequence[tuple[Unit, Access]]) -> list[Tokens]:
    """Order every conflicting pair of commands of different units.

    Signals are matched to waits in order; a wait always follows its signal in program order, so
    the queues cannot deadlock however short they are.

    Parameters
    ----------
    commands: unit and footprint, in program order.
    """
    tokens = [Tokens() for _ in commands]
    timeline = Timeline()
    history: dict[Unit, list[tuple[int, Access]]] = {u: [] for u in Unit}
    for position, (unit, access) in enumerate(commands):
        # The MATMUL that a STORE consumes is ordered by the accumulators.
        own = len(history[unit]) if unit is Unit.STORE else -1
        found = {}
        for other in Unit:
            if other is unit:
                continue
            skip = own if other is Unit.COMPUTE else -1
            known = timeline.now[unit][other]
            index = _latest_conflict(access, history[other], known, skip)
            if index is not None:
                found[other] = index
        for other, index in _needed(timeline, found):
            timeline.wait(unit, other, index)
            tokens[position].wait |= 1 << other
            tokens[history[other][index][0]].signal |= 1 << unit
        timeline.run(unit)
        history[unit].append((position, access))
    return tokens


def _needed(timeline: Timeline, found: dict[Unit, int]) -> list[tuple[Unit, int]]:
    """Leave out a wait that another one implies."""
    kept = dict(found)
    for other, index in found.items():
        for through, at in kept.items():
            if through is not other and timeline.finished(through, at)[other] > index:
                kept.pop(other)
                break
    return list(kept.items())
