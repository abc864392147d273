"""Words of the memories on chip as external memory holds them."""

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.registers import Window, window_stride

__all__ = ["SHORT_PLACES", "SIGNED_WORD", "parameter_data_bits", "weight_part_bytes"]

SHORT_PLACES = {0: (0, 0, 32), 1: (1, 0, 32), 2: (2, 0, 32), 3: (3, 8, 32), 4: (3, 0, 8)}
"""Word of the parameter memory's record -> word of a short channel, and its bits there."""
SIGNED_WORD = 3
"""Word of the record that takes the sign of what a short channel has of it."""


def weight_part_bytes(spec: AcceleratorSpec) -> int:
    """Bytes of a weight word, as external memory holds it, that LOAD writes at once."""
    return min(window_stride(spec, Window.WEIGHTS), spec.external.data_bytes)


def parameter_data_bits(spec: AcceleratorSpec) -> int:
    """Width of the data that the parameter memory takes: biases, then the rest of a record."""
    return 32 * (spec.bias_lanes + 7)
