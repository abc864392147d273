"""Weights of which two in every four inputs are not zero, as `WeightFormat.TWO_OF_FOUR` has them.

Such a MATMUL takes vectors of two bytes a row of the array. Up to the finished list of commands its
tiles are dense, a word for every byte of a vector; `encoded_words` makes of them what is stored.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.spec.precision import PLACE_ROWS, WeightFormat

__all__ = ["dense_rows", "dense_tiles", "encoded_words", "is_sparse", "stored_rows", "tile_words"]

Codes = NDArray[np.uint8]
_FOUR, _KEPT = 4, 2


def is_sparse(values: Mapping[str, int]) -> bool:
    """Whether a MATMUL's weights are two of four; not all of its fields need to be given."""
    return values.get("w_format", 0) == WeightFormat.TWO_OF_FOUR


def dense_rows(values: Mapping[str, int], rows: int) -> int:
    """Bytes of a MATMUL's vectors, and dense words of its tiles, on an array of ``rows`` rows."""
    return _KEPT * rows if is_sparse(values) else rows


def stored_rows(rows: int) -> int:
    """Words of a tile of two of four weights: of places, and of weights."""
    return rows + -(-rows // PLACE_ROWS)


def tile_words(values: Mapping[str, int], rows: int) -> int:
    """Words of a MATMUL's tiles for an array of ``rows`` rows, each of which is read in a cycle.

    Formats of `weight_choice` are counted as dense ones.
    """
    return stored_rows(rows) if is_sparse(values) else rows


def encoded_words(tiles: Codes, used: NDArray[np.bool_]) -> Codes | None:
    """Words [words, columns] that hold tiles; None if four inputs have more than two weights.

    Where they have fewer, weights that are zero stand in.

    Parameters
    ----------
    tiles: dense ones, [tiles, bytes of a vector, columns].
    used: which weights are not zero.
    """
    count, depth, columns = tiles.shape
    fours = (count, depth // _FOUR, _FOUR, columns)
    tiles, used = tiles.reshape(fours), used.reshape(fours)
    if (used.sum(axis=2) > _KEPT).any():
        return None
    first = np.argsort(~used, axis=2, kind="stable")[:, :, :_KEPT]
    places = np.sort(first, axis=2)
    kept = np.take_along_axis(tiles, places, axis=2).reshape(count, -1, columns)
    rows = kept.shape[1]
    padded = np.zeros((count, -(-rows // PLACE_ROWS) * PLACE_ROWS, columns), np.uint8)
    padded[:, :rows] = places.reshape(count, rows, columns)
    shifts = _KEPT * np.arange(PLACE_ROWS, dtype=np.uint8)[:, None]
    shifted = padded.reshape(count, -1, PLACE_ROWS, columns) << shifts
    words = np.concatenate([np.bitwise_or.reduce(shifted, axis=2), kept], axis=1)
    return words.reshape(-1, columns)


def dense_tiles(words: Codes, count: int, rows: int, zero: int) -> Codes:
    """Dense words of tiles, [count * bytes of a vector, columns].

    Parameters
    ----------
    words: as stored, [words, columns]; those behind the end are taken to be 0.
    count, rows: tiles, and rows of the array.
    zero: code of the weights that are not stored.
    """
    columns, size = words.shape[1], stored_rows(rows)
    stored = np.zeros((count * size, columns), np.uint8)
    stored[: len(words[: len(stored)])] = words[: len(stored)]
    places, kept = np.split(stored.reshape(count, size, columns), [size - rows], axis=1)
    shifts = _KEPT * np.arange(PLACE_ROWS, dtype=np.uint8)[:, None]
    chosen = (places[:, :, None] >> shifts & (_FOUR - 1)).reshape(count, -1, columns)[:, :rows]
    result = np.full((count, rows // _KEPT, _FOUR, columns), zero & 255, np.uint8)
    pairs = (count, rows // _KEPT, _KEPT, columns)
    np.put_along_axis(result, chosen.reshape(pairs).astype(np.int64), kept.reshape(pairs), axis=2)
    return result.reshape(-1, columns)
