"""Which command touched an address last: conflicts in constant time a byte, however long ago."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.footprint import Access, Spans
from systolith.compiler.spaces import Space, by_space
from systolith.spec.commands import Unit

__all__ = ["LastAccess"]

_FEW = 24
"""Intervals up to which slices are faster than one gather."""
_CELL_BITS = {Space.EXTERNAL: 6}
"""log2 of the addresses that share an entry: tensors in external memory begin at multiples."""

_Cells = tuple[tuple[Space, NDArray[np.int64], NDArray[np.int64]], ...]


def _cells(spans: Spans) -> Iterator[tuple[Space, NDArray[np.int64], NDArray[np.int64]]]:
    """Intervals of every space, in entries."""
    for space, starts, ends in by_space(spans):
        bits = _CELL_BITS.get(space, 0)
        yield space, starts >> bits, ((ends - 1) >> bits) + 1


def _indices(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """All entries of the intervals."""
    lengths = ends - starts
    begins = np.cumsum(lengths) - lengths
    return np.repeat(starts - begins, lengths) + np.arange(int(lengths.sum()))


class _Track:
    """Per entry of a space, the number of the last command; grows as needed."""

    def __init__(self) -> None:
        self.last = np.full(1024, -1, np.int32)

    def _grow(self, end: int) -> None:
        if end > len(self.last):
            more = np.full(max(end, 2 * len(self.last)) - len(self.last), -1, np.int32)
            self.last = np.concatenate([self.last, more])

    def latest(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
        """Return the largest number in the intervals, -1 for none."""
        self._grow(int(ends[-1]))
        if len(starts) <= _FEW:
            pairs = zip(starts.tolist(), ends.tolist(), strict=True)
            return max(int(self.last[a:b].max()) for a, b in pairs)
        return int(self.last[_indices(starts, ends)].max())

    def record(self, starts: NDArray[np.int64], ends: NDArray[np.int64], number: int) -> None:
        """Set every entry of the intervals."""
        self._grow(int(ends[-1]))
        if len(starts) <= _FEW:
            for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
                self.last[a:b] = number
        else:
            self.last[_indices(starts, ends)] = number


class LastAccess:
    """The last read and the last write of every address by every unit, by the unit's counting."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[Unit, bool, Space], _Track] = {}

    def conflicts(self, access: Access, units: tuple[Unit, ...]) -> dict[Unit, int]:
        """Return, for each unit that has one, the number of its latest conflicting command."""
        reads, writes = tuple(_cells(access.reads)), tuple(_cells(access.writes))
        found = {}
        for unit in units:
            latest = max(
                self._latest(unit, False, writes),
                self._latest(unit, True, reads),
                self._latest(unit, True, writes),
            )
            if latest >= 0:
                found[unit] = latest
        return found

    def _latest(self, unit: Unit, written: bool, cells: _Cells) -> int:
        latest = -1
        for space, starts, ends in cells:
            track = self._tracks.get((unit, written, space))
            if track is not None:
                latest = max(latest, track.latest(starts, ends))
        return latest

    def record(self, unit: Unit, number: int, access: Access) -> None:
        """Note command ``number`` of a unit; numbers ascend."""
        for written, spans in ((False, access.reads), (True, access.writes)):
            for space, starts, ends in _cells(spans):
                track = self._tracks.setdefault((unit, written, space), _Track())
                track.record(starts, ends, number)
