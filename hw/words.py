"""Words of the memories on chip as external memory holds them."""

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.registers import Window, window_stride

__all__ = ["weight_part_bytes"]


def weight_part_bytes(spec: AcceleratorSpec) -> int:
    """Bytes of a weight word, as external memory holds it, that LOAD writes at once."""
    return min(window_stride(spec, Window.WEIGHTS), spec.external.data_bytes)
