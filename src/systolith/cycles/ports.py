"""Ports of the activation memory's regions: who uses one when, and who has to wait for it."""

import functools
from collections.abc import Iterable, Mapping
from enum import Enum

import numpy as np

from systolith.cycles.nests import Int64Array
from systolith.spec.commands import Unit

__all__ = ["YIELDING", "Port", "PortLog", "before", "grant", "next_free"]

_NONE = np.zeros(0, np.int64)


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

    def note(self, times: Int64Array, regions: Int64Array) -> None:
        """Add uses, each later than all before."""
        if len(times) == 0:
            return
        if regions[0] == regions[-1] and (regions == regions[0]).all():
            if regions[0] < len(self._chunks):
                self._chunks[int(regions[0])].append(times)
            return
        for region in np.unique(regions).tolist():
            if region < len(self._chunks):
                self._chunks[region].append(times[regions == region])

    def between(self, region: int, first: int, end: int) -> Int64Array:
        """Uses of ``region`` in cycles ``first`` to ``end`` - 1, in order."""
        if region >= len(self._chunks):
            return _NONE
        found = []
        for chunk in reversed(self._chunks[region]):
            if chunk[-1] < first:
                break
            if chunk[0] < end:
                found.append(chunk)
        if not found:
            return _NONE
        times = np.concatenate(found[::-1]) if len(found) > 1 else found[0]
        low, high = np.searchsorted(times, (first, end))
        return times[low:high]

    def any_between(self, mask: int, first: int, end: int) -> bool:
        """Whether a region of ``mask`` is used in cycles ``first`` to ``end`` - 1."""
        return any(
            len(self.between(g, first, end))
            for g in range(len(self._chunks))
            if mask >> g & 1 and self._chunks[g] and self._chunks[g][-1][-1] >= first
        )


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
    taken = _taken(logs, region, cycle, end)
    if not len(taken) or taken[0] != cycle:
        return min(cycle, end)
    gaps = np.flatnonzero(taken != cycle + np.arange(len(taken)))
    return min(cycle + int(gaps[0] if len(gaps) else len(taken)), end)


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
