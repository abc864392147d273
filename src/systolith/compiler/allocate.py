"""Addresses of storages: by live range, several first-fit orders, the best one wins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.ir import Storage, SymbolicCommand
from systolith.compiler.regions import Enemies, Live, Placement, improve, place
from systolith.compiler.two_of_four import is_sparse
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
class MemoryReport:
    """How much memory the program uses.

    Parameters
    ----------
    peak: bytes below the highest address used, summed over regions.
    bound: most bytes live at one time: no allocation needs less.
    available: bytes of all regions.
    shared_reads: pairs of storages that are used side by side and share a region's port.
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
    lines: set[int] = set()
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
        if is_sparse(command.values):
            lines.add(id(command.bases["x_base"][0]))
    for storage in to_end:
        use(storage, time)
    return [
        Live(storage=s, first=first[k], last=last[k], lined=k in lines) for k, s in known.items()
    ]


_ORDERS: tuple[Callable[[Live], tuple[int, ...]], ...] = (
    lambda v: (-v.storage.size, v.first),
    lambda v: (v.first, -v.storage.size),
    lambda v: (-v.storage.size * (v.last - v.first + 1), v.first),
    lambda v: (v.first - v.last, -v.storage.size),
    lambda v: (-v.last, -v.storage.size),
)

_ENEMY = 4
"""Weight of an enemy, for whom the array waits, beside that of a rival."""
_IMPROVED = 4
"""How many of the best placements are improved."""

_MANY = 600
"""Storages for which the first placement found is good enough."""


def _shared(placed: Placement, enemies: Enemies, *, weighted: bool = True) -> int:
    total = 0
    for a, others in enemies.items():
        for b, weight in others.items():
            if a < b and placed[a][0] == placed[b][0]:
                total += weight if weighted else 1
    return total


def _peak(placed: Placement, lives: Sequence[Live]) -> int:
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
    begun, ended = np.argsort(first, kind="stable"), np.argsort(last, kind="stable")
    so_far = np.concatenate([[0], np.cumsum(size[begun])])
    gone = np.concatenate([[0], np.cumsum(size[ended])])
    now = so_far[np.searchsorted(first[begun], first, side="right")]
    return np.asarray(now - gone[np.searchsorted(last[ended], first, side="left")], np.int64)


def _crowded(lives: Sequence[Live], spec: AcceleratorSpec) -> list[tuple[int, int]]:
    """Moments at which more bytes are in use than there are."""
    needs = _needs(lives)
    many = zip(lives, needs, strict=True)
    return [(v.first, v.first) for v, need in many if need > spec.activation_total]


def _check_sizes(lives: Sequence[Live], spec: AcceleratorSpec) -> None:
    have = spec.memory.activation_bytes
    for live in lives:
        need = live.storage.size
        if need > have:
            raise AllocationError(
                f"layer {live.storage.layer!r}: activation memory needs {need} bytes in one region"
                f" for tensor {live.storage.name!r}, the specification has {have}: raise "
                f"memory.activation_bytes to at least {_region(need, spec)}",
                [(v.first, v.last) for v in lives if v.storage.size > have],
            )


def allocate(
    lives: Sequence[Live],
    enemies: Iterable[tuple[Storage, Storage]],
    spec: AcceleratorSpec,
    *,
    rivals: Iterable[tuple[Storage, Storage]] = (),
) -> MemoryReport:
    """Give every storage its address.

    Parameters
    ----------
    lives: storages with their live ranges.
    enemies: storages that are read at the same time, better placed in different regions.
    spec: regions and their size.
    rivals: the same, but it costs less.

    Raises
    ------
    CompileError: they do not fit.
    """
    _check_sizes(lives, spec)
    apart: Enemies = {}
    for weight, others in ((1, rivals), (_ENEMY, enemies)):
        for a, b in others:
            if a is not b:
                apart.setdefault(id(a), {})[id(b)] = weight
                apart.setdefault(id(b), {})[id(a)] = weight
    found: list[tuple[tuple[int, int, int], Placement]] = []
    improved: list[tuple[tuple[int, int, int], Placement]] = []
    fewest: list[Live] = list(lives)
    bound = int(_needs(lives).max(initial=0))
    if bound > spec.activation_total:
        raise AllocationError(_too_much(lives, bound, spec), _crowded(lives, spec))
    ways = ((True, False), (True, True), (False, False))
    for order, alignment, (avoid, pack) in product(_ORDERS, (spec.line_bytes, 1), ways):
        ordered = sorted(lives, key=order)
        placed, failed = place(ordered, apart, spec, alignment=alignment, avoid=avoid, pack=pack)
        if failed:
            fewest = min(fewest, failed, key=len)
        else:
            cost = _shared(placed, apart), -alignment, _peak(placed, lives)
            found.append((cost, placed))
            if len(lives) > _MANY:
                break
    if not found:
        raise AllocationError(_too_much(lives, bound, spec), [(v.first, v.last) for v in fewest])
    for (_, unit, _), placed in sorted(found, key=lambda f: f[0])[:_IMPROVED]:
        improve(placed, lives, apart, spec, -unit)
        improved.append(((_shared(placed, apart), unit, _peak(placed, lives)), placed))
    (_, _, peak), best = min(improved, key=lambda f: f[0])
    shared = _shared(best, apart, weighted=False)
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
        f"{_region(max(least, have + 1), spec)}, or memory.activation_regions"
    )


def _region(need: int, spec: AcceleratorSpec) -> int:
    """Bytes of a region, which has two banks of whole lines, for so many."""
    unit = 2 * spec.line_bytes
    return -(-need // unit) * unit
