"""Ports of the activation memory's regions: who uses one when, and who has to wait for it."""

import functools
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from enum import Enum

import numpy as np

from systolith.cycles.nests import Int64Array
from systolith.spec.commands import Unit

__all__ = ["YIELDING", "Port", "PortLog", "before", "grant", "next_free"]

_NONE = np.zeros(0, np.int64)
_WINDOW = 64
"""Cycles of other units' requests that are looked at first."""


class Port(Enum):
    """Requests to a region's read or write port; the value says which unit's they are."""

    RESIDUAL = "r", Unit.STORE
    STREAM = "x", Unit.COMPUTE
    URGENT = "x, depthwise", Unit.COMPUTE
    """Requests of depthwise passes, which are among those of STREAM, too."""
    COPY = "c", Unit.MOVE
    POST = "p", Unit.STORE
    LINE = "f", Unit.MOVE
    LOAD = "l", Unit.LOAD
    SAVE = "s", Unit.SAVE

    @property
    def unit(self) -> Unit:
        """The unit that asks."""
        return self.value[1]


YIELDING: Mapping[Port, tuple[Port, ...]] = {
    Port.RESIDUAL: (Port.STREAM, Port.COPY, Port.SAVE),
    Port.STREAM: (Port.COPY, Port.SAVE),
    Port.URGENT: (Port.RESIDUAL,),
    Port.COPY: (Port.SAVE,),
    Port.SAVE: (),
    Port.POST: (Port.LINE, Port.LOAD),
    Port.LINE: (Port.LOAD,),
    Port.LOAD: (),
}
"""Which requests wait for those of a port, in the same region and cycle."""


@functools.cache
def before(port: Port) -> tuple[Port, ...]:
    """The ports for whose requests those of ``port`` wait."""
    return tuple(first for first, users in YIELDING.items() if port in users)


class PortLog:
    """Cycles in which a unit uses its port, by region; noted in order of time.

    Parameters
    ----------
    count: regions.
    """

    def __init__(self, count: int) -> None:
        self._chunks: list[list[Int64Array]] = [[] for _ in range(count)]
        self._lasts: list[list[int]] = [[] for _ in range(count)]  # uses that end the chunks

    def note(self, times: Int64Array, regions: Int64Array) -> None:
        """Add uses, each later than all before."""
        if len(times) == 0:
            return
        if regions[0] == regions[-1] and (regions == regions[0]).all():
            self._append(int(regions[0]), times)
            return
        for region in np.unique(regions).tolist():
            self._append(region, times[regions == region])

    def _append(self, region: int, times: Int64Array) -> None:
        if region < len(self._chunks):
            self._chunks[region].append(times)
            self._lasts[region].append(int(times[-1]))

    def between(self, region: int, first: int, end: int) -> Int64Array:
        """Uses of ``region`` in cycles ``first`` to ``end`` - 1, in order."""
        if region >= len(self._chunks):
            return _NONE
        chunks = self._chunks[region]
        found = []
        for number in range(bisect_left(self._lasts[region], first), len(chunks)):
            chunk = chunks[number]
            if chunk[0] >= end:
                break
            low, high = chunk.searchsorted((first, end))
            found.append(chunk[low:high])
        if not found:
            return _NONE
        return np.concatenate(found) if len(found) > 1 else found[0]

    def used(self, region: int, first: int, end: int) -> bool:
        """Whether ``region`` is used in cycles ``first`` to ``end`` - 1."""
        if region >= len(self._chunks):
            return False
        number = bisect_left(self._lasts[region], first)
        if number == len(self._chunks[region]):
            return False
        chunk = self._chunks[region][number]
        return bool(chunk[0] < end and chunk[chunk.searchsorted(first)] < end)

    def any_between(self, mask: int, first: int, end: int) -> bool:
        """Whether a region of ``mask`` is used in cycles ``first`` to ``end`` - 1."""
        return any(mask >> g & 1 and self.used(g, first, end) for g in range(len(self._chunks)))


def grant(
    first: int, earliest: Int64Array, regions: Int64Array, logs: Iterable[PortLog], end: int
) -> Int64Array:
    """Cycles of requests, one after the other, each in the first cycle that its region is free.

    Only those before ``end``: later ones depend on uses that are not known yet.

    Parameters
    ----------
    first: no request comes before.
    earliest: per request, the cycle before which it cannot be made.
    regions: per request, its region.
    logs: uses that come first, known for every cycle before ``end``.
    """
    logs = tuple(logs)
    most = max(end - first, 0)  # of them
    earliest, regions = earliest[:most], regions[:most]
    if not len(earliest):
        return _NONE
    near = max(first, int(earliest.max())) + _WINDOW + len(earliest)
    while True:  # mostly a short stretch of the logs is enough
        times = _granted(first, earliest, regions, logs, min(near, end))
        if len(times) == len(earliest) or near >= end:
            return times
        near += 4 * (near - first)


def _granted(
    first: int, earliest: Int64Array, regions: Int64Array, logs: tuple[PortLog, ...], end: int
) -> Int64Array:
    """Requests before ``end``, see `grant`."""
    if not logs:
        times = _in_turn(first, earliest, _NONE)
        return times[: np.searchsorted(times, end)]
    parts = []
    cuts = np.flatnonzero(regions[1:] != regions[:-1]) + 1
    bounds = [0, *cuts.tolist(), len(regions)]
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        part = _in_turn(first, earliest[low:high], _taken(logs, int(regions[low]), first, end))
        known = int(np.searchsorted(part, end))
        parts.append(part[:known])
        if known < len(part):
            break
        first = int(part[-1]) + 1
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def next_free(cycle: int, region: int, logs: Iterable[PortLog], end: int) -> int:
    """First cycle from ``cycle`` to ``end`` - 1 in which the region is free, else ``end``."""
    logs = tuple(logs)
    while cycle < end:
        near = min(cycle + _WINDOW, end)
        taken = _taken(logs, region, cycle, near)
        if not len(taken) or taken[0] != cycle:
            return cycle
        gaps = np.flatnonzero(taken != cycle + np.arange(len(taken)))
        cycle += int(gaps[0] if len(gaps) else len(taken))
        if cycle < near:
            return cycle
    return end


def _taken(logs: Iterable[PortLog], region: int, first: int, end: int) -> Int64Array:
    """Cycles in which any of the logs has a use, in order, each once."""
    found = [uses for log in logs if len(uses := log.between(region, first, end))]
    if not found:
        return _NONE
    return found[0] if len(found) == 1 else np.unique(np.concatenate(found))


def _in_turn(first: int, earliest: Int64Array, taken: Int64Array) -> Int64Array:
    """Requests of one region: ``a[i]`` is the first free cycle >= max(a[i-1] + 1, earliest[i])."""
    steps = np.arange(len(earliest))
    wanted = np.maximum(earliest, first)
    if not len(taken):
        return np.maximum.accumulate(wanted - steps) + steps
    # Count in free cycles, of which every request takes one.
    rank = wanted - np.searchsorted(taken, wanted)
    rank = np.maximum.accumulate(rank - steps) + steps
    return rank + np.searchsorted(taken - np.arange(len(taken)), rank, side="right")
