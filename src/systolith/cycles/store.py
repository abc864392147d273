"""The store unit: when every lane vector enters post-processing, and when its bytes are written."""

from collections.abc import Iterator

import numpy as np

from systolith.cycles.machine import Issued, Machine
from systolith.cycles.nests import Int64Array, counts, offsets, reach, regions, touched
from systolith.cycles.ports import Port, grant
from systolith.cycles.process import Process
from systolith.cycles.timing import NEVER
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import STORE_LOOPS, Command, Unit
from systolith.spec.program import ProgramError

__all__ = ["Store"]


class Store(Process):
    """Take each result vector once it is complete, a lane vector a cycle.

    A lane vector with a residual waits while a depthwise pass reads the residual's region.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, Unit.STORE)
        self.drain = machine.timing.landed
        self.delays = {Port.POST: machine.timing.write}
        line = machine.lines[Unit.STORE]
        sizes = [int(np.prod(counts(issued.command, STORE_LOOPS))) for issued in line]
        self._first = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
        self._cache: dict[tuple[int, int], int | None] = {}

    def touches(self, command: Command) -> dict[Port, int]:
        """Regions of the output and of the residual."""
        masks = {}
        for port, stream in ((Port.POST, "y"), (Port.RESIDUAL, "r")):
            if stream == "y" or command["residual"]:
                low, high = reach(command, stream, STORE_LOOPS)
                low, high = low + command[f"{stream}_base"], high + command[f"{stream}_base"]
                step = command["tile_channels"] - 1  # of the last lane vector, at most
                step >>= int(stream == "y" and command["packed"])
                masks[port] = touched(self.machine.spec, low, high + step)
        return masks

    def next_read(self, mask: int) -> int | None:
        """The first result, not taken yet, with which a residual in these regions may be read."""
        key = self._current, mask
        if key not in self._cache:
            masks = self._touched[Port.RESIDUAL]
            late = range(self._current, len(masks))
            self._cache[key] = next((i for i in late if masks[i] & mask), None)
        found = self._cache[key]
        return None if found is None else max(self._first[found], self.machine.ring.releases)

    def work(self, issued: Issued) -> Iterator[None]:
        """Take results as they come."""
        machine, ring = self.machine, self.machine.ring
        job = _Job(machine.spec, issued.command)
        self.left = len(job.first)
        after, done = issued.start + 1, 0
        while self.left:
            known = ring.appends - self._first[self._current]
            count = int(np.searchsorted(job.vector, known)) - done
            if not count:
                compute = machine.processes[Unit.COMPUTE]
                ahead = getattr(compute, "before_append", 0)
                self.wait_until(compute.clock + ahead + machine.timing.credit)
                yield
                continue
            part = slice(done, done + count)
            earliest = self._ready(job, part)
            times = self._granted(job, part, after, earliest)
            if not len(times):
                yield from self.watch()
                continue
            after = self._commit(job, done, times, earliest, after)
            done += len(times)
        self.end(issued, after - 1 + machine.timing.landed)

    def _ready(self, job: "_Job", part: slice) -> Int64Array:
        """First cycle of lane vectors: that of their result if they are its first, else 0."""
        begins = self._first[self._current]
        ready = self.machine.ring.appended[begins + job.vector[part]] + self.machine.timing.credit
        return np.where(job.first[part], ready, 0)

    def _granted(self, job: "_Job", part: slice, after: int, earliest: Int64Array) -> Int64Array:
        """Cycles of lane vectors, as far as they can be known."""
        machine = self.machine
        mask = self._touched[Port.RESIDUAL][self._current]
        mask &= machine.processes[Unit.COMPUTE].ever(Port.URGENT)
        if not mask:
            return grant(after, earliest, earliest, (), NEVER)
        end = machine.limit((Port.URGENT,), mask)
        log = machine.uses[Port.URGENT]
        times = grant(after, earliest, job.regions("r", part), (log,), end)
        if not len(times):
            self.wait_until(end)
        return times

    def _commit(
        self, job: "_Job", done: int, times: Int64Array, earliest: Int64Array, after: int
    ) -> int:
        """Take over decided lane vectors; return the cycle after the last."""
        machine = self.machine
        part = slice(done, done + len(times))
        free = np.concatenate([[after], times[:-1] + 1])
        machine.spans["post_wait"].add(free, np.maximum(earliest[: len(times)] - free, 0))
        if self._touched[Port.RESIDUAL][self._current]:
            machine.note(Port.RESIDUAL, times, job.regions("r", part))
        if self._touched[Port.POST][self._current] & machine.wanted(Port.POST):
            writes = job.writes[part]
            machine.note(
                Port.POST, times[writes] + machine.timing.write, job.regions("y", part)[writes]
            )
        machine.ring.release(times[job.last[part]])
        self.stepped(len(times), int(times[-1]) + 1)
        return int(times[-1]) + 1


class _Job:
    """The lane vectors of a STORE.

    Parameters
    ----------
    vector: per lane vector, the number of its result vector in the command.
    step: per lane vector, its number in the result vector.
    first, last: whether it is the result vector's first, last.
    writes: whether it completes a byte: packed, every other one of a single lane may not.

    Raises
    ------
    ProgramError: channel tiles that have no channels.
    """

    def __init__(self, spec: AcceleratorSpec, command: Command) -> None:
        t, n, my, mx = counts(command, STORE_LOOPS)
        self._spec, self._command = spec, command
        width, channels = command["tile_channels"], command["channels"]
        tiles = np.minimum(channels - width * np.arange(n), width)
        if tiles[-1] < 1:
            raise ProgramError(f"channels must be more than {(n - 1) * width}, not {channels}")
        beats = np.tile(np.repeat(-(-tiles // spec.post.lanes), my * mx), t)
        ends = np.cumsum(beats)
        self.vector: Int64Array = np.repeat(np.arange(len(beats)), beats)
        self.step: Int64Array = np.arange(int(ends[-1])) - np.repeat(ends - beats, beats)
        self.first = self.step == 0
        self.last = np.zeros(len(self.first), bool)
        self.last[ends - 1] = True
        waits = command["packed"] and spec.post.lanes == 1
        self.writes = self.last | bool(not waits) | (self.step % 2 == 1)
        self._regions: dict[str, Int64Array] = {}

    def regions(self, stream: str, part: slice) -> Int64Array:
        """Region of every lane vector's bytes."""
        if stream not in self._regions:
            starts = self._command[f"{stream}_base"] + offsets(self._command, stream, STORE_LOOPS)
            channels = self.step * self._spec.post.lanes
            addresses = starts[self.vector] + (
                channels >> int(stream == "y" and self._command["packed"])
            )
            self._regions[stream] = regions(self._spec, addresses)
        return self._regions[stream][part]
