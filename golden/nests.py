"""Loop nests of commands as numpy arrays."""

import numpy as np

from systolith.golden.rounding import Int64Array
from systolith.spec.commands import Command
from systolith.spec.program import ProgramError

__all__ = ["counts", "offsets"]


def counts(command: Command, loops: tuple[str, ...]) -> tuple[int, ...]:
    """Return the iterations of a nest.

    Raises
    ------
    ProgramError: if one is zero.
    """
    result = tuple(command[f"{name}_count"] for name in loops)
    if 0 in result:
        raise ProgramError(f"{loops[result.index(0)]}_count must be at least 1, not 0")
    return result


def offsets(command: Command, stream: str, loops: tuple[str, ...]) -> Int64Array:
    """Return the offsets of a stream over a nest, one axis a loop."""
    total = np.zeros((1,) * len(loops), np.int64)
    for axis, name in enumerate(loops):
        steps = np.arange(command[f"{name}_count"]) * command[f"{stream}_{name}_stride"]
        total = total + steps.reshape([-1 if d == axis else 1 for d in range(len(loops))])
    return total
