"""Random choices of elements: what numpy makes of the places of a tensor's elements."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["random_places"]


def _changed(rng: np.random.Generator, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """A transpose, a slice with steps, a mirrored or repeated side, or chosen parts of one."""
    kind, axis = int(rng.integers(0, 5)), int(rng.integers(0, 3))
    size = places.shape[axis]
    if kind == 0:
        return places.transpose(rng.permutation(3))
    if kind == 1:
        start = int(rng.integers(0, size))
        cut = slice(start, int(rng.integers(start + 1, size + 1)), int(rng.integers(1, 4)))
        return places[(slice(None),) * axis + (cut,)]
    if kind == 2:
        return np.flip(places, axis)
    if kind == 3:
        return np.take(places, rng.integers(0, size, int(rng.integers(1, 5))), axis)
    return np.repeat(places, int(rng.integers(1, 4)), axis)


def random_places(rng: np.random.Generator, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose elements of an (H, W, C) tensor in one or two ways."""
    for _ in range(int(rng.integers(1, 3))):
        places = _changed(rng, places)
    return places
