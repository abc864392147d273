"""The move unit: when every line of a command is read and written."""

from collections.abc import Iterator, Sequence

import numpy as np

from systolith.cycles.machine import Issued, Machine
from systolith.cycles.nests import Int64Array, counts, limited, offsets, reach, regions, touched
from systolith.cycles.ports import Port, PortLog, before, grant, next_free
from systolith.cycles.process import Process
from systolith.cycles.softmax import FORMS, SoftmaxRows
from systolith.cycles.timing import NEVER, READ_LATENCY, WRITE_LATENCY
from systolith.spec.commands import COPY_LOOPS, FILL_LOOPS, Command, Opcode, Unit
from systolith.spec.program import ProgramError
from systolith.spec.softmax import SoftmaxForm

__all__ = ["Move"]

_SLOTS = 4
"""Lines of a copy between their read and their write, at most."""
_CONVERTED_SLOTS = 16
"""Those of a conversion."""
_LANES = {Opcode.QUANTIZE: 8, Opcode.DEQUANTIZE: 4}
"""Latency of the lanes that convert: tests compare them with the hardware's."""
_WIDTHS = {Opcode.QUANTIZE: (4, 1), Opcode.DEQUANTIZE: (1, 4)}
"""Bytes of an element that is read, that is written."""
_LOOPS = {
    Opcode.FILL: FILL_LOOPS,
    Opcode.COPY: COPY_LOOPS,
    Opcode.SOFTMAX: ("row",),
    Opcode.QUANTIZE: COPY_LOOPS,
    Opcode.DEQUANTIZE: COPY_LOOPS,
}
_READ_BEFORE, _WRITTEN_BEFORE = before(Port.COPY), before(Port.LINE)


