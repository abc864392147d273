"""What the units share: commands, tokens, the ring of result vectors, ports, stalls."""

import functools
import operator
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from systolith.cycles.nests import Int64Array
from systolith.cycles.ports import YIELDING, Port, PortLog, before
from systolith.cycles.timing import NEVER, Timing
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Command, Unit

if TYPE_CHECKING:
    from systolith.cycles.process import Process

__all__ = ["Issued", "Machine", "Ring", "Spans", "Tokens"]

UNKNOWN = -1


@dataclass(slots=True)
class Issued:
    """A command on its way; every time is a cycle from the start of the run, -1 until known.

    Parameters
    ----------
    number: of the command, in order of execution.
    command, unit: the command and who runs it (None for END).
    words: its length.
    index: its number among the commands of its unit.
    pushed: it enters its unit's queue, which shows it a cycle later.
    start, finish: it consumes its tokens; it gives tokens.
    popped: it leaves the queue, when it finishes or, a LOAD, before.
    rows: of a MATMUL with bitmaps: bytes of every row of weights, see `weights.row_bytes`.
    """

    number: int
    command: Command
    unit: Unit | None
    words: int
    index: int
    pushed: int = UNKNOWN
    start: int = UNKNOWN
    finish: int = UNKNOWN
    popped: int = UNKNOWN
    rows: Int64Array | None = None


class Tokens:
    """Counting semaphores: a token given in a cycle can be taken from the next on."""

    def __init__(self) -> None:
        self._given: dict[tuple[Unit, Unit], list[int]] = defaultdict(list)
        self._taken: dict[tuple[Unit, Unit], int] = defaultdict(int)

    def give(self, giver: Unit, mask: int, cycle: int) -> None:
        """Give one token to every unit in ``mask``."""
        for taker in Unit:
            if mask >> taker & 1:
                self._given[giver, taker].append(cycle)

    def lacking(self, taker: Unit, mask: int) -> list[Unit]:
        """Units in ``mask`` whose next token is not known yet."""
        return [
            giver
            for giver in Unit
            if mask >> giver & 1
            and giver != taker
            and len(self._given[giver, taker]) <= self._taken[giver, taker]
        ]

    def take(self, taker: Unit, mask: int) -> int:
        """Take one token of every unit in ``mask``; return the first cycle that has them all."""
        cycle = 0
        for giver in Unit:
            if mask >> giver & 1 and giver != taker:
                number = self._taken[giver, taker]
                cycle = max(cycle, self._given[giver, taker][number] + 1)
                self._taken[giver, taker] = number + 1
        return cycle


class Ring:
    """Result vectors from the array to post-processing, over the whole run.

    Parameters
    ----------
    depth: vectors that fit.
    total: vectors of the program.
    """

    def __init__(self, depth: int, total: int) -> None:
        self.depth = depth
        self.appended: Int64Array = np.zeros(total, np.int64)
        self.released: Int64Array = np.zeros(total, np.int64)
        self.appends = self.releases = 0

    def append(self, cycles: Int64Array) -> None:
        """The array issues vectors of last passes in these cycles."""
        self.appended[self.appends : self.appends + len(cycles)] = cycles
        self.appends += len(cycles)

    def release(self, cycles: Int64Array) -> None:
        """Post-processing has taken the next vectors in these cycles."""
        self.released[self.releases : self.releases + len(cycles)] = cycles
        self.releases += len(cycles)

    def places(self) -> int:
        """Vectors for which it is known when there is room."""
        return self.depth + self.releases - self.appends

    def room(self, count: int) -> Int64Array:
        """First cycle in which there is room for each of the next ``count`` <= `places` vectors."""
        first = self.appends - self.depth
        if first + count <= 0:
            return np.zeros(count, np.int64)
        known = self.released[max(first, 0) : first + count] + 1
        return known if first >= 0 else np.concatenate([np.zeros(-first, np.int64), known])


class Spans:
    """Stretches of cycles of one kind: their sum, and how many fall into a window."""

    def __init__(self) -> None:
        self._first: list[Int64Array] = []
        self._length: list[Int64Array] = []

    def add(self, first: int | Int64Array, length: int | Int64Array) -> None:
        """Add stretches of ``length`` cycles that begin at ``first``."""
        lengths = np.atleast_1d(np.asarray(length, np.int64))
        if lengths.any():
            self._first.append(np.broadcast_to(np.asarray(first, np.int64), lengths.shape))
            self._length.append(lengths)

    def total(self, low: int = 0, high: int = NEVER) -> int:
        """Cycles from ``low`` to ``high`` - 1 that lie in a stretch."""
        result = 0
        for first, length in zip(self._first, self._length, strict=True):
            inside = np.minimum(first + length, high) - np.maximum(first, low)
            result += int(np.maximum(inside, 0).sum())
        return result


@dataclass(slots=True)
class Machine:
    """State that the processes share.

    Parameters
    ----------
    spec, timing: the accelerator.
    lines: commands of each unit, in order.
    ring: result vectors.
    decided: events whose cycle has been found; a round that finds none is a deadlock.
    spans: stretches of stalls and waits, by counter.
    uses: granted requests of each port of the activation memory (`Port`), where others yield to it.
    processes: by unit; the fetcher is that of Unit.FETCH.
    """

    spec: AcceleratorSpec
    timing: Timing
    lines: dict[Unit, list[Issued]]
    ring: Ring
    tokens: Tokens = field(default_factory=Tokens)
    decided: int = 0
    spans: dict[str, Spans] = field(default_factory=lambda: defaultdict(Spans))
    uses: dict[Port, PortLog] = field(default_factory=dict)
    processes: "dict[Unit, Process]" = field(default_factory=dict)

    def wanted(self, port: Port) -> int:
        """Regions in which a unit has commands left that yield to ``port``."""
        return functools.reduce(
            operator.or_,
            (self.processes[user.unit].pending(user) for user in YIELDING[port]),
            0,
        )

    def note(self, port: Port, times: Int64Array, regions: Int64Array) -> None:
        """Note granted requests of ``port``, each later than those before."""
        self.uses[port].note(times, regions)

    def clear(self, port: Port, mask: int, region: int, first: int, end: int) -> bool:
        """Whether ``port`` is known to be granted ``region``, of ``mask``, in all these cycles."""
        others = before(port)
        if self.limit(others, mask) < end:
            return False
        return not any(self.uses[other].used(region, first, end) for other in others)

    def limit(self, ports: Iterable[Port], mask: int) -> int:
        """First cycle in which one of ``ports`` may use one of the regions unbeknown to us."""
        return min(self.processes[port.unit].next_use(port, mask) for port in ports)
