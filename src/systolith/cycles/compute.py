"""The compute unit: when every activation vector enters the array."""

from collections.abc import Iterator

import numpy as np

from systolith.cycles.machine import Issued, Machine, Process
from systolith.cycles.nests import Int64Array, counts, offsets, reach, regions, touched
from systolith.cycles.ports import grant
from systolith.cycles.store import Store
from systolith.cycles.timing import MINIMUM_PASS, NEVER
from systolith.spec.commands import MATMUL_LOOPS, Command, Unit

__all__ = ["Compute"]


class Compute(Process):
    """Feeder and weight loader.

    Vectors of a pass follow each other but for want of room in the ring (last passes only) and of
    the read port. Passes that want neither are decided all at once, others vector by vector, as far
    as the reads of the store unit are known.

    Attributes
    ----------
    before_append: vectors to issue until the next one whose result goes to the ring, at least.
    """

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, Unit.COMPUTE)
        self.before_append = 0
        self._next = 0  # first cycle in which a vector may be issued
        self._spaced = 0  # first cycle in which a pass may begin
        self._switch = 0  # last switch of weight tiles
        self._loaded = -1  # last word of the last tile in use
        self._go = 0  # first word of the next tile

    def work(self, issued: Issued) -> Iterator[None]:
        """Pass after pass."""
        self.machine.spans["stall_commands"].add(self.free, issued.pushed + 1 - self.free)
        nest = _Nest(self.machine, issued.command)
        head = max(issued.pushed + 1, self.free)
        self.machine.spans["stall_tokens"].add(head, issued.start - head)
        self.left = nest.tiles * nest.passes * nest.pixels
        self._next = issued.start + 1
        self._go = max(issued.pushed + 2, self._loaded + 2, self._switch)
        needs_tile = True
        for tile in range(nest.tiles):
            early = 0
            while early < nest.passes:
                last = early == nest.passes - 1
                self.before_append = (nest.passes - 1 - early) * nest.pixels
                many = nest.passes - 1 - early
                if many and self._steady(nest, many, needs_tile):
                    early += many
                else:
                    yield from self._pass(nest, tile, early, needs_tile, last)
                    early += 1
                needs_tile = not nest.hold
        self.before_append = 0
        self.end(issued, self._next - 1)

    def _steady(self, nest: "_Nest", passes: int, needs_tile: bool) -> bool:
        """Decide passes before a tile's last, if nothing but their weights can hold them up."""
        ready = max(self._next, self._go + self.machine.timing.tile if needs_tile else 0)
        first = max(ready, self._spaced)
        pixels = nest.pixels
        loaded = pixels if nest.hold else max(pixels, self.machine.timing.tile)
        period = max(loaded, MINIMUM_PASS)
        end = first + (passes - 1) * period + pixels
        if nest.mask:
            store = _store(self.machine)
            if self._known(nest.mask) < end or store.reads.any_between(nest.mask, ready, end):
                return False
        spans = self.machine.spans
        spans["stall_weights"].add(self._next, ready - self._next)
        spans["stall_accumulators"].add(ready, first - ready)
        ends = first + period * np.arange(passes - 1) + pixels
        spans["stall_weights"].add(ends, np.full(passes - 1, loaded - pixels))
        spans["stall_accumulators"].add(
            ends + loaded - pixels, np.full(passes - 1, period - loaded)
        )
        begun = first + (passes - 1) * period
        if needs_tile:
            self._switched(first)
        if not nest.hold:
            self._switched(begun)
        self._begun(begun, 0, pixels)
        self._next = end
        self.stepped(passes * pixels, end)
        return True

    def _known(self, mask: int) -> int:
        """First cycle in which the store unit may read one of the regions unbeknown to us.

        NEVER if it cannot until further results are appended to the ring.
        """
        store = _store(self.machine)
        reader = store.next_read(mask)
        if reader is None or reader >= self.machine.ring.appends:
            return NEVER
        return store.clock

    def _switched(self, cycle: int) -> None:
        """A vector switches to the loaded tile; the loader goes on with the next."""
        self._loaded = self._go + self.machine.timing.tile - 1
        self._switch = self._go = cycle

    def _begun(self, cycle: int, lost: int, pixels: int) -> None:
        """The accumulators must have the sums of a short pass before the next begins."""
        self._spaced = cycle + MINIMUM_PASS + lost if pixels < MINIMUM_PASS else 0

    def _pass(
        self, nest: "_Nest", tile: int, number: int, needs_tile: bool, last: bool
    ) -> Iterator[None]:
        """Decide one pass."""
        ring = self.machine.ring
        if needs_tile:
            ready = self._go + self.machine.timing.tile
            self.machine.spans["stall_weights"].add(self._next, max(ready - self._next, 0))
            self._next = max(self._next, ready)
        done = begun = lost = 0
        while done < nest.pixels:
            count = nest.pixels - done
            if last:
                count = min(count, ring.places())
                if not count:
                    self.wait_until(max(self._next, _store(self.machine).clock + 1))
                    yield
                    continue
            earliest = ring.room(count) if last else np.zeros(count, np.int64)
            if not done:
                earliest[0] = max(earliest[0], self._spaced)
            times = self._granted(nest, tile, number, done, earliest, last)
            if not len(times):
                self.wait_until(max(self._next, int(earliest[0])))
                self.watches = True
                yield
                self.watches = False
                continue
            waits = self._commit(times, earliest[: len(times)], last)
            lost += int(waits[0 if done else 1 :].sum())
            if not done:
                begun = int(times[0])
                if needs_tile:
                    self._switched(begun)
            done += len(times)
            if not last:
                self.before_append -= len(times)
        self._begun(begun, lost, nest.pixels)

    def _granted(
        self, nest: "_Nest", tile: int, number: int, done: int, earliest: Int64Array, last: bool
    ) -> Int64Array:
        """Cycles of the next vectors, as far as they can be known."""
        first = self._next
        mask = nest.mask and nest.pass_mask(tile, number)
        store = _store(self.machine)
        reader = store.next_read(mask)
        if not mask or (reader is None and not store.reads.any_between(mask, first, NEVER)):
            return grant(first, earliest, np.zeros(len(earliest), np.int64), (), NEVER)
        where = nest.pass_regions(tile, number)[done : done + len(earliest)]
        times = grant(first, earliest, where, (store.reads,), self._known(mask))
        ahead = 0 if reader is None else reader - self.machine.ring.appends
        if last and 0 <= ahead < len(times) and reader is not None:
            # The store unit reads no sooner than the array has computed that result.
            end = times[ahead] + self.machine.timing.credit
            return times[: np.searchsorted(times, end)]
        return times

    def _commit(self, times: Int64Array, earliest: Int64Array, last: bool) -> Int64Array:
        """Take over decided vectors; return how long each waited for the port."""
        free = np.concatenate([[self._next], times[:-1] + 1])
        asked = np.maximum(free, earliest)
        self.machine.spans["stall_accumulators"].add(free, asked - free)
        self.machine.spans["stall_activations"].add(asked, times - asked)
        if last:
            self.machine.ring.append(times)
        self._next = int(times[-1]) + 1
        self.stepped(len(times), self._next)
        return times - asked


