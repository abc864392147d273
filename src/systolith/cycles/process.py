"""A unit as a process: it decides its events as far as it knows the others'."""

from collections.abc import Iterator, Sequence

from systolith.cycles.machine import Issued, Machine
from systolith.cycles.ports import Port
from systolith.cycles.timing import NEVER
from systolith.spec.commands import Command, Unit

__all__ = ["Process"]


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
        self.free = 0  # first cycle in which the next command may start
        self.head = 0  # a cycle before which it does not
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

    def leave_bound(self) -> int:
        """A cycle before which no command leaves the queue if that is not known yet."""
        return self.finish_bound()

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
        # Not abstract: the fetcher is a process with a `run` of its own, which never comes here.
        raise NotImplementedError

    def begin(self, issued: Issued) -> Iterator[None]:
        """Wait for the command and its tokens, and start it."""
        fetch = self.machine.processes[Unit.FETCH]
        while issued.pushed < 0:
            self.head = max(self.free, fetch.clock + 1)
            self.wait_until(self.head + 1)
            yield
        self.head = head = max(issued.pushed + 1, self.free)
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
            given = max(machine.processes[u].finish_bound() for u in lacking)
            self.head = max(self.head, given + 1)
            self.wait_until(self.head + 1)
            yield

    def end(self, issued: Issued, cycle: int) -> None:
        """Finish a command."""
        issued.finish = cycle
        issued.popped = cycle if issued.popped < 0 else issued.popped
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
