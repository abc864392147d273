"""Loop nests of commands: addresses, and the regions of the activation memory they touch."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Command
from systolith.spec.program import ProgramError

__all__ = ["Int64Array", "counts", "limited", "offsets", "reach", "regions", "touched"]

Int64Array = NDArray[np.int64]
_MOST = 1 << 24
"""Of whatever is held in memory one by one for a command."""


def limited(what: str, number: int) -> int:
    """Return ``number``.

    Raises
    ------
    ProgramError: it is so large that to follow a program through all would take hours.
    """
    if number > _MOST:
        raise ProgramError(f"{what} must be at most {_MOST} to be predicted, not {number}")
    return number


def counts(command: Command, loops: Sequence[str]) -> tuple[int, ...]:
    """Iterations of each loop.

    Raises
    ------
    ProgramError: one is zero.
    """
    result = tuple(command[f"{name}_count"] for name in loops)
    if 0 in result:
        raise ProgramError(f"{loops[result.index(0)]}_count must be at least 1, not 0")
    return result


def offsets(command: Command, stream: str, loops: Sequence[str]) -> Int64Array:
    """Offset of every step of a nest in bytes, in order; int64 [product of the counts]."""
    limited("steps of a command", math.prod(command[f"{name}_count"] for name in loops))
    total = np.zeros(1, np.int64)
    for name in loops:
        steps = np.arange(command[f"{name}_count"]) * command[f"{stream}_{name}_stride"]
        total = (total[:, None] + steps).reshape(-1)
    return total


def reach(command: Command, stream: str, loops: Sequence[str]) -> tuple[int, int]:
    """Least and largest offset of a nest in bytes."""
    ends = [(command[f"{n}_count"] - 1) * command[f"{stream}_{n}_stride"] for n in loops]
    return sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends)


def regions(spec: AcceleratorSpec, addresses: Int64Array) -> Int64Array:
    """Region of every address, after its wrap into the activation memory's address space."""
    inside = addresses & ((1 << spec.activation_address_bits) - 1)
    return inside // spec.region_stride


def touched(spec: AcceleratorSpec, low: int, high: int) -> int:
    """Mask of the regions in which addresses from ``low`` to ``high`` start (bit g: region g)."""
    space = 1 << spec.activation_address_bits
    first, last = low // spec.region_stride, high // spec.region_stride
    everywhere = (1 << spec.memory.activation_regions) - 1
    if high - low >= space:
        return everywhere
    count = space // spec.region_stride
    mask = 0
    for region in range(first, last + 1):
        mask |= 1 << region % count
    return mask & everywhere
