"""The largest array that fits a part, the rest of the accelerator made for it.

Which array fits is predicted from one that was synthesised, component by component: an element more
costs what an element costs. What is predicted is then synthesised, until the largest that is
predicted to fit is one that does. Two or three syntheses find an array among thousands.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil, sqrt

from systolith.build.clock import LongestPath
from systolith.build.estimate import Estimate
from systolith.build.families import Resources
from systolith.constraints import Capacity
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["MEMORIES", "Memories", "Search", "largest_array", "predict_resources", "with_array"]

MOST_BEATS = 16
"""Lane vectors in an array vector, at most: with more, requantizing takes longer than computing."""
STRETCH = 2
"""How many times longer than wide, or wider than long, an array may be."""
LEAST = 2
"""Rows and columns of the smallest array."""
MARGIN = 0.95
"""Share of look-up tables and registers beyond which a part cannot be expected to be routed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memories:
    """Sizes of the memories; fields as in `MemorySpec`."""

    activation_bytes: int
    weight_bytes: int
    parameter_channels: int
    command_words: int


def _memories(activation: int, weight: int, channels: int, commands: int) -> Memories:
    return Memories(
        activation_bytes=activation * 1024,
        weight_bytes=weight * 1024,
        parameter_channels=channels,
        command_words=commands,
    )


MEMORIES = (
    _memories(64, 512, 4096, 8192),
    _memories(40, 288, 2048, 4096),
    _memories(36, 112, 1024, 4096),
    _memories(12, 72, 1024, 2048),
    _memories(12, 32, 640, 2048),
    _memories(8, 8, 256, 1024),
    _memories(4, 4, 128, 1024),
    _memories(2, 2, 32, 256),
)
"""What is tried, largest first: room for each of the four MLPerf Tiny networks on arrays of up to
16 columns (288 KiB of weights), for ResNet-8 (112), for DS-CNN on large arrays and on small ones
(72 and 32), for the embedded network (8)."""
USEFUL = MEMORIES[-3]
"""The smallest with which an array is of use, if the part has as much at all."""


