"""Weight tiles as the array sees them: what a MATMUL's weight words hold, less the zero point."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.golden.rounding import wrap
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Command
from systolith.spec.precision import (
    BOOK_WORDS,
    NIBBLE_BITS,
    PLACE_ROWS,
    Precision,
    WeightFormat,
)
from systolith.spec.program import ProgramError

__all__ = ["weight_tiles"]

Codes = NDArray[np.uint8]
"""Weight words [words, columns], or codes of tiles [tiles, rows, columns]."""


def weight_tiles(spec: AcceleratorSpec, words: Codes, command: Command) -> NDArray[np.float64]:
    """Return the tiles that a MATMUL reads, the codes less the zero point: [count, rows, columns].

    Of precisions with 4-bit weights [count, rows, columns, 2], the low nibble of a byte first; with
    two of four weights [count, 2 * rows, columns], the others 0. The values are wrapped to the
    array's operand: float64 holds them exactly.

    Parameters
    ----------
    spec: the accelerator.
    words: the weight memory, [words, columns].
    command: a MATMUL; ``count`` is 1 if it holds its weights, else tiles of all (n, ky, kx, kc).

    Raises
    ------
    ProgramError: a format that the accelerator cannot decode, or weight words that do not exist.
    """
    form = command["w_format"]
    if form not in spec.array.weight_formats:
        names = ", ".join(f.name for f in sorted(spec.array.weight_formats))
        raise ProgramError(f"w_format must be one of {names} on this accelerator, not {form}")
    loops = () if command["w_hold"] else ("n", "ky", "kx", "kc")
    count = math.prod(command[f"{name}_count"] for name in loops)
    stored = _Reader(words, command["w_base"])
    if command["precision"] != Precision.W8A8:
        if form != WeightFormat.DENSE:
            raise ProgramError("w_format must be DENSE for weights of 4 bits")
        pairs = _nibbles(_dense(stored, spec, command, count), bool(command["w_signed"]))
        return wrap(pairs - command["w_zero"], NIBBLE_BITS).astype(np.float64)
    if form == WeightFormat.BITMAP:
        return _bitmap(stored, spec, command, count)
    if form == WeightFormat.TWO_OF_FOUR:
        return _two_of_four(stored, spec, command, count)
    codes = _DECODERS[WeightFormat(form)](stored, spec, command, count)
    return _operands(codes, command).astype(np.float64)


class _Reader:
    """The weight memory, read word by word.

    Parameters
    ----------
    words: [words, columns].
    position: where to begin.
    """

    def __init__(self, words: Codes, position: int) -> None:
        self.words, self.position = words, position

    def take(self, count: int) -> Codes:
        """Return the next ``count`` words.

        Raises
        ------
        ProgramError: if there are no such words.
        """
        end = self.position + count
        if end > len(self.words):
            raise ProgramError(f"weight word must be below {len(self.words)}, not {end - 1}")
        part = self.words[self.position : end]
        self.position = end
        return np.ascontiguousarray(part, np.uint8)


def _operands(codes: Codes, command: Command) -> NDArray[np.int64]:
    """Codes less the zero point, wrapped to the array's 9 bits."""
    values = (codes.view(np.int8) if command["w_signed"] else codes).astype(np.int64)
    return wrap(values - command["w_zero"], 9)


def _nibbles(codes: Codes, signed: bool) -> NDArray[np.int64]:
    """Both nibbles of every byte, the low one first, as int4 or uint4; one more axis."""
    pairs = np.stack([codes & 15, codes >> 4], axis=-1).astype(np.int64)
    return wrap(pairs, 4) if signed else pairs


