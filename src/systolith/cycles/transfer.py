"""The load and the save unit: when bursts are issued, and when their beats move."""

from collections.abc import Generator, Iterator

import numpy as np

from systolith.cycles.external import Bandwidth, MemoryModel, Stalls, Transfer, on_chip
from systolith.cycles.machine import Issued, Machine
from systolith.cycles.ports import Port, before, grant, next_free
from systolith.cycles.process import Process
from systolith.cycles.timing import READ_LATENCY, WRITE_LATENCY
from systolith.spec.commands import Command, Target, Unit

__all__ = ["Load", "Save"]

_AHEAD = READ_LATENCY + 2
"""Beats that a SAVE reads before the first of them is sent."""


class _Bursts:
    """When bursts are handed to the master: one a cycle, but few under way.

    Parameters
    ----------
    outstanding: bursts that may be under way.
    stalls: of the address channel.

    Attributes
    ----------
    taken, ended: cycles in which bursts were handed over, and in which they ceased to be under way.
    known: cycles in which the memory took their addresses.
    """

    def __init__(self, outstanding: int, stalls: Stalls) -> None:
        self._outstanding, self._stalls = outstanding, stalls
        self._next = self._left = 0
        self.taken: list[int] = []
        self.known: list[int] = []
        self.ended: list[int] = []

    def begin(self, start: int, count: int) -> None:
        """Begin with a command's bursts."""
        self._next, self._left = max(self._next, start + 2), count

    def issue(self) -> bool:
        """Hand over all bursts whose predecessors have ended; return whether none is left."""
        while self._left and len(self.taken) < len(self.ended) + self._outstanding:
            number = len(self.taken) - self._outstanding
            if number >= 0:
                self._next = max(self._next, self.ended[number] + 1)
            self.taken.append(self._next)
            self._next += 1 + self._stalls.draw()
            self.known.append(self._next)
            self._left -= 1
        return not self._left


class Load(Process):
    """Read bursts ahead, also those of the next commands; write beat after beat.

    Attributes
    ----------
    busy: cycles in which commands ran.
    """

    drain = WRITE_LATENCY

    def __init__(self, machine: Machine, memory: MemoryModel) -> None:
        super().__init__(machine, Unit.LOAD)
        self._latency = memory.latency
        self._bandwidth = Bandwidth(memory, "r") if memory.paced else None
        self._bursts = _Bursts(machine.spec.external.outstanding, Stalls(memory.stalls, "ar"))
        self._moved = 0  # when the last beat moved on the bus
        self._empty = 0  # first cycle in which the next may
        self._ended: list[int] = []  # last writes of commands
        self.busy = 0

    def touches(self, command: Command) -> dict[Port, int]:
        """Regions that are written."""
        if command["target"] != Target.ACTIVATIONS:
            return {}
        return {Port.LOAD: on_chip(self.machine.spec, command)}

    def leave_bound(self) -> int:
        """A cycle before which no command leaves the queue if that is not known yet."""
        return self.clock if self.left else self.head + 3

    def work(self, issued: Issued) -> Iterator[None]:
        """Burst after burst."""
        job = Transfer(self.machine.spec, issued.command)
        self._bursts.begin(issued.start, len(job.ends))
        self.left = len(job.sizes)
        self.wait_until(issued.start + 4 + self._latency)
        begin = 0
        for end in job.ends.tolist():
            self._issue(issued)
            due = self._bursts.known[len(self._bursts.ended)] + self._latency
            if self._bandwidth is None and self._whole(issued, job, begin, end, due):
                begin = end
                continue
            single = self._bandwidth is not None
            for high in range(begin + 1, end + 1) if single else sorted({end - 1, end} - {begin}):
                if self._bandwidth is not None:
                    # The memory spends its credit when it shows a beat, not when that moves.
                    due = self._bandwidth.take(max(due, self._moved + 1))
                if high == end or single:
                    self._moved = max(due, self._empty)
                if high == end:
                    self._bursts.ended.append(self._moved)
                    self._issue(issued)
                self._empty = yield from self._write(issued.command, job, begin, high, due)
                begin = high
        self._finish(issued)

    def _whole(self, issued: Issued, job: Transfer, begin: int, end: int, due: int) -> bool:
        """Decide a burst whose beats come one a cycle, if nothing is in the way of their writes."""
        first = max(due, self._empty)
        last = first + int(job.written[end] - job.written[begin])
        if issued.command["target"] == Target.ACTIVATIONS:
            mask, region = self._touched[Port.LOAD][self._current], job.regions[begin]
            whole = region == job.regions[end - 1]
            if not whole or not self.machine.clear(Port.LOAD, mask, region, first + 1, last + 1):
                return False
        # The last beat moves when the one before it has been written.
        self._moved = max(due, first + int(job.written[end - 1] - job.written[begin]))
        self._bursts.ended.append(self._moved)
        self._issue(issued)
        self.stepped(end - begin, last)
        self._empty = last
        return True

    def _issue(self, issued: Issued) -> None:
        """Hand over bursts; behind the last the command leaves the queue."""
        if self._bursts.issue() and issued.popped < 0:
            issued.popped = self._bursts.taken[-1] + 1
            self.machine.decided += 1

    def _finish(self, issued: Issued) -> None:
        """The next command may have started already."""
        before = self._ended[-1] + WRITE_LATENCY if self._ended else 0
        self._ended.append(self._empty)
        clock = self.clock
        self.end(issued, self._empty + WRITE_LATENCY)
        self.clock = max(clock, self._empty + 2)
        self._empty += 1  # a command's last beat leaves before the next one's first comes
        self.busy += issued.finish - max(issued.start, before)
        self.free = issued.popped + 1
        job = len(self._ended) - self.machine.spec.external.outstanding
        if job >= 0:
            self.free = max(self.free, self._ended[job] + 1)

    def _write(
        self, command: Command, job: Transfer, begin: int, end: int, due: int
    ) -> Generator[None, None, int]:
        """Last cycle of the writes of some beats, which the memory shows from ``due`` on."""
        machine, mask = self.machine, self._touched[Port.LOAD][self._current]
        free, region = max(due, self._empty), job.regions[begin]
        last = free + int(job.written[end] - job.written[begin])
        plain = command["target"] != Target.ACTIVATIONS
        alone = end - begin == 1
        if plain or (alone and machine.clear(Port.LOAD, mask, region, free + 1, last + 1)):
            self.stepped(end - begin, last)
            return last
        where = np.array(job.regions[begin:end], np.int64)
        written = np.zeros(0, np.int64)
        while len(written) < len(where):
            known = machine.limit(before(Port.LOAD), mask)
            first = int(written[-1]) + 1 if len(written) else free + 1
            rest = where[len(written) :]
            logs = [machine.uses[port] for port in before(Port.LOAD)]
            times = grant(first, np.zeros(len(rest), np.int64), rest, logs, known)
            if not len(times):
                self.wait_until(max(first, known))
                yield from self.watch()
                continue
            written = np.concatenate([written, times])
            self.stepped(len(times), int(times[-1]))
        return int(written[-1])


