"""What the units share: commands, tokens, the ring of result vectors, stalls."""

import functools
import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from systolith.cycles.nests import Int64Array
from systolith.cycles.ports import YIELDING, Port, PortLog
from systolith.cycles.timing import NEVER, Timing
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Command, Unit

__all__ = ["Issued", "Machine", "Process", "Ring", "Spans", "Tokens"]

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
    start, finish: it consumes its tokens; it gives tokens and leaves the queue.
    """

    number: int
    command: Command
    unit: Unit | None
    words: int
    index: int
    pushed: int = UNKNOWN
    start: int = UNKNOWN
    finish: int = UNKNOWN


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

    def limit(self, ports: Iterable[Port], mask: int) -> int:
        """First cycle in which one of ``ports`` may use one of the regions unbeknown to us."""
        return min(self.processes[port.unit].next_use(port, mask) for port in ports)


class Process:
    """A unit that works through its commands in order.

    Processes run in turns, each until it needs to know more of another; `clock` tells the others
    that whatever they do not know of it yet happens in that cycle or later.

    Parameters
    ----------
    machine: what is shared.
    unit: who this is.

    Attributes
    ----------
    clock: first cycle in which this unit may take a step that is not known yet.
    left: steps of the running command that are not decided.
    steps: steps decided so far: vectors, lane vectors or lines.
    drain: cycles from a command's last step to its finish.
    elsewhere: mask of the units whose tokens are not taken at the start of a command.
    delays: cycles from a step to its use of a port, 0 if not given.
    watches: it waits for no event but for another's clock.
    """

    drain = 0
    elsewhere = 0

    def __init__(self, machine: Machine, unit: Unit) -> None:
        self.machine, self.unit = machine, unit
        self.clock = self.left = self.steps = 0
        self.free = 0  # first cycle after the last command's finish
        self.watches = False
        self.delays: dict[Port, int] = {}
        self._current = 0
        touched = [self.touches(issued.command) for issued in machine.lines[unit]]
        self._touched = {port: [t.get(port, 0) for t in touched] for port in Port}
        self._pending = {port: _masks_from(masks) for port, masks in self._touched.items()}

    def touches(self, command: Command) -> dict[Port, int]:
        """Regions (bit g: region g) in which a command may use each port."""
        return {}

    def ever(self, port: Port) -> int:
        """Regions in which any command uses the port."""
        return self._pending[port][0]

    def pending(self, port: Port) -> int:
        """Regions in which the commands that have not finished use the port."""
        return self._pending[port][self._current]

    def next_use(self, port: Port, mask: int) -> int:
        """First cycle in which ``port`` may be used in the regions that is not known yet."""
        if not self.pending(port) & mask:
            return NEVER
        delay = self.delays.get(port, 0)
        if self._touched[port][self._current] & mask:
            return self.clock + delay
        return max(self.clock, self.finish_bound() + 2) + delay

    def finish_bound(self) -> int:
        """A cycle before which no finish happens that is not known yet."""
        return self.clock + max(self.left - 1, 0) + self.drain

    def stepped(self, count: int, after: int) -> None:
        """Note that ``count`` more steps are decided, all before cycle ``after``."""
        self.left -= count
        self.steps += count
        self.wait_until(after)
        self.machine.decided += 1

    def wait_until(self, clock: int) -> None:
        """Raise the clock."""
        self.clock = max(self.clock, clock)

    def watch(self) -> Iterator[None]:
        """Let the others raise their clocks."""
        self.watches = True
        yield
        self.watches = False

    def run(self) -> Iterator[None]:
        """Decide what can be decided; yield where more has to be known."""
        for issued in self.machine.lines[self.unit]:
            yield from self.begin(issued)
            yield from self.work(issued)
        self.clock = NEVER

    def work(self, issued: Issued) -> Iterator[None]:
        """Run a command that has started."""
        raise NotImplementedError

    def begin(self, issued: Issued) -> Iterator[None]:
        """Wait for the command and its tokens, and start it."""
        fetch = self.machine.processes[Unit.FETCH]
        while issued.pushed < 0:
            self.wait_until(fetch.clock + 2)
            yield
        head = max(issued.pushed + 1, self.free)
        self.wait_until(head + 1)
        mask = issued.command["wait"] & ~self.elsewhere
        yield from self.await_tokens(mask)
        issued.start = max(head, self.machine.tokens.take(self.unit, mask))
        self.wait_until(issued.start + 1)
        self.machine.decided += 1

    def await_tokens(self, mask: int) -> Iterator[None]:
        """Wait until it is known when the next token of every unit in ``mask`` is given."""
        machine = self.machine
        while lacking := machine.tokens.lacking(self.unit, mask):
            self.wait_until(max(machine.processes[u].finish_bound() for u in lacking) + 2)
            yield

    def end(self, issued: Issued, cycle: int) -> None:
        """Finish a command."""
        issued.finish = cycle
        self.free = cycle + 1
        self.left = 0
        self._current += 1
        self.wait_until(cycle + 2)
        self.machine.tokens.give(self.unit, issued.command["signal"], cycle)
        self.machine.decided += 1


def _masks_from(masks: Sequence[int]) -> list[int]:
    """For every index, all bits of the masks from there on; one more entry, 0."""
    result = [0]
    for mask in reversed(masks):
        result.append(result[-1] | mask)
    return result[::-1]
