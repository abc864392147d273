"""Accelerators of other sizes, and what they can be expected to take.

An element more costs what an element costs, a lane what a lane costs: component by component, from
an accelerator that was synthesised.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from systolith.build.estimate import Estimate
from systolith.build.families import Resources
from systolith.spec.accelerator import AcceleratorSpec

__all__ = [
    "MEMORIES",
    "MOST_BEATS",
    "USEFUL",
    "USUAL_BEATS",
    "Memories",
    "least_lanes",
    "predict_resources",
    "rough_resources",
    "with_array",
]

MOST_BEATS = 16
"""Lane vectors in an array vector, at most: with more, requantizing takes longer than computing."""
USUAL_BEATS = 8
"""The same where the array is to be of use for layers of few input channels, too."""
PARAMETER_BITS = (64, 32, 32, 8)
"""Widths of a channel's parameters, each in a memory of its own."""
LANE_MULTIPLIERS = 8
"""Multiplier blocks of a lane whose multiplier has 32 bits; half are the residual add's."""


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


def least_lanes(columns: int, beats: int = USUAL_BEATS) -> int:
    """Return the fewest lanes that take an array vector in so many beats."""
    return next(n for n in range(1, columns + 1) if columns % n == 0 and columns <= n * beats)


def _blocks(bits: int, words: int, width: int) -> int:
    """Block memories of so many bits that a memory takes: words of 1 to 36 bits of theirs."""
    shapes = [(bits // size, size) for size in (1, 2, 4, 8, 16, 32) if bits // size]
    return min(ceil(words / deep) * ceil(width / wide) for deep, wide in shapes)


def _memory_blocks(spec: AcceleratorSpec, bits: int) -> dict[str, int]:
    """Block memories of so many bits that the components take, by their memories' shapes."""
    memory, line, lanes = spec.memory, spec.line_bytes, spec.post.lanes
    bank = memory.activation_bytes // 2 // line
    return {
        "weight memory": _blocks(bits, spec.weight_words, 8 * spec.array.columns),
        "activation memory": 2 * memory.activation_regions * _blocks(bits, bank, 8 * line),
        "parameter memory": sum(
            _blocks(bits, spec.lane_words, width * lanes) for width in PARAMETER_BITS
        ),
        "command fetch": _blocks(bits, memory.command_words, 32),
        "accumulators": 0 if memory.small_distributed else 2 * spec.array.columns,
        "array inputs": _blocks(bits, spec.array.depthwise_width, 8 * spec.array.rows),
    }


def rough_resources(spec: AcceleratorSpec, bits: int) -> Resources:
    """What an accelerator takes, before any was synthesised: only to have one to begin with."""
    elements, lanes = spec.macs_per_cycle, spec.post.lanes
    return Resources(
        luts=20 * elements + 1000 * lanes + 6000,
        ffs=20 * elements + 800 * lanes + 6000,
        dsps=elements + LANE_MULTIPLIERS * lanes // (1 if spec.post.residual_multipliers else 2),
        block_rams=sum(_memory_blocks(spec, bits).values()),
    )


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
    before, after = _memory_blocks(old, block_bits), _memory_blocks(new, block_bits)
    memory = {name: after[name] / max(1, before[name]) for name in before}
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