class Save(Process):
    """Read beats ahead; send them after their bursts.

    Attributes
    ----------
    busy: cycles in which commands ran.
    """

    def __init__(self, machine: Machine, memory: MemoryModel) -> None:
        super().__init__(machine, Unit.SAVE)
        self._latency = memory.latency
        self._bandwidth = Bandwidth(memory, "w") if memory.paced else None
        self._addresses, self._answers = (Stalls(memory.stalls, c) for c in ("aw", "b"))
        self.drain = READ_LATENCY + 2 + self._latency
        self.busy = 0

    def touches(self, command: Command) -> dict[Port, int]:
        """Regions that are read."""
        return {Port.SAVE: on_chip(self.machine.spec, command)}

    def work(self, issued: Issued) -> Iterator[None]:
        """Beat after beat."""
        spec = self.machine.spec
        job = Transfer(spec, issued.command)
        bursts = _Bursts(spec.external.outstanding, self._addresses)
        bursts.begin(issued.start, len(job.ends))
        mask = self._touched[Port.SAVE][self._current]
        self.left = len(job.sizes)
        sent: list[int] = []
        accepted = read = begin = 0
        for number, end in enumerate(job.ends.tolist()):
            bursts.issue()
            taken = bursts.taken[number]
            first = max(read, bursts.taken[int(job.heads[begin])]) + 1
            if self._bandwidth is None and self._whole(
                job, begin, end, first, accepted, taken, sent
            ):
                read, accepted = sent[-1] - READ_LATENCY - 1, sent[-1] + 1
                begin = end
            for beat in range(begin, end):
                asked = max(read + 1, bursts.taken[int(job.heads[beat])] + 1)
                if beat >= _AHEAD:
                    asked = max(asked, sent[beat - _AHEAD] + 1)
                read = yield from self._read(job.regions[beat], mask, asked)
                # A beat goes to the bus's register when that is free and its burst is known.
                sent.append(max(read + READ_LATENCY + 1, accepted, taken + 1))
                accepted = sent[-1] + 1
                if self._bandwidth is not None:
                    accepted = self._bandwidth.take(max(accepted, bursts.known[number]))
            answer = accepted + self._latency
            answer = max(answer, bursts.ended[-1] + 1) if number else answer
            bursts.ended.append(answer + self._answers.draw())
            begin = end
        self.end(issued, bursts.ended[-1] + 1)
        self.busy += issued.finish - issued.start

    def _whole(
        self,
        job: Transfer,
        begin: int,
        end: int,
        first: int,
        free: int,
        taken: int,
        sent: list[int],
    ) -> bool:
        """Decide a burst whose beats are read, and sent, one a cycle, if nothing is in their way.

        Parameters
        ----------
        first, free, taken: a cycle before which it is not read, not sent, or not known to the bus.
        sent: when beats were sent; the burst's are appended.
        """
        behind = sent[-_AHEAD:]
        more = _AHEAD - len(behind)
        if not more:
            first = max(first, behind[0] + 1)
        if any(done >= first + i for i, done in enumerate(behind, more)):
            return False
        start, last = first + READ_LATENCY + 1, first + end - begin
        region, mask = job.regions[begin], self._touched[Port.SAVE][self._current]
        if start < free or start <= taken or region != job.regions[end - 1]:
            return False
        if not self.machine.clear(Port.SAVE, mask, region, first, last):
            return False
        sent += range(start, start + end - begin)
        self.stepped(end - begin, last)
        return True

    def _read(self, region: int, mask: int, asked: int) -> Generator[None, None, int]:
        """Cycle in which a beat is read, in the first free one from ``asked`` on."""
        machine = self.machine
        logs = [machine.uses[port] for port in before(Port.SAVE)]
        self.wait_until(asked)
        while True:
            end = machine.limit(before(Port.SAVE), mask)
            cycle = next_free(asked, region, logs, end) if asked < end else end
            if cycle < end:
                self.stepped(1, cycle + 1)
                return cycle
            self.wait_until(end)
            yield from self.watch()