def with_array(
    spec: AcceleratorSpec, rows: int, columns: int, lanes: int, memories: Memories
) -> AcceleratorSpec:
    """Return an accelerator with another array, lanes and memories."""
    line = max(2 ** (n - 1).bit_length() for n in (rows, lanes, 4))
    external = min(spec.external.data_bytes, line)
    if external:  # weights stream in: a quarter of them is on chip
        memories = replace(memories, weight_bytes=memories.weight_bytes // 2)

    def fitted(value: int, unit: int) -> int:
        return max(unit, ceil(value / unit) * unit)

    kernel = 3 if rows >= 9 else 2
    return replace(
        spec,
        array=replace(
            spec.array,
            rows=rows,
            columns=columns,
            depthwise_lines=min(kernel, rows) if spec.array.depthwise_lines else 0,
        ),
        memory=replace(
            spec.memory,
            activation_bytes=fitted(memories.activation_bytes, 2 * line),
            weight_bytes=fitted(memories.weight_bytes, columns),
            parameter_channels=fitted(memories.parameter_channels, lanes),
            command_words=memories.command_words,
        ),
        post=replace(spec.post, lanes=lanes),
        external=replace(spec.external, data_bytes=external),
    )


def least_lanes(columns: int, beats: int = MOST_BEATS) -> int:
    """Return the fewest lanes that take an array vector in so many beats."""
    return next(n for n in range(1, columns + 1) if columns % n == 0 and columns <= n * beats)


def _blocks(bits: int, words: int, width: int) -> int:
    """Block memories of so many bits that a memory takes: words of 1 to 36 bits of theirs."""
    shapes = [(bits // size, size) for size in (1, 2, 4, 8, 16, 32) if bits // size]
    return min(ceil(words / deep) * ceil(width / wide) for deep, wide in shapes)


def _memory_factors(
    block_bits: int, old: AcceleratorSpec, new: AcceleratorSpec
) -> dict[str, float]:
    """By component, how many times more block memory it takes."""

    def of(spec: AcceleratorSpec) -> dict[str, int]:
        memory, line = spec.memory, spec.line_bytes
        bank = memory.activation_bytes // 2 // line
        lanes = spec.post.lanes
        parameters = (64, 32, 32, 8)
        return {
            "weight memory": _blocks(block_bits, spec.weight_words, 8 * spec.array.columns),
            "activation memory": 2
            * memory.activation_regions
            * _blocks(block_bits, bank, 8 * line),
            "parameter memory": sum(
                _blocks(block_bits, spec.lane_words, bits * lanes) for bits in parameters
            ),
            "command fetch": _blocks(block_bits, memory.command_words, 32),
            "accumulators": spec.array.columns,
            "array inputs": _blocks(block_bits, spec.array.depthwise_width, 8 * spec.array.rows),
        }

    before, after = of(old), of(new)
    return {name: after[name] / before[name] for name in before}


def predict_resources(
    found: Estimate, old: AcceleratorSpec, new: AcceleratorSpec, block_bits: int
) -> Resources:
    """Return what an accelerator can be expected to take, given what a similar one takes.

    Parameters
    ----------
    block_bits: of a block memory.
    """
    rows = new.array.rows / old.array.rows
    columns = new.array.columns / old.array.columns
    lanes = new.post.lanes / old.post.lanes
    line = new.line_bytes / old.line_bytes
    logic: Mapping[str, float] = {
        "array": rows * columns, "array inputs": rows, "accumulators": columns,
        "lanes": lanes, "parameter memory": lanes, "store unit": (1 + lanes) / 2,
        "weight loader": columns, "activation memory": line, "DMA": 1,
    }  # fmt: skip
    memory = _memory_factors(block_bits, old, new)
    total = Resources()
    for name, takes in found.components.items():
        times = logic.get(name, 1)
        total += Resources(
            luts=ceil(takes.luts * times),
            ffs=ceil(takes.ffs * times),
            dsps=round(takes.dsps * times),
            block_rams=takes.block_rams * memory.get(name, 1),
            large_rams=ceil(takes.large_rams * memory.get(name, 1)),
        )
    return total


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What a search found.

    Parameters
    ----------
    spec: the largest accelerator that fits; None if none does.
    resources: what it takes, synthesised.
    clock: its longest path, by typical delays.
    limit: what the next larger array has too little of: by resource, needed and there.
    next_array: rows and columns of that one.
    syntheses: how many accelerators were synthesised.
    """

    spec: AcceleratorSpec | None
    resources: Resources
    clock: LongestPath | None
    limit: Mapping[str, tuple[int, int]]
    next_array: tuple[int, int]
    syntheses: int


def shapes(most: int = 64) -> Iterator[tuple[int, int]]:
    """Yield rows and columns, most elements first; of equals multiples of four, then the squarest,
    then the one with more rows."""
    pairs = [
        (rows, columns)
        for rows in range(LEAST, most + 1)
        for columns in range(LEAST, most + 1)
        if max(rows, columns) <= STRETCH * min(rows, columns)
    ]
    yield from sorted(
        pairs, key=lambda p: (-p[0] * p[1], p[0] % 4 + p[1] % 4, max(p) / min(p), -p[0])
    )


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
    if not mine:  # as large as the multipliers let expect
        side = max(LEAST, int(sqrt(0.8 * capacity.dsps)))
        first = with_array(spec, side, side, least_lanes(side), USEFUL)
        mine[first] = known[first] = takes(first)
    chosen = _best(spec, limits, mine, block_bits) or _half(spec, mine)
    while chosen is not None and chosen not in mine:
        mine[chosen] = known[chosen] = takes(chosen)
        chosen = _best(spec, limits, mine, block_bits) or _half(spec, mine)
    if chosen is None:
        return Search(
            spec=None,
            resources=Resources(),
            clock=None,
            limit={},
            next_array=(LEAST, LEAST),
            syntheses=len(mine) - before,
        )
    limit, beyond = _beyond(chosen, limits, mine, block_bits)
    return Search(
        spec=chosen,
        resources=mine[chosen].total,
        clock=mine[chosen].clock,
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

    def fits(rows: int, columns: int, beats: int, memories: Memories) -> AcceleratorSpec | None:
        lanes = least_lanes(columns, beats)
        tried = with_array(spec, rows, columns, lanes, memories)
        return None if _expected(tried, known, block_bits).excess(limits) else tried

    for least in (USEFUL, MEMORIES[-1]):
        for rows, columns in shapes():
            if rows * columns > 2 * limits.dsps or fits(rows, columns, MOST_BEATS, least) is None:
                continue
            memories = next(m for m in MEMORIES if fits(rows, columns, MOST_BEATS, m))
            tries = (fits(rows, columns, beats, memories) for beats in (2, 4, 8, MOST_BEATS))
            return next(tried for tried in tries if tried is not None)
    return None


def _half(
    spec: AcceleratorSpec, known: Mapping[AcceleratorSpec, Estimate]
) -> AcceleratorSpec | None:
    """An array half as long and wide as the smallest known, with the least memory."""
    side = min(max(made.array.rows, made.array.columns) for made in known)
    if side <= LEAST:
        return None
    side = max(LEAST, side // 2)
    return with_array(spec, side, side, least_lanes(side), MEMORIES[-1])


def _beyond(
    chosen: AcceleratorSpec,
    limits: Capacity,
    known: Mapping[AcceleratorSpec, Estimate],
    block_bits: int,
) -> tuple[dict[str, tuple[int, int]], tuple[int, int]]:
    """What the next larger array has too little of, and its rows and columns."""
    larger = [p for p in shapes() if p[0] * p[1] > chosen.macs_per_cycle]
    if not larger:
        return {}, (chosen.array.rows, chosen.array.columns)
    rows, columns = min(larger, key=lambda p: (p[0] * p[1], max(p) / min(p)))
    spec = with_array(chosen, rows, columns, least_lanes(columns), USEFUL)
    return _expected(spec, known, block_bits).excess(limits), (rows, columns)