class Move(Process):
    """A line a cycle, unless units that come first use its region."""

    drain = WRITE_LATENCY

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, Unit.MOVE)
        self._next_write = 0  # a cycle before which a COPY writes no line that is not decided

    def next_use(self, port: Port, mask: int) -> int:
        """First cycle in which ``port`` may be used in the regions that is not known yet."""
        if port is Port.LINE and self._next_write and self._touched[port][self._current] & mask:
            return self._next_write
        return super().next_use(port, mask)

    def touches(self, command: Command) -> dict[Port, int]:
        """Regions of source and target."""
        masks = {Port.LINE: self._mask(command, "d")}
        if command.opcode is not Opcode.FILL:
            masks[Port.COPY] = self._mask(command, "s")
        return masks

    def _mask(self, command: Command, stream: str) -> int:
        low, high = reach(command, stream, _loops(command))
        base, size = command[f"{stream}_base"], command["length"] * _width(command, stream)
        return touched(self.machine.spec, base + low, base + high + size)

    def work(self, issued: Issued) -> Iterator[None]:
        """Line after line, as far as the other units' requests are known."""
        targets = self._lines(issued.command, "d")
        self.left = len(targets)
        if issued.command.opcode in (Opcode.COPY, *_LANES):
            yield from self._copy(issued, self._lines(issued.command, "s"), targets)
        elif issued.command.opcode is Opcode.SOFTMAX:
            yield from self._softmax(issued, self._lines(issued.command, "s"), targets)
        else:
            yield from self._fill(issued, targets)

    def _lines(self, command: Command, stream: str) -> Int64Array:
        """Region of every line's first byte; one line at least in a run."""
        counts(command, _loops(command))
        runs = command[f"{stream}_base"] + offsets(command, stream, _loops(command))
        width = _width(command, stream)
        size, piece = command["length"] * width, self.machine.spec.line_bytes
        if command.opcode in _LANES:
            piece = self.machine.spec.post.quantize_lanes * width
        limited("bytes of a command", len(runs) * size)
        inside = np.arange(0, max(size, 1), piece)
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
                self.wait_until(end)
                yield from self.watch()
                continue
            self._note(Port.LINE, times, rest[: len(times)])
            after = int(times[-1]) + 1
            self.stepped(len(times), after)
        self.end(issued, after - 1 + WRITE_LATENCY)

    def _copy(self, issued: Issued, sources: Int64Array, targets: Int64Array) -> Iterator[None]:
        """Read and write, with a few lines between."""
        latency = _LANES.get(issued.command.opcode)
        slots = _SLOTS if latency is None else _CONVERTED_SLOTS
        delay = READ_LATENCY + (latency or 0)
        copy = _Copy(issued.start + 1, sources, targets, slots, delay)
        read_mask, write_mask = self._mask(issued.command, "s"), self._mask(issued.command, "d")
        while len(copy.writes) < len(targets):
            known_read = self.machine.limit(_READ_BEFORE, read_mask)
            known_write = self.machine.limit(_WRITTEN_BEFORE, write_mask)
            many, read, written = 0, len(copy.reads), len(copy.writes)
            if len(copy.reads) == len(copy.writes):
                asked = copy.asked()
                end = min(known_read, known_write - delay, asked + self.left)
                if self._free(read_mask, write_mask, asked, end, delay) and copy.runs():
                    many = copy.advance(end - asked)
            if not many:
                slot_known = copy.asked() < NEVER
                many = copy.read_one(self._logs(_READ_BEFORE), known_read)
                wrote = copy.write_one(self._logs(_WRITTEN_BEFORE), known_write)
                self._next_write = copy.offered(0 if wrote else known_write)
                # The next read is known to be late only if it was tried.
                refused = known_read if slot_known and not many else 0
                self.wait_until(copy.bound(refused, self._next_write))
                if len(copy.writes) == len(copy.reads) < len(sources):
                    self._next_write = self.clock + delay
                if not many and not wrote:
                    yield from self.watch()
                    continue
            for port, times, where, done in (
                (Port.COPY, copy.reads, sources, read),
                (Port.LINE, copy.writes, targets, written),
            ):
                self._note(
                    port,
                    np.array(times[done:], np.int64),
                    where[done : len(times)],
                )
            self.stepped(many, copy.bound(0, self._next_write))
        self._next_write = 0
        self.end(issued, copy.writes[-1] + WRITE_LATENCY)

    def _softmax(self, issued: Issued, sources: Int64Array, targets: Int64Array) -> Iterator[None]:
        """Read and write, whichever is asked for first."""
        machine, command = self.machine, issued.command
        if not command["length"]:
            raise ProgramError("length of SOFTMAX must be at least 1, not 0")
        form, line = FORMS[SoftmaxForm(command["form"])], machine.spec.line_bytes
        rows = SoftmaxRows(form, issued.start, command["length"], line)
        places = (Port.COPY, sources, _READ_BEFORE), (Port.LINE, targets, _WRITTEN_BEFORE)
        refused = [0, 0]  # cycles before which the next read, the next write is not granted
        while self.left:
            asked = [max(a, b) for a, b in zip((rows.read, rows.write), refused, strict=True)]
            self._next_write = asked[1] if asked[1] < NEVER else asked[0] + 1
            writes = int(asked[1] < asked[0])
            first = asked[writes]
            self.wait_until(first)
            port, where, others = places[writes]
            known = machine.limit(others, self._touched[port][self._current])
            if first >= known:
                yield from self.watch()
                continue
            place = rows.write_place if writes else rows.read_place
            cycle = next_free(first, int(where[place]), self._logs(others), known)
            refused[writes] = cycle if cycle == known else 0
            if cycle < known:
                self._note(port, np.array([cycle], np.int64), where[place : place + 1])
                (rows.granted_write if writes else rows.granted_read)(cycle)
                self.stepped(writes, min(rows.read, rows.write))
        self._next_write = 0
        self.end(issued, cycle + WRITE_LATENCY)

    def _note(self, port: Port, times: Int64Array, where: Int64Array) -> None:
        """Note requests, if a unit yields to them."""
        if self._touched[port][self._current] & self.machine.wanted(port):
            self.machine.note(port, times, where)

    def _logs(self, ports: tuple[Port, ...]) -> list[PortLog]:
        return [self.machine.uses[port] for port in ports]

    def _free(self, read_mask: int, write_mask: int, first: int, end: int, delay: int) -> bool:
        """Whether no other unit reads where and when lines might be, nor writes a little later."""
        return end > first and not (
            any(log.any_between(read_mask, first, end) for log in self._logs(_READ_BEFORE))
            or any(
                log.any_between(write_mask, first + delay, end + delay)
                for log in self._logs(_WRITTEN_BEFORE)
            )
        )


