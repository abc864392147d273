"""The fetcher: a command word a cycle, whole commands to the units' queues."""

from collections.abc import Iterator, Sequence

from systolith.cycles.machine import Issued, Machine
from systolith.cycles.process import Process
from systolith.cycles.timing import NEVER
from systolith.spec.commands import Unit

__all__ = ["Fetch"]

_FEWEST = 2
"""Words that are read before a command is known to be whole."""
_HEADER = 2
"""Cycles from a header's address to its opcode, where there are no queues."""


class Fetch(Process):
    """Push every command as soon as it is read and its queue has a place.

    A command of n words, END of 2, is read in n + 1 cycles; reading the next begins in the cycle
    after the push. `clock` is the cycle before which no push happens that is not known yet.

    Without queues a command's header is read first, in 2 cycles, while the last word of the command
    before goes to its unit; the command itself once its unit is free.

    Parameters
    ----------
    program: all commands in order of execution, END last.
    """

    def __init__(self, machine: Machine, program: Sequence[Issued]) -> None:
        super().__init__(machine, Unit.FETCH)
        self._program = program

    def run(self) -> Iterator[None]:
        """Push, and stop at END once every queue is empty."""
        begin = 0
        direct = not self.machine.spec.queue_depth
        for issued in self._program:
            ready = begin + (_HEADER if direct else max(issued.words, _FEWEST) + 1)
            self.wait_until(ready)
            if issued.unit is None:
                yield from self._stop(issued, ready)
                break
            if issued.unit is Unit.FETCH:
                yield from self._jump(issued, ready + issued.words * direct)
                begin = issued.finish + 1
                continue
            earlier = self._leaver(issued)
            while earlier is not None and earlier.popped < 0:
                leaves = self.machine.processes[issued.unit].leave_bound()
                self.wait_until(leaves + 1 + (issued.words + 1) * direct)
                yield
            found = max(ready, earlier.popped + 1 if earlier else 0)
            issued.pushed = found + (issued.words + 1) * direct
            begin = issued.pushed - 1 if direct else issued.pushed + 1
            self.machine.decided += 1
        self.clock = NEVER

    def _jump(self, issued: Issued, ready: int) -> Iterator[None]:
        """A JUMP takes its tokens itself."""
        mask = issued.command["wait"]
        yield from self.await_tokens(mask)
        issued.pushed = ready
        issued.start = issued.finish = max(ready, self.machine.tokens.take(self.unit, mask))
        self.machine.decided += 1

    def _leaver(self, issued: Issued) -> Issued | None:
        """The command that has to leave the queue first."""
        assert issued.unit is not None
        before = issued.index - self.machine.spec.commands_held
        return self.machine.lines[issued.unit][before] if before >= 0 else None

    def _stop(self, issued: Issued, ready: int) -> Iterator[None]:
        """END waits for all units, and sees that they are idle a cycle later."""
        issued.pushed = issued.start = ready
        last = [line[-1] for line in self.machine.lines.values() if line]
        while any(command.finish < 0 for command in last):
            yield
        issued.finish = max([ready, *(command.finish + 2 for command in last)])
        self.machine.decided += 1
