"""Tokens: which command waits for which other unit, no more often than needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from systolith.compiler.footprint import Access
from systolith.compiler.hazards import LastAccess
from systolith.spec.commands import Unit

__all__ = ["Clock", "Sequencer", "Timeline", "Tokens", "assign_tokens"]

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


class Sequencer:
    """Appends commands in program order and gives each the tokens it needs.

    Every conflicting pair of commands of different units is ordered. Signals are matched to waits
    in order; a wait always follows its signal in program order, so the queues cannot deadlock
    however short they are. A JUMP is done before any later command leaves the fetcher: nothing
    has to wait for unit FETCH, and it gives no tokens.
    """

    def __init__(self) -> None:
        self.tokens: list[Tokens] = []
        self._timeline = Timeline()
        self._last = LastAccess()
        self._positions: dict[Unit, list[int]] = {u: [] for u in Unit}
        self._matmuls: list[Access] = []

    def count(self, unit: Unit) -> int:
        """Commands of the unit so far."""
        return len(self._positions[unit])

    def waits(self, unit: Unit, access: Access) -> dict[Unit, int]:
        """Return the commands that the unit's next one must wait for: unit and its number."""
        others = tuple(u for u in Unit if u not in (unit, Unit.FETCH))
        found = self._last.conflicts(access, others)
        if unit is Unit.STORE and found.get(Unit.COMPUTE, -1) == self.count(unit):
            # The MATMUL that a STORE consumes is ordered by the accumulators.
            found[Unit.COMPUTE] = self._before_own(access)
        return {u: i for u, i in found.items() if not self._timeline.knows(unit, u, i)}

    def _before_own(self, access: Access) -> int:
        """The latest conflicting MATMUL before the one that the next STORE consumes, or -1."""
        for index in range(self.count(Unit.STORE) - 1, -1, -1):
            if access.conflicts(self._matmuls[index]):
                return index
        return -1

    def append(self, unit: Unit, access: Access, waits: Mapping[Unit, int]) -> None:
        """Append a command with what `waits` returned for it."""
        position, token = len(self.tokens), Tokens()
        self.tokens.append(token)
        for other, index in _needed(self._timeline, waits):
            self._timeline.wait(unit, other, index)
            token.wait |= 1 << other
            self.tokens[self._positions[other][index]].signal |= 1 << unit
        self._timeline.run(unit)
        self._last.record(unit, self.count(unit), access)
        self._positions[unit].append(position)
        if unit is Unit.COMPUTE:
            self._matmuls.append(access)


def assign_tokens(commands: Sequence[tuple[Unit, Access]]) -> list[Tokens]:
    """Order every conflicting pair of commands of different units.

    Parameters
    ----------
    commands: unit and footprint, in program order.
    """
    sequencer = Sequencer()
    for unit, access in commands:
        sequencer.append(unit, access, sequencer.waits(unit, access))
    return sequencer.tokens


def _needed(timeline: Timeline, found: Mapping[Unit, int]) -> list[tuple[Unit, int]]:
    """Leave out a wait that another one implies."""
    kept = dict(found)
    for other, index in found.items():
        for through, at in kept.items():
            if through is not other and timeline.finished(through, at)[other] > index:
                kept.pop(other)
                break
    return list(kept.items())
