"""The largest array that fits a part, the rest of the accelerator made for it.

Which array fits is predicted (`scaling.py`). What is predicted is then synthesised, until the
largest that is predicted to fit is one that does: one to three syntheses find an array among
thousands.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import ceil

from systolith.build.clock import LongestPath
from systolith.build.estimate import Estimate
from systolith.build.families import Resources
from systolith.build.scaling import (
    MEMORIES,
    MOST_BEATS,
    USEFUL,
    USUAL_BEATS,
    Memories,
    least_lanes,
    predict_resources,
    rough_resources,
    with_array,
)
from systolith.constraints import Capacity
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Search", "largest_array", "shapes"]

STRETCH = 2
"""How many times longer than wide, or wider than long, an array may be."""
CHANNELS = (16, 32, 64, 128)
"""Of layers, as they are usual in small networks."""
LEAST = 2
"""Rows and columns of the smallest array."""
MARGIN = 0.95
"""Share of look-up tables and registers beyond which a part cannot be expected to be routed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What a search found.

    Parameters
    ----------
    spec: the largest accelerator that fits; None if none does.
    resources: what it takes, synthesised.
    clock: its longest path, by typical delays.
    most: rows and columns of the array with the most elements that is expected to fit, whether
        networks keep them at work or not.
    limit: what the next larger than that has too little of: by resource, needed and there.
    next_array: rows and columns of that one.
    syntheses: how many accelerators were synthesised.
    """

    spec: AcceleratorSpec | None
    resources: Resources
    clock: LongestPath | None
    most: tuple[int, int]
    limit: Mapping[str, tuple[int, int]]
    next_array: tuple[int, int]
    syntheses: int


@cache
def busy_share(side: int) -> float:
    """Return the share of rows or columns that work, on average, as channels are spread on them."""
    return sum(n / (ceil(n / side) * side) for n in CHANNELS) / len(CHANNELS)


@cache
def shapes(most: int = 64, *, plain: bool = False) -> tuple[tuple[int, int], ...]:
    """Return rows and columns of arrays, those with the most elements at work first.

    Parameters
    ----------
    plain: count all elements, at work or not.
    """

    def order(pair: tuple[int, int]) -> tuple[float, ...]:
        rows, columns = pair
        share = 1.0 if plain else busy_share(rows) * busy_share(columns)
        return -rows * columns * share, max(pair) / min(pair), rows

    sides = range(LEAST, most + 1)
    pairs = ((rows, columns) for rows in sides for columns in sides)
    return tuple(sorted((p for p in pairs if max(p) <= STRETCH * min(p)), key=order))


def _alike(one: AcceleratorSpec, other: AcceleratorSpec) -> bool:
    """Whether two accelerators differ in nothing but the array's size, lanes and memories."""

    def plain(spec: AcceleratorSpec) -> AcceleratorSpec:
        return with_array(spec, LEAST, LEAST, 1, MEMORIES[-1])

    return plain(one) == plain(other)


def largest_array(
    spec: AcceleratorSpec,
    capacity: Capacity,
    takes: Callable[[AcceleratorSpec], Estimate],
    block_bits: int,
    known: dict[AcceleratorSpec, Estimate],
) -> Search:
    """Return the largest array that fits a part, and fill what is left with memory and lanes.

    Parameters
    ----------
    spec: the accelerator whose array, lanes and memories are to be changed.
    takes: synthesises an accelerator.
    block_bits: of a block memory of the part.
    known: accelerators of the family that were synthesised before; takes in those that are now.
    """
    limits = replace(capacity, luts=int(capacity.luts * MARGIN), ffs=int(capacity.ffs * MARGIN))
    mine = {made: found for made, found in known.items() if _alike(made, spec)}
    before = len(mine)
    chosen = _best(spec, limits, mine, block_bits) or _half(spec, mine)
    while chosen is not None and chosen not in mine:
        mine[chosen] = known[chosen] = takes(chosen)
        chosen = _best(spec, limits, mine, block_bits) or _half(spec, mine)
    if chosen is None:
        return Search(
            spec=None,
            resources=Resources(),
            clock=None,
            most=(0, 0),
            limit={},
            next_array=(LEAST, LEAST),
            syntheses=len(mine) - before,
        )
    most, limit, beyond = _beyond(chosen, limits, mine, block_bits)
    return Search(
        spec=chosen,
        resources=mine[chosen].total,
        clock=mine[chosen].clock,
        most=most,
        limit=limit,
        next_array=beyond,
        syntheses=len(mine) - before,
    )


