"""The move unit: when every line of a FILL or a COPY is read and written."""

from collections.abc import Iterator, Sequence

import numpy as np

from systolith.cycles.machine import Issued, Machine, Process
from systolith.cycles.nests import Int64Array, counts, offsets, reach, regions, touched
from systolith.cycles.ports import YIELDING, Port, grant, next_free
from systolith.cycles.timing import READ_LATENCY, WRITE_LATENCY
from systolith.spec.commands import COPY_LOOPS, FILL_LOOPS, Command, Opcode, Unit

__all__ = ["Move"]

_SLOTS = 4
"""Lines of a copy between their read and their write."""

_READ_BEFORE = tuple(port for port, users in YIELDING.items() if Port.COPY in users)
_WRITTEN_BEFORE = tuple(port for port, users in YIELDING.items() if Port.LINE in users)


class Move(Process):
    """A line a cycle, unless units that come first use its region."""

    drain = WRITE_LATENCY

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, Unit.MOVE)

    def touches(self, command: Command) -> dict[Port, int]:
        """Regions of source and target."""
        masks = {Port.LINE: self._mask(command, "d")}
        if command.opcode is Opcode.COPY:
            masks[Port.COPY] = self._mask(command, "s")
        return masks

    def _mask(self, command: Command, stream: str) -> int:
        low, high = reach(command, stream, _loops(command))
        base = command[f"{stream}_base"]
        return touched(self.machine.spec, base + low, base + high + command["length"])

    def work(self, issued: Issued) -> Iterator[None]:
        """Line after line, as far as the other units' requests are known."""
        targets = self._lines(issued.command, "d")
        self.left = len(targets)
        if issued.command.opcode is Opcode.COPY:
            yield from self._copy(issued, self._lines(issued.command, "s"), targets)
        else:
            yield from self._fill(issued, targets)

    def _lines(self, command: Command, stream: str) -> Int64Array:
        """Region of every line's first byte; one line at least in a run."""
        counts(command, _loops(command))
        runs = command[f"{stream}_base"] + offsets(command, stream, _loops(command))
        inside = np.arange(0, max(command["length"], 1), self.machine.spec.line_bytes)
        return regions(self.machine.spec, (runs[:, None] + inside).reshape(-1))

    def _fill(self, issued: Issued, targets: Int64Array) -> Iterator[None]:
        """Write."""
        machine = self.machine
        after = issued.start + 1
        while self.left:
            rest = targets[len(targets) - self.left :]
            end = machine.limit(_WRITTEN_BEFORE, self._mask(issued.command, "d"))
            logs = [machine.uses[port] for port in _WRITTEN_BEFORE]
            times = grant(after, np.zeros(len(rest), np.int64), rest, logs, end)
            if not len(times):
                yield from self.watch()
                continue
            after = int(times[-1]) + 1
            self.stepped(len(times), after)
        self.end(issued, after - 1 + WRITE_LATENCY)

    def _copy(self, issued: Issued, sources: Int64Array, targets: Int64Array) -> Iterator[None]:
        """Read and write, with at most `_SLOTS` lines between."""
        reads: list[int] = []
        writes: list[int] = []
        start = issued.start + 1
        while self.left:
            asked = max(start, reads[-1] + 1 if reads else 0)
            if len(reads) >= _SLOTS:
                asked = max(asked, writes[len(reads) - _SLOTS] + 1)
            known = self._known(issued.command, asked)
            many = min(known - asked - READ_LATENCY, self.left)
            if many > 0 and self._undisturbed(issued.command, asked, many, writes):
                reads += range(asked, asked + many)
                writes += range(asked + READ_LATENCY, asked + READ_LATENCY + many)
                self.stepped(many, asked + many)
                continue
            place = len(reads)
            line = self._one(int(sources[place]), int(targets[place]), asked, writes, known)
            if line is None:
                self.wait_until(asked)
                yield from self.watch()
                continue
            reads.append(line[0])
            writes.append(line[1])
            self.stepped(1, line[0] + 1)
        self.end(issued, writes[-1] + WRITE_LATENCY)

    def _known(self, command: Command, asked: int) -> int:
        """First cycle in which another unit may come first that is not known yet."""
        read = self.machine.limit(_READ_BEFORE, self._mask(command, "s"))
        return min(read, self.machine.limit(_WRITTEN_BEFORE, self._mask(command, "d")))

    def _undisturbed(self, command: Command, asked: int, many: int, writes: Sequence[int]) -> bool:
        """Whether nothing comes between the next lines and their ports."""
        late = writes[-_SLOTS:]
        free = asked + _SLOTS - len(late)  # when the slot of the first of them is needed
        if any(done >= free + i for i, done in enumerate(late)):
            return False
        if writes and writes[-1] >= asked + READ_LATENCY:
            return False
        end = asked + READ_LATENCY + many
        return not any(
            self.machine.uses[port].any_between(self._mask(command, stream), asked, end)
            for ports, stream in ((_READ_BEFORE, "s"), (_WRITTEN_BEFORE, "d"))
            for port in ports
        )

    def _one(
        self, source: int, target: int, asked: int, writes: Sequence[int], known: int
    ) -> tuple[int, int] | None:
        """Cycles of a line's read and write, or None if they are not known yet."""
        uses = self.machine.uses
        read = next_free(asked, source, [uses[port] for port in _READ_BEFORE], known)
        if read >= known:
            return None
        offered = max(read + READ_LATENCY, writes[-1] + 1 if writes else 0)
        if offered >= known:
            return None
        write = next_free(offered, target, [uses[port] for port in _WRITTEN_BEFORE], known)
        return None if write >= known else (read, write)


def _loops(command: Command) -> tuple[str, ...]:
    return COPY_LOOPS if command.opcode is Opcode.COPY else FILL_LOOPS