def _halves(
    stored: _Reader, spec: AcceleratorSpec, command: Command, count: int
) -> NDArray[np.int64]:
    """Nibbles of tiles that hold two rows in a word: [count, rows, columns], 0 to 15."""
    rows, columns = spec.array.rows, spec.array.columns
    words = stored.take(count * -(-rows // 2)).reshape(count, -1, columns)
    pairs = _nibbles(words, signed=False)  # [count, words, columns, even or odd row]
    return pairs.swapaxes(2, 3).reshape(count, -1, columns)[:, :rows]


def _dense(stored: _Reader, spec: AcceleratorSpec, command: Command, count: int) -> Codes:
    rows, columns = spec.array.rows, spec.array.columns
    return stored.take(count * rows).reshape(count, rows, columns)


def _int4(stored: _Reader, spec: AcceleratorSpec, command: Command, count: int) -> Codes:
    nibbles = _halves(stored, spec, command, count)
    return (wrap(nibbles, 4) if command["w_signed"] else nibbles).astype(np.uint8)


_LOG2 = np.array([0, 1, 2, 4, 8, 16, 32, 64, -128, -1, -2, -4, -8, -16, -32, -64], np.int8)
"""Codes of the nibbles of `WeightFormat.LOG2`."""


def _log2(stored: _Reader, spec: AcceleratorSpec, command: Command, count: int) -> Codes:
    return _LOG2.view(np.uint8)[_halves(stored, spec, command, count)]


def _codebook(stored: _Reader, spec: AcceleratorSpec, command: Command, count: int) -> Codes:
    """Tiles of a channel tile behind their book, or all tiles behind one."""
    one = bool(command["book_hold"] or command["w_hold"])
    groups = 1 if one else command["n_count"]
    column = np.arange(spec.array.columns)
    tiles = []
    for _ in range(groups):
        book = stored.take(BOOK_WORDS)
        tiles.append(book[_halves(stored, spec, command, count // groups), column])
    return np.concatenate(tiles)


def _bitmap(
    stored: _Reader, spec: AcceleratorSpec, command: Command, count: int
) -> NDArray[np.float64]:
    """Operands of tiles whose words hold, from the last row to the first, bits and codes."""
    rows, columns = spec.array.rows, spec.array.columns
    result = np.zeros((count, rows, columns), np.float64)
    for tile in result:
        source = _bytes(stored)
        for row in tile[::-1]:
            mask = bytes(next(source) for _ in range(-(-columns // 8)))
            bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
            places = np.flatnonzero(bits[:columns])
            codes = np.array([next(source) for _ in places], np.uint8)
            row[places] = _operands(codes, command)
    return result


def _two_of_four(
    stored: _Reader, spec: AcceleratorSpec, command: Command, count: int
) -> NDArray[np.float64]:
    """Operands of tiles, a row for every byte of a vector: [count, 2 * rows, columns].

    Two weights of the same place add.
    """
    rows, columns = spec.array.rows, spec.array.columns
    places = -(-rows // PLACE_ROWS)
    words = stored.take(count * (places + rows)).reshape(count, places + rows, columns)
    shifts = 2 * np.arange(PLACE_ROWS)[:, None]
    chosen = words[:, :places, None] >> shifts & 3  # [count, words, rows of each, columns]
    chosen = chosen.reshape(count, -1, columns)[:, :rows].astype(np.int64)
    fours = np.arange(rows)[:, None] // 2 * 4
    result = np.zeros((count, 2 * rows, columns), np.float64)
    tile, _, column = np.ogrid[:count, :rows, :columns]
    np.add.at(result, (tile, fours + chosen, column), _operands(words[:, places:], command))
    return result


def _bytes(stored: _Reader) -> Iterator[int]:
    """Bytes of words, as long as they are asked for; the rest of the last word is skipped."""
    while True:
        yield from stored.take(1).reshape(-1).tolist()


_DECODERS: Mapping[WeightFormat, Callable[[_Reader, AcceleratorSpec, Command, int], Codes]] = {
    WeightFormat.DENSE: _dense,
    WeightFormat.INT4: _int4,
    WeightFormat.LOG2: _log2,
    WeightFormat.CODEBOOK: _codebook,
}
"""Decoders of the formats that hold a code of every weight."""
