"""The store unit: when every lane vector enters post-processing, and when its bytes are written."""

from collections.abc import Iterator

import numpy as np

from systolith.cycles.machine import Issued, Machine, Process
from systolith.cycles.nests import Int64Array, counts, offsets, reach, regions, touched
from systolith.cycles.ports import PortLog
from systolith.cycles.timing import NEVER
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import STORE_LOOPS, Command, Unit
from systolith.spec.program import ProgramError

__all__ = ["Store"]


class Store(Process):
    """Take each result vector once it is complete, a lane vector a cycle.

    Attributes
    ----------
    reads: residual reads.
    writes: bytes to the activation memory, noted while a unit that must yield to them has work.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, Unit.STORE)
        self.drain = machine.timing.landed
        regions_count = machine.spec.memory.activation_regions
        self.reads, self.writes = PortLog(regions_count), PortLog(regions_count)
        self._current = 0  # command that is running or comes next
        line = machine.lines[Unit.STORE]
        sizes = [int(np.prod(counts(i.command, STORE_LOOPS))) for i in line]
        self._first = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
        self._read_masks = [_mask(machine.spec, i.command, "r") for i in line]
        self._write_masks = [_mask(machine.spec, i.command, "y") for i in line]
        self._cache: dict[tuple[int, int], int | None] = {}

    def next_read(self, mask: int) -> int | None:
        """The first result, not taken yet, with which a residual in these regions may be read."""
        key = self._current, mask
        if key not in self._cache:
            masks = self._read_masks
            late = range(self._current, len(masks))
            self._cache[key] = next((i for i in late if masks[i] & mask), None)
        found = self._cache[key]
        return None if found is None else max(self._first[found], self.machine.ring.releases)

    def reads_after(self, mask: int) -> bool:
        """Whether a residual of these regions has been read."""
        return any(m & mask for m in self._read_masks[: self._current])

    def next_write(self, mask: int) -> int:
        """First cycle in which bytes of these regions may be written that is not known yet."""
        if any(m & mask for m in self._write_masks[self._current :]):
            return self.clock + self.machine.timing.write
        return NEVER

    def work(self, issued: Issued) -> Iterator[None]:
        """Take results as they come."""
        machine, ring = self.machine, self.machine.ring
        job = _Job(machine.spec, issued.command)
        self.left = int(job.beats.sum())
        after = issued.start + 1
        done = 0
        while done < len(job.beats):
            count = min(ring.appends - ring.releases, len(job.beats) - done)
            if not count:
                compute = machine.processes[Unit.COMPUTE]
                ahead = getattr(compute, "before_append", 0)
                self.wait_until(compute.clock + ahead + machine.timing.credit)
                yield
                continue
            part = slice(done, done + count)
            ready = ring.appended[ring.releases : ring.releases + count] + machine.timing.credit
            beats = job.beats[part]
            before = np.cumsum(beats) - beats
            first = np.maximum.accumulate(np.maximum(ready, after) - before) + before
            free = np.concatenate([[after], first[:-1] + beats[:-1]])
            machine.spans["post_wait"].add(free, first - free)
            self._note(job, part, first)
            ring.release(first + beats - 1)
            after = int(first[-1] + beats[-1])
            self.stepped(int(beats.sum()), after)
            done += count
        self._current += 1
        self.end(issued, after - 1 + machine.timing.landed)

    def _note(self, job: "_Job", part: slice, first: Int64Array) -> None:
        """Note the reads and the writes of some result vectors."""
        times = None
        if self._read_masks[self._current]:
            times = job.spread(part, first)
            self.reads.note(times, job.regions("r", part))
        if self.machine.processes[Unit.MOVE].clock < NEVER:
            times = job.spread(part, first) if times is None else times
            self.writes.note(times + self.machine.timing.write, job.regions("y", part))


def _mask(spec: AcceleratorSpec, command: Command, stream: str) -> int:
    """Regions which the residual (r) or the output stream (y) may touch."""
    if stream == "r" and not command["residual"]:
        return 0
    low, high = reach(command, stream, STORE_LOOPS)
    base = command[f"{stream}_base"]
    return touched(spec, base + low, base + high + spec.array.columns - 1)


class _Job:
    """The lane vectors of a STORE.

    Parameters
    ----------
    beats: per result vector, its lane vectors.

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
        beats = -(-tiles // spec.post.lanes)
        self.beats: Int64Array = np.tile(np.repeat(beats, my * mx), t)
        self._addresses: dict[str, Int64Array] = {}

    def _steps(self, part: slice) -> Int64Array:
        """Number of every lane vector in its result vector."""
        beats = self.beats[part]
        begins = np.cumsum(beats) - beats
        return np.arange(int(beats.sum())) - np.repeat(begins, beats)

    def spread(self, part: slice, first: Int64Array) -> Int64Array:
        """Cycle of every lane vector, from those of the result vectors."""
        return np.repeat(first, self.beats[part]) + self._steps(part)

    def regions(self, stream: str, part: slice) -> Int64Array:
        """Region of every lane vector's bytes."""
        if stream not in self._addresses:
            base = self._command[f"{stream}_base"]
            self._addresses[stream] = base + offsets(self._command, stream, STORE_LOOPS)
        starts = np.repeat(self._addresses[stream][part], self.beats[part])
        return regions(self._spec, starts + self._steps(part) * self._spec.post.lanes)
