"""Sequences of positions as loop nests: sizes and strides, as those of a numpy view."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Int64Array", "loop_nest", "positions"]

Int64Array = NDArray[np.int64]


def positions(offset: int, sizes: Sequence[int], strides: Sequence[int]) -> Int64Array:
    """Return ``offset + sum(i * strides)`` for all i below `sizes`, the last index fastest."""
    result = np.full(1, offset, np.int64)
    for size, stride in zip(sizes, strides, strict=True):
        result = (result[:, None] + np.arange(size, dtype=np.int64) * stride).reshape(-1)
    return result


def loop_nest(
    *sequences: Int64Array,
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]] | None:
    """Return the shortest loop nest that walks all sequences at once, or None if there is none.

    ``positions(sequence[0], sizes, strides)`` gives each sequence back. The first change of step
    ends the innermost loop: had that loop fewer iterations, its last step would differ from the
    others, or be the same in every iteration of the next loop, and both were one loop.

    Parameters
    ----------
    sequences: int64, one dimension, not empty, of one length.

    Returns
    -------
    sizes, each at least 2, outermost first; and for each sequence its strides.
    """
    table = np.stack(sequences)
    sizes: list[int] = []
    steps: list[list[int]] = []
    while table.shape[1] > 1:
        step = table[:, 1] - table[:, 0]
        same = (np.diff(table, axis=1) == step[:, None]).all(axis=0)
        run = table.shape[1] if same.all() else int(np.argmin(same)) + 1
        if table.shape[1] % run:
            return None
        rows = table.reshape(len(table), -1, run)
        if (rows != rows[:, :, :1] + step[:, None, None] * np.arange(run)).any():
            return None
        sizes.append(run)
        steps.append(step.tolist())
        table = rows[:, :, 0]
    strides = tuple(tuple(step[k] for step in reversed(steps)) for k in range(len(sequences)))
    return tuple(reversed(sizes)), strides
