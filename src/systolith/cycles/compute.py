"""The compute unit: when every activation vector enters the array."""

from collections.abc import Iterator

import numpy as np

from systolith.cycles.machine import Issued, Machine
from systolith.cycles.nests import Int64Array
from systolith.cycles.ports import Port, grant
from systolith.cycles.process import Process
from systolith.cycles.store import Store
from systolith.cycles.streams import Stream, reads
from systolith.cycles.timing import MINIMUM_PASS, NEVER
from systolith.cycles.weights import Loader
from systolith.spec.commands import Command, Unit

__all__ = ["Compute"]


class Compute(Process):
    """Feeder and weight loader.

    Vectors of a pass follow each other but for want of room in the ring (last passes only) and of
    the read port. Passes that want neither are decided all at once, others vector by vector, as far
    as the reads of the store unit are known; rows of a depthwise pass as their room is known.

    Attributes
    ----------
    before_append: vectors to issue until the next one whose result goes to the ring, at least.
    """

    elsewhere = 1 << Unit.LOAD

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, Unit.COMPUTE)
        self.before_append = 0
        self._next = 0  # first cycle in which a vector may be issued
        self._spaced = 0  # first cycle in which a pass may begin
        self._loader = Loader(machine.spec)

    def touches(self, command: Command) -> dict[Port, int]:
        """Regions of the activations."""
        mask = reads(self.machine.spec, command)
        return {Port.STREAM: mask, **({Port.URGENT: mask} if command["depthwise"] else {})}

    def work(self, issued: Issued) -> Iterator[None]:
        """Tile after tile, pass after pass."""
        spans, loader = self.machine.spans, self._loader
        head = max(issued.pushed + 1, self.free)
        spans["stall_commands"].add(self.free, head - self.free)
        spans["stall_tokens"].add(head, issued.start - head)
        stream = Stream(self.machine.spec, issued.command)
        self.left = stream.tiles * stream.passes * stream.pixels
        self._next = issued.start + 1
        yield from self._await_load(issued)
        needs_tile = True
        for tile in range(stream.tiles):
            number = 0
            while number < stream.passes:
                ready = max(self._next, loader.ready if needs_tile else 0)
                early = stream.early - number
                self.before_append = early * stream.pixels
                steady = early and self._steady(stream, tile, number, ready, needs_tile)
                if not steady:
                    spans["stall_weights"].add(self._next, ready - self._next)
                    self._next = ready
                    decide = self._rows if stream.rows and not early else self._pass
                    yield from decide(stream, tile, number, needs_tile)
                number += early if steady else 1
                needs_tile = not stream.hold
        self.before_append = 0
        self.end(issued, self._next - 1)

    def _await_load(self, issued: Issued) -> Iterator[None]:
        """The loader begins with a command's tiles before the command itself may start.

        It alone waits for the tokens of unit LOAD, which brings weights.
        """
        tokens, mask = self.machine.tokens, issued.command["wait"] & self.elsewhere
        while tokens.lacking(self.unit, mask):
            load = self.machine.processes[Unit.LOAD]
            self.wait_until(load.finish_bound() + 2 + self.machine.timing.tile)
            yield
        active = max(issued.pushed, self._loader.loaded, tokens.take(self.unit, mask) - 1) + 2
        self._loader.begin(issued.command, active, issued.rows)

    def _steady(self, stream: Stream, tile: int, number: int, ready: int, needs_tile: bool) -> bool:
        """Decide the passes before a tile's last, if only their weights can hold them up."""
        passes, pixels = stream.early - number, stream.pixels
        if stream.uneven:
            return False
        first, loader = max(ready, self._spaced), self._loader
        spacing = max(pixels, MINIMUM_PASS)
        if stream.hold:
            begins = loaded = first + spacing * np.arange(passes)
        else:
            begins, loaded = loader.steady(passes, spacing, first)
        end = int(begins[-1]) + pixels
        if not self._undisturbed(stream, ready, end):
            return False
        spans = self.machine.spans
        spans["stall_weights"].add(self._next, ready - self._next)
        spans["stall_accumulators"].add(ready, first - ready)
        ends = begins[:-1] + pixels
        late = ends if stream.hold else np.maximum(ends, loaded[1:])
        spans["stall_weights"].add(ends, late - ends)
        spans["stall_accumulators"].add(late, begins[1:] - late)
        if self._noted(stream):
            times = (begins[:, None] + np.arange(pixels)).reshape(-1)
            self._note(stream, times, stream.regions(tile, number, passes))
        if needs_tile:
            held = slice(1 if stream.hold else passes)
            loader.follow(begins[held], loaded[held])
        self._begun(int(begins[-1]), 0, pixels)
        self._next = end
        self.stepped(passes * pixels, end)
        return True

    def _undisturbed(self, stream: Stream, first: int, end: int) -> bool:
        """Whether no residual is read in cycles ``first`` to ``end`` - 1 where ``stream`` reads."""
        if stream.rows:
            return True
        mask = stream.mask & _store(self.machine).ever(Port.RESIDUAL)
        log = self.machine.uses[Port.RESIDUAL]
        return not mask or (self._known(mask) >= end and not log.any_between(mask, first, end))

    def _known(self, mask: int) -> int:
        """First cycle in which the store unit may read one of the regions unbeknown to us.

        NEVER if it cannot until further results are appended to the ring.
        """
        store = _store(self.machine)
        reader = store.next_read(mask)
        if reader is None or reader >= self.machine.ring.appends:
            return NEVER
        return store.next_use(Port.RESIDUAL, mask)

    def _begun(self, cycle: int, lost: int, pixels: int) -> None:
        """The accumulators must have the sums of a short pass before the next begins."""
        self._spaced = cycle + MINIMUM_PASS + lost if pixels < MINIMUM_PASS else 0

    def _pass(self, stream: Stream, tile: int, number: int, needs_tile: bool) -> Iterator[None]:
        """Decide one pass, vector by vector."""
        ring = self.machine.ring
        last = number == stream.early
        done = begun = lost = 0
        while done < stream.pixels:
            count = stream.pixels - done
            if last:
                count = min(count, ring.places())
                if not count:
                    self.wait_until(max(self._next, _store(self.machine).clock + 1))
                    yield
                    continue
            earliest = ring.room(count) if last else np.zeros(count, np.int64)
            if not done:
                earliest[0] = max(earliest[0], self._spaced)
            times = self._granted(stream, tile, number, done, earliest)
            if not len(times):
                yield from self.watch()
                continue
            waits = self._commit(stream, times, earliest[: len(times)])
            if self._noted(stream):
                where = stream.regions(tile, number)[done : done + len(times)]
                self._note(stream, times, where)
            if last:
                ring.append(times)
            else:
                self.before_append -= len(times)
            lost += int(waits[0 if done else 1 :].sum())
            begun = begun if done else int(times[0])
            if needs_tile and not done:
                self._loader.switched(begun)
            done += len(times)
        self._begun(begun, lost, stream.pixels)

    def _granted(
        self, stream: Stream, tile: int, number: int, done: int, earliest: Int64Array
    ) -> Int64Array:
        """Cycles of the next vectors of a pass, as far as they can be known."""
        mask = stream.mask & _store(self.machine).ever(Port.RESIDUAL)
        mask = 0 if stream.rows else mask and stream.pass_mask(tile, number)
        if not mask:
            return grant(self._next, earliest, earliest, (), NEVER)
        where = stream.regions(tile, number)[done : done + len(earliest)]
        log = self.machine.uses[Port.RESIDUAL]
        known = self._known(mask)
        times = grant(self._next, earliest, where, (log,), known)
        if not len(times):
            self.wait_until(known)
        reader = _store(self.machine).next_read(mask)
        if number < stream.early or reader is None:
            return times
        ahead = reader - self.machine.ring.appends
        if 0 <= ahead < len(times):
            # The store unit reads no sooner than the array has computed that result.
            end = times[ahead] + self.machine.timing.credit
            return times[: np.searchsorted(times, end)]
        return times

    def _rows(self, stream: Stream, tile: int, number: int, needs_tile: bool) -> Iterator[None]:
        """Decide the last pass of a depthwise tile, gate by gate."""
        ring, rows = self.machine.ring, stream.rows
        assert rows is not None
        begun = -1
        # Rows that no output needs lead the stream, or nothing does.
        cuts = [0, *rows.gates[rows.gates > 0].tolist(), rows.pixels]
        gated = len(rows.gates) - (len(cuts) - 2)
        row = 0
        for low, high in zip(cuts[:-1], cuts[1:], strict=True):
            has_outputs = bool(gated) or low > 0
            room = self._spaced if begun < 0 else 0
            if has_outputs:
                while ring.places() < rows.width:
                    self.wait_until(max(self._next, _store(self.machine).clock + 1))
                    yield
                room = max(room, int(ring.room(rows.width)[-1]))
            times = max(self._next, room) + np.arange(high - low)
            earliest = np.zeros(high - low, np.int64)
            earliest[0] = room
            self._commit(stream, times, earliest)
            if self._noted(stream):
                self._note(stream, times, stream.regions(tile, number)[low:high])
            if begun < 0:
                begun = int(times[0])
                if needs_tile:
                    self._loader.switched(begun)
            if has_outputs:
                ring.append(times[rows.outputs[row] - low])
                row += 1
        self._begun(begun, 0, stream.pixels)

    def _commit(self, stream: Stream, times: Int64Array, earliest: Int64Array) -> Int64Array:
        """Take over decided vectors; return how long each waited for the port."""
        free = np.concatenate([[self._next], times[:-1] + 1])
        asked = np.maximum(free, earliest)
        self.machine.spans["stall_accumulators"].add(free, asked - free)
        self.machine.spans["stall_activations"].add(asked, times - asked)
        self._next = int(times[-1]) + 1
        self.stepped(len(times), self._next)
        return times - asked

    def _noted(self, stream: Stream) -> bool:
        """Whether a unit yields to this stream."""
        wanted = self.machine.wanted(Port.STREAM)
        if stream.rows:
            wanted |= self.machine.wanted(Port.URGENT)
        return bool(stream.mask & wanted)

    def _note(self, stream: Stream, times: Int64Array, where: Int64Array) -> None:
        """Note reads."""
        self.machine.note(Port.STREAM, times, where)
        if stream.rows:
            self.machine.note(Port.URGENT, times, where)


def _store(machine: Machine) -> Store:
    store = machine.processes[Unit.STORE]
    assert isinstance(store, Store)
    return store
