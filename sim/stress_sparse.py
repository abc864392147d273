"""Random accelerators and MATMULs with weights of two of four."""

from dataclasses import replace

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import WeightFormat

__all__ = ["with_places"]


def with_places(spec: AcceleratorSpec) -> AcceleratorSpec:
    """The accelerator with the format, an even number of rows, and memories that hold its lines."""
    rows = spec.array.rows + spec.array.rows % 2
    formats = spec.array.weight_formats | {WeightFormat.TWO_OF_FOUR}
    array = replace(spec.array, rows=rows, weight_formats=formats)
    line = 1 << (max(rows, spec.post.lanes, 4) - 1).bit_length()
    unit, size = 2 * line, spec.memory.activation_bytes
    memory = replace(
        spec.memory,
        activation_bytes=-(-max(size, 16 * unit) // unit) * unit,
        weight_bytes=spec.memory.weight_bytes * rows // spec.array.rows,
    )
    return replace(spec, array=array, memory=memory)