def _expected(
    spec: AcceleratorSpec, known: Mapping[AcceleratorSpec, Estimate], block_bits: int
) -> Resources:
    """What an accelerator takes, from the most similar one that was synthesised."""
    if spec in known:
        return known[spec].total
    if not known:
        return rough_resources(spec, block_bits)
    elements = spec.macs_per_cycle
    near = min(
        known,
        key=lambda s: (
            abs(s.macs_per_cycle - elements) / elements
            + abs(s.post.lanes - spec.post.lanes) / spec.post.lanes
        ),
    )
    return predict_resources(known[near], near, spec, block_bits)


def _best(
    spec: AcceleratorSpec,
    limits: Capacity,
    known: Mapping[AcceleratorSpec, Estimate],
    block_bits: int,
) -> AcceleratorSpec | None:
    """The most elements that are expected to fit, then the most memory, then the most lanes."""

    most = _most_elements(limits, known)

    def fits(rows: int, columns: int, beats: int, memories: Memories) -> AcceleratorSpec | None:
        lanes = least_lanes(columns, beats)
        tried = with_array(spec, rows, columns, lanes, memories)
        return None if _expected(tried, known, block_bits).excess(limits) else tried

    for least in (USEFUL, MEMORIES[-1]):
        for rows, columns in shapes():
            if rows * columns > most or fits(rows, columns, USUAL_BEATS, least) is None:
                continue
            memories = next(m for m in MEMORIES if fits(rows, columns, USUAL_BEATS, m))
            tries = (fits(rows, columns, beats, memories) for beats in (2, 4, USUAL_BEATS))
            return next(tried for tried in tries if tried is not None)
    return None


def _most_elements(limits: Capacity, known: Mapping[AcceleratorSpec, Estimate]) -> float:
    """How many elements fit if there were nothing else: to leave the others out quickly."""
    most = 2.0 * limits.dsps  # two columns may share a multiplier
    for spec, found in known.items():
        array = found.components.get("array", Resources())
        for name in ("luts", "ffs", "dsps"):
            if takes := getattr(array, name):
                most = min(most, getattr(limits, name) * spec.macs_per_cycle / takes)
    return most


def _half(
    spec: AcceleratorSpec, known: Mapping[AcceleratorSpec, Estimate]
) -> AcceleratorSpec | None:
    """An array half as long and wide as the smallest known, or the smallest there is."""
    sides = [max(made.array.rows, made.array.columns) for made in known]
    if sides and min(sides) <= LEAST:
        return None
    side = max(LEAST, min(sides, default=0) // 2)
    return with_array(spec, side, side, least_lanes(side), MEMORIES[-1])


def _beyond(
    chosen: AcceleratorSpec,
    limits: Capacity,
    known: Mapping[AcceleratorSpec, Estimate],
    block_bits: int,
) -> tuple[tuple[int, int], dict[str, tuple[int, int]], tuple[int, int]]:
    """The array with the most elements; what the next one has too little of, and that one."""
    small = chosen.memory.activation_bytes < USEFUL.activation_bytes
    memories = MEMORIES[-1] if small else USEFUL
    most = next_one = chosen.array.rows, chosen.array.columns
    limit: dict[str, tuple[int, int]] = {}
    some = 1.1 * _most_elements(limits, known)  # one that does not fit is looked for, too
    for rows, columns in reversed(shapes(plain=True)):
        if not most[0] * most[1] < rows * columns <= some:
            continue
        spec = with_array(chosen, rows, columns, least_lanes(columns, MOST_BEATS), memories)
        excess = _expected(spec, known, block_bits).excess(limits)
        if not excess:
            most, limit = (rows, columns), {}
        elif not limit or rows * columns == next_one[0] * next_one[1]:
            limit, next_one = excess, (rows, columns)
    return most, limit, next_one
