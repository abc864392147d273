"""Latencies of the hardware, in cycles."""

from dataclasses import dataclass

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.requant import RequantMode, RequantWidths

__all__ = ["MINIMUM_PASS", "NEVER", "READ_LATENCY", "WRITE_LATENCY", "Timing"]

NEVER = 1 << 60
"""A cycle later than all."""

READ_LATENCY = 3
"""From a granted read of the activation memory to its data."""
WRITE_LATENCY = 2
"""From a granted write to the first read that sees it."""
MINIMUM_PASS = 4
"""Between the first vectors of two passes, at least: an accumulator's read to its next read."""

_RESIDUAL_ADD = 8
_EVERY_MODE = 9
_NORMALISE, _MAGNITUDE, _ROUND_OPERAND, _SATURATE = 2, 1, 1, 1


def _requantizer(modes: frozenset[RequantMode], widths: RequantWidths) -> int:
    """Stages of a requantizer that has these modes and widths."""
    stages = _EVERY_MODE
    if modes & {RequantMode.FLOAT32, RequantMode.DOUBLE}:
        stages += _NORMALISE
    if RequantMode.FLOAT32 in modes:
        stages += _ROUND_OPERAND
    if modes & {RequantMode.FLOAT32, RequantMode.MAGNITUDE}:
        stages += _MAGNITUDE
    if RequantMode.MAGNITUDE in modes or widths.accumulator < 32:
        stages += _SATURATE
    return stages


@dataclass(frozen=True, slots=True)
class Timing:
    """What depends on the specification.

    Parameters
    ----------
    tile: cycles to load a weight tile.
    credit: from the issue of a vector of a tile's last pass to the first cycle in which
        post-processing can take its result.
    write: from a lane vector's issue to its write.
    landed: from a lane vector's issue to the finish of the STORE whose last it is.
    """

    tile: int
    credit: int
    write: int
    landed: int

    @classmethod
    def of(cls, spec: AcceleratorSpec) -> "Timing":
        """The latencies of an accelerator."""
        array = spec.array
        last = array.column_delay(array.columns - 1)
        # Through the array, along the columns, two stages of the accumulators, the credit counter.
        credit = READ_LATENCY + array.latency - 1 + last + 2 + 1
        lane = _requantizer(spec.post.modes, spec.post.widths)
        lane += _RESIDUAL_ADD if spec.post.residual else 0
        lane += 1 if spec.memory.tables else 0
        write = READ_LATENCY + lane
        return cls(tile=array.rows, credit=credit, write=write, landed=write + WRITE_LATENCY)
