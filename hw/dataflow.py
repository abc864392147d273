"""The bare systolic arrays by dataflow, for those who build something else around one."""

from collections.abc import Callable
from enum import Enum

from amaranth.lib.wiring import Component

from systolith.hw.array import WeightStationaryArray
from systolith.hw.output_stationary import OutputStationaryArray

__all__ = ["ARRAYS", "Dataflow", "systolic_array"]


class Dataflow(Enum):
    """What stays in place while the rest moves."""

    WEIGHT_STATIONARY = "weight_stationary"
    """Weights stay; sums move down. The accelerator's array."""
    OUTPUT_STATIONARY = "output_stationary"
    """Sums stay; weights move down."""


ARRAYS: dict[Dataflow, Callable[..., Component]] = {
    Dataflow.WEIGHT_STATIONARY: WeightStationaryArray,
    Dataflow.OUTPUT_STATIONARY: OutputStationaryArray,
}
"""The array of each dataflow; all take (rows, columns, *, pipelined)."""


def systolic_array(
    dataflow: Dataflow | str, rows: int, columns: int, *, pipelined: bool = False
) -> Component:
    """A bare array; its docstring is the contract of its ports.

    Parameters
    ----------
    dataflow: a `Dataflow` or its value.
    rows, columns: 1 to 64 each.
    pipelined: a register behind every multiplier.

    Raises
    ------
    ValueError: an unknown dataflow, or a size out of range.
    """
    try:
        array = ARRAYS[Dataflow(dataflow)]
    except ValueError:
        known = ", ".join(d.value for d in Dataflow)
        raise ValueError(f"dataflow must be one of {known}, not {dataflow!r}") from None
    return array(rows, columns, pipelined=pipelined)
