"""Storages in regions: first fit, and moving away from what disturbs them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from systolith.compiler.ir import Storage
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Enemies", "Live", "Placement", "improve", "place"]

_SLICE = 16
"""Moments of a slice of time."""
_SWEEPS = 3
"""How often at most storages are moved away from their enemies."""

Placement = dict[int, tuple[int, int]]
"""Region and offset of storages, by identity."""
Enemies = dict[int, dict[int, int]]
"""By identity, who is better in another region, and how much it matters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """A storage and when it is in use.

    Parameters
    ----------
    first, last: moments of its first and last use.
    lined: whether it must begin with a line, even if it is not `Storage.aligned`.
    """

    storage: Storage
    first: int
    last: int
    lined: bool = False

    @property
    def on_lines(self) -> bool:
        """Whether it must begin with a line."""
        return self.lined or self.storage.aligned

    def overlaps(self, other: "Live") -> bool:
        """Whether both are in use at some time."""
        return self.first <= other.last and other.first <= self.last


def _lowest(
    live: Live, taken: Iterable[tuple[int, int]], capacity: int, alignment: int
) -> int | None:
    """Lowest free offset for a storage among ``taken`` (start, end) ranges."""
    position = 0
    for start, end in sorted(taken):
        if position + live.storage.size <= start:
            break
        position = max(position, -(-end // alignment) * alignment)
    return position if position + live.storage.size <= capacity else None


class _Region:
    """Storages placed in a region, by the slices of time in which they are in use."""

    def __init__(self) -> None:
        self._slices: dict[int, list[tuple[int, int, int, int]]] = {}

    def add(self, live: Live, offset: int) -> None:
        """Place a storage."""
        entry = live.first, live.last, offset, offset + live.storage.size
        for number in range(live.first // _SLICE, live.last // _SLICE + 1):
            self._slices.setdefault(number, []).append(entry)

    def taken(self, live: Live) -> set[tuple[int, int]]:
        """Addresses in use while a storage is."""
        return {
            (start, end)
            for number in range(live.first // _SLICE, live.last // _SLICE + 1)
            for first, last, start, end in self._slices.get(number, ())
            if first <= live.last and last >= live.first
        }


def place(
    lives: Sequence[Live],
    enemies: Enemies,
    spec: AcceleratorSpec,
    *,
    alignment: int,
    avoid: bool,
    pack: bool,
) -> tuple[Placement, list[Live]]:
    """Place storages greedily; return those that find no place, too.

    Parameters
    ----------
    alignment: of their addresses.
    avoid: whether enemies are kept apart where that is possible.
    pack: whether to fill a region before the next one, not all alike.
    """
    placed: Placement = {}
    failed: list[Live] = []
    regions = [_Region() for _ in range(spec.memory.activation_regions)]
    for live in lives:
        options = []
        foes = enemies.get(id(live.storage), {})
        unit = spec.line_bytes if live.on_lines else alignment
        for region, held in enumerate(regions):
            offset = _lowest(live, held.taken(live), spec.memory.activation_bytes, unit)
            if offset is not None:
                end = offset + live.storage.size
                near = [w for e, w in foes.items() if e in placed and placed[e][0] == region]
                bad = sum(near) if avoid else 0
                options.append((bad, region if pack else end, end, region, offset))
        if not options:
            failed.append(live)
            continue
        *_, region, offset = min(options)
        placed[id(live.storage)] = region, offset
        regions[region].add(live, offset)
    return placed, failed


def improve(
    placed: Placement,
    lives: Sequence[Live],
    enemies: Enemies,
    spec: AcceleratorSpec,
    alignment: int,
) -> None:
    """Move storages one by one to regions with fewer of their enemies, where there is room."""
    bounds = np.array([(v.first, v.last) for v in lives], np.int64)
    sizes = np.array([v.storage.size for v in lives], np.int64)
    places = np.array([placed[id(v.storage)] for v in lives], np.int64)
    for _ in range(_SWEEPS):
        moved = False
        for index, live in enumerate(lives):
            foes = enemies.get(id(live.storage), {})
            cost = dict.fromkeys(range(spec.memory.activation_regions), 0)
            for enemy, weight in foes.items():
                cost[placed[enemy][0]] += weight
            here = int(places[index, 0])
            unit = spec.line_bytes if live.on_lines else alignment
            for region in sorted(cost, key=cost.__getitem__):
                if cost[region] >= cost[here]:
                    break
                meets = (bounds[:, 0] <= live.last) & (bounds[:, 1] >= live.first)
                meets &= places[:, 0] == region
                starts = places[meets, 1]
                taken = list(zip(starts.tolist(), (starts + sizes[meets]).tolist(), strict=True))
                offset = _lowest(live, taken, spec.memory.activation_bytes, unit)
                if offset is not None:
                    placed[id(live.storage)] = region, offset
                    places[index], moved = (region, offset), True
                    break
        if not moved:
            break
