"""Which weights of a MATMUL matter: those that are not zero, as the array sees them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.two_of_four import dense_rows
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import NIBBLE_BITS, Precision

__all__ = ["used_rows", "used_weights"]

Int64Array = NDArray[np.int64]


def used_weights(
    values: Mapping[str, int], weights: NDArray[np.uint8], spec: AcceleratorSpec
) -> NDArray[np.bool_]:
    """Which weights are not zero, [n, pass, rows, channels at once].

    Rows are those of dense words, one for every byte of a vector.
    """
    rows, columns = dense_rows(values, spec.array.rows), spec.array.columns
    tiles = values["n_count"]
    passes = values["ky_count"] * values["kx_count"] * values["kc_count"]
    stored = 1 if values["w_hold"] else tiles * passes
    words = weights[values["w_base"] : values["w_base"] + stored * rows]
    used = _nonzero(words.reshape(-1, rows, columns), values)
    shape = (tiles, passes, *used.shape[1:])
    return np.broadcast_to(used, shape) if values["w_hold"] else used.reshape(shape)


def _nonzero(tiles: NDArray[np.uint8], values: Mapping[str, int]) -> NDArray[np.bool_]:
    """Which rows of tiles [count, rows, columns] have a weight that is not zero, by channel."""
    zero = values["w_zero"]
    if values["precision"] == Precision.W8A8:
        return tiles != np.uint8(zero & 255)
    # int4 or uint4 less the zero point, wrapped as the array wraps it.
    codes = np.stack([tiles & 15, tiles >> 4]).astype(np.int64)
    codes = (codes ^ 8) - 8 if values["w_signed"] else codes
    low, high = (codes - zero) % (1 << NIBBLE_BITS) != 0
    if values["precision"] == Precision.W4A8:
        return np.concatenate([low, high], axis=2)
    return low | high


def used_rows(
    values: Mapping[str, int],
    store: Mapping[str, int],
    weights: NDArray[np.uint8],
    spec: AcceleratorSpec,
) -> tuple[Int64Array, Int64Array]:
    """First and last + 1 byte of a vector with a weight that matters, of each (n, pass).

    A weight matters if it is not zero and its column is stored.
    """
    used = used_weights(values, weights, spec)
    rows = used.shape[2]
    first, last = (np.zeros(used.shape[:2], np.int64) for _ in range(2))
    for tile in range(values["n_count"]):
        left = store["channels"] - tile * store["tile_channels"]
        width = min(store["tile_channels"], left)
        some = used[tile][..., :width].any(axis=2)
        reach = np.where(some.any(axis=1), rows - some[:, ::-1].argmax(axis=1), 0)
        first[tile], last[tile] = some.argmax(axis=1), reach
    return first, last
