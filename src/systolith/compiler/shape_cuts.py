"""Ways to cut the extents of a tensor into tiles."""

from collections.abc import Iterator
from math import ceil

from systolith.compiler.tile_shape import TileShape

__all__ = ["doubled", "extents", "nested", "runs"]

_PARTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of parts into which rows and columns are cut, besides all."""


def extents(total: int) -> list[int]:
    """Sizes of even parts."""
    return sorted({total, 1, *(ceil(total / n) for n in _PARTS)}, reverse=True)


def runs(total: int) -> Iterator[TileShape]:
    """Parts of a tensor as a line of bytes."""
    size = total
    while size > 1:
        yield TileShape(rows=1, columns=1, channels=size)
        size = ceil(size / 2)
    yield TileShape(rows=1, columns=1, channels=1)


def nested(height: int, width: int, channels: int) -> Iterator[TileShape]:
    """Whole rows, then parts of a row, then parts of a pixel."""
    for rows in extents(height):
        yield TileShape(rows=rows, columns=width, channels=channels)
    for columns in extents(width):
        yield TileShape(rows=1, columns=columns, channels=channels)
    for count in extents(channels):
        yield TileShape(rows=1, columns=1, channels=count)


def doubled(first: int, last: int) -> Iterator[int]:
    """Yield sizes from the first, below the last."""
    while first < last:
        yield first
        first *= 2