class _Nest:
    """A MATMUL's loops.

    Parameters
    ----------
    tiles, passes, pixels: tiles, passes of each, vectors of each pass.
    hold: one weight tile for all.
    mask: regions it reads which a residual add may read, too.
    """

    def __init__(self, machine: Machine, command: Command) -> None:
        t, n, ky, kx, kc, my, mx = counts(command, MATMUL_LOOPS)
        self.tiles, self.passes, self.pixels = t * n, ky * kx * kc, my * mx
        self.hold = bool(command["w_hold"])
        self._spec, self._command = machine.spec, command
        low, high = reach(command, "x", MATMUL_LOOPS)
        base = command["x_base"]
        mask = touched(machine.spec, base + low, base + high)
        store = _store(machine)
        self.mask = mask if store.next_read(mask) is not None or store.reads_after(mask) else 0
        if self.mask:
            self._tiles = base + offsets(command, "x", ("t", "n"))
            self._passes = offsets(command, "x", ("ky", "kx", "kc"))
            self._pixels = offsets(command, "x", ("my", "mx"))

    def pass_mask(self, tile: int, number: int) -> int:
        """Regions that a pass reads."""
        low, high = reach(self._command, "x", ("my", "mx"))
        start = int(self._tiles[tile] + self._passes[number])
        return touched(self._spec, start + low, start + high)

    def pass_regions(self, tile: int, number: int) -> Int64Array:
        """Region of every vector of a pass."""
        start = self._tiles[tile] + self._passes[number]
        return regions(self._spec, start + self._pixels)


def _store(machine: Machine) -> Store:
    store = machine.processes[Unit.STORE]
    assert isinstance(store, Store)
    return store
