"""Words of the memories on chip as external memory holds them."""

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.registers import Window, window_stride

__all__ = ["parameter_data_bits", "weight_part_bytes"]


def weight_part_bytes(spec: AcceleratorSpec) -> int:
    """Bytes of a weight word, as external memory holds it, that LOAD writes at once."""
    return min(window_stride(spec, Window.WEIGHTS), spec.external.data_bytes)


def parameter_data_bits(spec: AcceleratorSpec) -> int:
    """Width of the data that the parameter memory takes: biases, then the rest of a record."""
    return 32 * (spec.bias_lanes + 7)