class _Copy:
    """Lines of a COPY.

    Parameters
    ----------
    first: no read comes before.
    sources, targets: regions of the lines.
    slots: lines between their read and their write, at most.
    latency: cycles from a line's read to the first in which it may be written.

    Attributes
    ----------
    reads, writes: cycles decided so far.
    """

    def __init__(
        self, first: int, sources: Int64Array, targets: Int64Array, slots: int, latency: int
    ) -> None:
        self._first, self._sources, self._targets = first, sources, targets
        self._slots, self._latency = slots, latency
        self.reads: list[int] = []
        self.writes: list[int] = []

    def asked(self) -> int:
        """First cycle in which the next line may be read; NEVER if its slot's write is unknown."""
        slot = len(self.reads) - self._slots
        if slot >= len(self.writes):
            return NEVER
        after = self.reads[-1] + 1 if self.reads else self._first
        return max(after, self.writes[slot] + 1) if slot >= 0 else after

    def offered(self, known: int) -> int:
        """A cycle before which no line is written whose write is not decided."""
        after = self.writes[-1] + 1 if self.writes else 0
        if len(self.writes) < len(self.reads):
            return max(after, self.reads[len(self.writes)] + self._latency, known)
        return after

    def bound(self, known: int, next_write: int) -> int:
        """A cycle before which no line is read whose read is not decided."""
        asked = self.asked()
        if asked == NEVER or len(self.reads) == len(self._sources):
            return next_write
        return max(asked, known)

    def runs(self) -> bool:
        """Whether lines, undisturbed, would be read and written one a cycle from now on."""
        asked, late = self.asked(), self.writes[-self._slots :]
        free = asked + self._slots - len(late)  # when the slot of the first of them is needed
        in_time = all(done < free + i for i, done in enumerate(late))
        return in_time and (not late or late[-1] < asked + self._latency)

    def advance(self, count: int) -> int:
        """Decide ``count`` undisturbed lines."""
        asked = self.asked()
        self.reads += range(asked, asked + count)
        first = asked + self._latency
        self.writes += range(first, first + count)
        return count

    def read_one(self, logs: Sequence[PortLog], known: int) -> int:
        """Decide the next read, if it is known by now; return how many were decided."""
        asked = self.asked()
        if len(self.reads) == len(self._sources) or asked >= known:
            return 0
        cycle = next_free(asked, int(self._sources[len(self.reads)]), logs, known)
        if cycle < known:
            self.reads.append(cycle)
        return int(cycle < known)

    def write_one(self, logs: Sequence[PortLog], known: int) -> int:
        """Decide the next write, if it is known by now; return how many were decided."""
        place = len(self.writes)
        if place == len(self.reads) or self.offered(0) >= known:
            return 0
        cycle = next_free(self.offered(0), int(self._targets[place]), logs, known)
        if cycle < known:
            self.writes.append(cycle)
        return int(cycle < known)


def _width(command: Command, stream: str) -> int:
    """Bytes of an element of a stream."""
    return _WIDTHS.get(command.opcode, (1, 1))["sd".index(stream)]


def _loops(command: Command) -> tuple[str, ...]:
    return _LOOPS[command.opcode]
