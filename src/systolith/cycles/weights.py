"""The weight loader: when the rows of every tile enter the array."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from systolith.cycles.nests import Int64Array
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Command
from systolith.spec.precision import BOOK_WORDS, PLACE_ROWS, WeightFormat
from systolith.spec.program import ProgramError

__all__ = ["Loader", "row_bytes"]

_BUFFER = 4
"""Weight words in the buffer of bitmaps."""


def row_bytes(spec: AcceleratorSpec, words: NDArray[np.uint8], command: Command) -> Int64Array:
    """Bytes of every row of a MATMUL's bitmaps, [tile, row] in the order in which they are read.

    Raises
    ------
    ProgramError: weight words that do not exist.
    """
    rows, columns = spec.array.rows, spec.array.columns
    stream = np.ascontiguousarray(words[command["w_base"] :], np.uint8).reshape(-1)
    masks = -(-columns // 8)
    spare = 0xFF >> (-columns % 8)  # bits of the last byte that are columns
    ones = np.unpackbits(stream[:, None], axis=1).sum(axis=1)
    last = np.unpackbits((stream & np.uint8(spare))[:, None], axis=1).sum(axis=1)
    result = np.empty((_tiles(command), rows), np.int64)
    position = 0
    for tile in result:
        for row in range(rows):
            end = position + masks
            size = masks + int(ones[position : end - 1].sum() + last[end - 1 : end].sum())
            tile[row] = size
            position += size
        position += -position % columns
        if position > len(stream):
            need = command["w_base"] + position // columns - 1
            raise ProgramError(f"weight word must be below {len(words)}, not {need}")
    return result


def _tiles(command: Command) -> int:
    """Tiles that a command stores."""
    passes = command["ky_count"] * command["kx_count"] * command["kc_count"]
    return 1 if command["w_hold"] else command["n_count"] * passes


class Loader:
    """Tiles one after the other, each as soon as it may enter.

    Parameters
    ----------
    spec: rows, columns.

    Attributes
    ----------
    loaded: last row of the last tile in use, -1 before the first.
    ready: first cycle in which a vector may switch to the tile behind it.
    """

    def __init__(self, spec: AcceleratorSpec) -> None:
        self._rows, self._columns = spec.array.rows, spec.array.columns
        self._places = 0  # words of places of a tile
        self.loaded, self.ready = -1, 0
        self._switch = 0  # last switch of weight tiles
        self._left = self._groups = 0
        self._ends: Iterator[int] | None = None

    def begin(self, command: Command, active: int, sizes: Int64Array | None) -> None:
        """Begin with a command.

        Parameters
        ----------
        active: first cycle in which its words can be read.
        sizes: of its rows, if they are bitmaps, see `row_bytes`.
        """
        sparse = command["w_format"] == WeightFormat.TWO_OF_FOUR
        self._places = -(-self._rows // PLACE_ROWS) if sparse else 0
        stored = _tiles(command)
        self._left = stored if command["w_hold"] else stored * command["t_count"]
        coded = command["w_format"] == WeightFormat.CODEBOOK
        self._book = BOOK_WORDS if coded else 0
        one = command["book_hold"] or command["w_hold"]
        self._group = self._left if one else stored // command["n_count"]
        self._number = 0
        self._bitmaps = None if sizes is None else _Bitmaps(sizes, self._columns, active)
        self._free = active
        self._next()

    def steady(self, passes: int, pixels: int, first: int) -> tuple[Int64Array, Int64Array]:
        """Return when tiles of one channel tile are switched to, and when they are loaded.

        They are not bitmaps, and nothing but their weights holds them up. Nothing changes yet.

        Parameters
        ----------
        passes: tiles.
        pixels: cycles from switch to switch at least.
        first: the first switch.
        """
        switches, ready = np.empty(passes, np.int64), np.empty(passes, np.int64)
        switches[0], ready[0] = first, self.ready
        if not self._places:
            switches = first + max(pixels, self._rows) * np.arange(passes)
            ready[1:] = switches[:-1] + self._rows
            return switches, ready
        for k in range(1, passes):
            ready[k] = max(ready[k - 1] + self._places, switches[k - 1]) + self._rows
            switches[k] = max(ready[k], switches[k - 1] + pixels)
        return switches, ready

    def follow(self, switches: Int64Array, ready: Int64Array) -> None:
        """Switch to tiles as `steady` found."""
        self.switched(int(switches[0]))
        if len(switches) > 1:
            self._number += len(switches) - 2
            self._left -= len(switches) - 2
            self._switch, self.ready = int(switches[-2]), int(ready[-1])
            self.switched(int(switches[-1]))

    def switched(self, cycle: int) -> None:
        """A vector switches to the loaded tile; the loader goes on with the next."""
        self.loaded = self.ready - 1
        self._switch, self._free = cycle, self.ready
        self._number += 1
        self._left -= 1
        if self._left:
            self._next()

    def _next(self) -> None:
        """The next tile: behind its book or places, and not before the one before is in use."""
        if self._bitmaps:
            self.ready = self._bitmaps.tile(self._switch) + 1
            return
        if self._number % self._group == 0:
            self._free += self._book
        self.ready = max(self._free + self._places, self._switch) + self._rows


class _Bitmaps:
    """The buffer of bitmaps, cycle by cycle.

    Parameters
    ----------
    sizes: bytes of every row, [tile, row].
    columns: bytes of a word.
    active: first cycle in which a word may be read.
    """

    def __init__(self, sizes: Int64Array, columns: int, active: int) -> None:
        self._sizes, self._columns, self._now = sizes.tolist(), columns, active
        self._number = self._words = self._offset = 0
        self._arriving = False

    def tile(self, switch: int) -> int:
        """Cycle of the last row of the next tile, none of whose rows comes before ``switch``."""
        columns, sizes = self._columns, self._sizes[self._number]
        words, arriving, offset, now = self._words, self._arriving, self._offset, self._now
        row = 0
        while row < len(sizes):
            end = offset + sizes[row]
            used = 0
            if words * columns >= end and (row or now >= switch):
                row += 1
                used = end // columns if row < len(sizes) else -(-end // columns)
                offset = end - used * columns if row < len(sizes) else 0
            elif words == _BUFFER and now < switch:
                now = switch
                continue
            read = words + arriving < _BUFFER
            words, arriving = words + arriving - used, read
            now += 1
        self._number += 1
        if self._number == len(self._sizes):  # the first tile follows again
            self._number, words, arriving = 0, 0, False
        self._words, self._arriving, self._offset, self._now = words, arriving, offset, now
        return now - 1
