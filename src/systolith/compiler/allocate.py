"""Addresses of storages: by live range, several first-fit orders, the best one wins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.ir import Storage, SymbolicCommand
from systolith.errors import CompileError
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode, Target

__all__ = ["AllocationError", "Live", "MemoryReport", "allocate", "live_ranges"]


class AllocationError(CompileError):
    """Storages do not fit the activation memory.

    Parameters
    ----------
    text: the message.
    ranges: when the storages are in use that found no place, in moments of `live_ranges`.
    """

    def __init__(self, text: str, ranges: Sequence[tuple[int, int]]) -> None:
        super().__init__(text)
        self.ranges = tuple(ranges)


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """A storage and the moments of its first and last use, inclusive."""

    storage: Storage
    first: int
    last: int

    def overlaps(self, other: "Live") -> bool:
        """Whether both are in use at some time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryReport:
    """How much memory the program uses.

    Parameters
    ----------
    peak: bytes below the highest address used, summed over regions.
    bound: most bytes live at one time: no allocation needs less.
    available: bytes of all regions.
    shared_reads: pairs of MATMUL input and residual operand that share a region's read port.
    constants: addresses used of the memories that are loaded during the run, by `Target`, in the
        units of `MemorySpec`; empty without external memory.
    loaded, saved: bytes moved from and to external memory.
    """

    peak: int
    bound: int
    available: int
    shared_reads: int
    constants: Mapping[Target, int] = field(default_factory=dict)
    loaded: int = 0
    saved: int = 0


def live_ranges(
    commands: Sequence[SymbolicCommand],
    from_start: Iterable[Storage],
    to_end: Iterable[Storage],
) -> list[Live]:
    """Return the live range of every storage that commands, inputs or outputs use."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    known: dict[int, Storage] = {}

    def use(storage: Storage, at: int) -> None:
        known[id(storage)] = storage
        first[id(storage)] = min(first.get(id(storage), at), at)
        last[id(storage)] = max(last.get(id(storage), at), at)

    for storage in from_start:
        use(storage, -1)
    time = 0
    for command in commands:
        # A STORE runs while its MATMUL still reads: both are one moment.
        time += command.opcode is not Opcode.STORE
        for storage in (*(s for s, _ in command.bases.values()), *command.holds):
            if not storage.external:
                use(storage, time)
    for storage in to_end:
        use(storage, time)
    return [Live(storage=s, first=first[k], last=last[k]) for k, s in known.items()]


_ORDERS: tuple[Callable[[Live], tuple[int, ...]], ...] = (
    lambda v: (-v.storage.size, v.first),
    lambda v: (v.first, -v.storage.size),
    lambda v: (-v.storage.size * (v.last - v.first + 1), v.first),
    lambda v: (v.first - v.last, -v.storage.size),
    lambda v: (-v.last, -v.storage.size),
)

_IMPROVED = 4
"""How many of the best placements are improved."""
_SWEEPS = 3
"""How often at most storages are moved away from their enemies."""

_Placement = dict[int, tuple[int, int]]


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
    """Storages placed in a region, as columns: first and last use, start and end address."""

    def __init__(self, count: int) -> None:
        self._rows = np.zeros((count, 4), np.int64)
        self._count = 0

    def add(self, live: Live, offset: int) -> None:
        """Place a storage."""
        row = live.first, live.last, offset, offset + live.storage.size
        self._rows[self._count] = row
        self._count += 1

    def taken(self, live: Live) -> list[tuple[int, int]]:
        """Addresses in use while a storage is."""
        rows = self._rows[: self._count]
        rows = rows[(rows[:, 0] <= live.last) & (rows[:, 1] >= live.first)]
        return [(start, end) for start, end in rows[:, 2:].tolist()]


def _place(
    lives: Sequence[Live],
    enemies: Mapping[int, set[int]],
    spec: AcceleratorSpec,
    *,
    alignment: int,
    avoid: bool,
    pack: bool,
) -> tuple[_Placement, list[Live]]:
    """Place storages greedily; return those that find no place, too.

    Parameters
    ----------
    alignment: of their addresses.
    avoid: whether enemies are kept apart where that is possible.
    pack: whether to fill a region before the next one, not all alike.
    """
    placed: _Placement = {}
    failed: list[Live] = []
    regions = [_Region(len(lives)) for _ in range(spec.memory.activation_regions)]
    for live in lives:
        options = []
        foes = enemies.get(id(live.storage), set())
        unit = spec.line_bytes if live.storage.aligned else alignment
        for region, held in enumerate(regions):
            offset = _lowest(live, held.taken(live), spec.memory.activation_bytes, unit)
            if offset is not None:
                end = offset + live.storage.size
                bad = sum(e in placed and placed[e][0] == region for e in foes) if avoid else 0
                options.append((bad, region if pack else end, end, region, offset))
        if not options:
            failed.append(live)
            continue
        *_, region, offset = min(options)
        placed[id(live.storage)] = region, offset
        regions[region].add(live, offset)
    return placed, failed


def _improve(
    placed: _Placement,
    lives: Sequence[Live],
    enemies: Mapping[int, set[int]],
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
            near = [placed[e][0] for e in enemies.get(id(live.storage), ()) if e in placed]
            here = int(places[index, 0])
            unit = spec.line_bytes if live.storage.aligned else alignment
            for region in sorted(set(range(spec.memory.activation_regions)), key=near.count):
                if near.count(region) >= near.count(here):
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


def _shared(placed: _Placement, enemies: Mapping[int, set[int]]) -> int:
    pairs = {frozenset((a, b)) for a, others in enemies.items() for b in others}
    return sum(len({placed[k][0] for k in pair}) == 1 for pair in pairs)


def _peak(placed: _Placement, lives: Sequence[Live]) -> int:
    tops: dict[int, int] = {}
    for live in lives:
        region, offset = placed[id(live.storage)]
        tops[region] = max(tops.get(region, 0), offset + live.storage.size)
    return sum(tops.values())


def _needs(lives: Sequence[Live]) -> NDArray[np.int64]:
    """Bytes in use at the first use of every storage."""
    size = np.array([v.storage.size for v in lives], np.int64)
    first = np.array([v.first for v in lives], np.int64)
    last = np.array([v.last for v in lives], np.int64)
    used = (first[None, :] <= first[:, None]) & (first[:, None] <= last[None, :])
    return np.asarray(used @ size, np.int64)


def _check_sizes(lives: Sequence[Live], spec: AcceleratorSpec) -> None:
    have = spec.memory.activation_bytes
    for live in lives:
        need = live.storage.size
        if need > have:
            raise AllocationError(
                f"layer {live.storage.layer!r}: activation memory needs {need} bytes in one region"
                f" for tensor {live.storage.name!r}, the specification has {have}: raise "
                f"memory.activation_bytes to at least {need}",
                [(v.first, v.last) for v in lives if v.storage.size > have],
            )


def allocate(
    lives: Sequence[Live],
    enemies: Iterable[tuple[Storage, Storage]],
    spec: AcceleratorSpec,
) -> MemoryReport:
    """Give every storage its address.

    Parameters
    ----------
    lives: storages with their live ranges.
    enemies: storages that are read at the same time, better placed in different regions.
    spec: regions and their size.

    Raises
    ------
    CompileError: they do not fit.
    """
    _check_sizes(lives, spec)
    apart: dict[int, set[int]] = {}
    for a, b in enemies:
        if a is not b:
            apart.setdefault(id(a), set()).add(id(b))
            apart.setdefault(id(b), set()).add(id(a))
    found: list[tuple[tuple[int, int, int], _Placement]] = []
    improved: list[tuple[tuple[int, int, int], _Placement]] = []
    fewest: list[Live] = list(lives)
    ways = ((True, False), (True, True), (False, False))
    for order, alignment, (avoid, pack) in product(_ORDERS, (spec.line_bytes, 1), ways):
        ordered = sorted(lives, key=order)
        placed, failed = _place(ordered, apart, spec, alignment=alignment, avoid=avoid, pack=pack)
        if failed:
            fewest = min(fewest, failed, key=len)
        else:
            cost = _shared(placed, apart), -alignment, _peak(placed, lives)
            found.append((cost, placed))
    bound = int(_needs(lives).max(initial=0))
    if not found:
        raise AllocationError(_too_much(lives, bound, spec), [(v.first, v.last) for v in fewest])
    for (_, unit, _), placed in sorted(found, key=lambda f: f[0])[:_IMPROVED]:
        _improve(placed, lives, apart, spec, -unit)
        improved.append(((_shared(placed, apart), unit, _peak(placed, lives)), placed))
    (shared, _, peak), best = min(improved, key=lambda f: f[0])
    for live in lives:
        region, offset = best[id(live.storage)]
        live.storage.address = region * spec.region_stride + offset
    return MemoryReport(
        peak=peak, bound=bound, available=spec.activation_total, shared_reads=shared
    )


def _too_much(lives: Sequence[Live], bound: int, spec: AcceleratorSpec) -> str:
    worst = lives[int(_needs(lives).argmax())]
    regions, have = spec.memory.activation_regions, spec.memory.activation_bytes
    least = -(-bound // regions)
    return (
        f"layer {worst.storage.layer!r}: {bound} bytes of activations are live at once, which do "
        f"not fit {regions} regions of {have}: raise memory.activation_bytes to at least "
        f"{max(least, have + 1)}, or memory.activation_regions"
    )
