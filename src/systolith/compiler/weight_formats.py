"""Weight tiles in the formats of the weight memory: an encoder for each, and back."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.two_of_four import dense_tiles, encoded_words, stored_rows
from systolith.spec.precision import BOOK_WORDS, Precision, WeightFormat

__all__ = ["ENCODERS", "EncodedWeights", "decoded_words"]

Codes = NDArray[np.uint8]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class EncodedWeights:
    """What a MATMUL reads.

    Parameters
    ----------
    words: [words, columns].
    fields: of the command that differ from those of dense weights.
    """

    words: Codes
    fields: dict[str, int] = field(default_factory=dict)


def _values(codes: Codes, values: Mapping[str, int]) -> Int64Array:
    """What codes stand for."""
    numbers = codes.view(np.int8) if values["w_signed"] else codes
    return numbers.astype(np.int64) - values["w_zero"]


def _halves(nibbles: Int64Array) -> Codes:
    """Two rows a word of tiles [..., rows, columns]."""
    *lead, rows, columns = nibbles.shape
    even = np.zeros((*lead, rows + rows % 2, columns), np.uint8)
    even[..., :rows, :] = nibbles & 15
    return (even[..., ::2, :] | even[..., 1::2, :] << 4).reshape(-1, columns)


def _int4(tiles: Codes, values: Mapping[str, int]) -> EncodedWeights | None:
    """Any 16 neighbouring integers: the zero point moves them."""
    numbers = _values(tiles, values)
    low, high = int(numbers.min()), int(numbers.max())
    zero = 0 if low >= -8 and high <= 7 else -8 - low
    if high - low > 15 or not -256 <= zero <= 255:
        return None
    fields = {"w_format": int(WeightFormat.INT4), "w_signed": 1, "w_zero": zero}
    return EncodedWeights(words=_halves(numbers + zero), fields=fields)


_POWERS = {0: 0, -128: 8} | {s * 2**e: e + 1 + 8 * (s < 0) for e in range(7) for s in (1, -1)}


def _log2(tiles: Codes, values: Mapping[str, int]) -> EncodedWeights | None:
    numbers = _values(tiles, values)
    if not np.isin(numbers, list(_POWERS)).all():
        return None
    nibbles = np.zeros(numbers.shape, np.int64)
    for number, nibble in _POWERS.items():
        nibbles[numbers == number] = nibble
    fields = {"w_format": int(WeightFormat.LOG2), "w_signed": 1, "w_zero": 0}
    return EncodedWeights(words=_halves(nibbles), fields=fields)


def _codebook(tiles: Codes, values: Mapping[str, int]) -> EncodedWeights | None:
    """A book for all tiles, if every column has so few codes, else one for each channel tile."""
    fields = {"w_format": int(WeightFormat.CODEBOOK), "book_hold": 1}
    columns = tiles.shape[-1]
    whole = _with_book(tiles.reshape(-1, *tiles.shape[-2:]))
    if whole is not None:
        return EncodedWeights(words=whole, fields=fields)
    parts = [_with_book(group) for group in tiles]
    if any(part is None for part in parts):
        return None
    words = np.concatenate([part for part in parts if part is not None])
    return EncodedWeights(words=words.reshape(-1, columns), fields=fields | {"book_hold": 0})


def _with_book(tiles: Codes) -> Codes | None:
    """A book and the tiles [tiles, rows, columns] behind it; None if 16 words are too few."""
    columns = tiles.shape[-1]
    book = np.zeros((BOOK_WORDS, columns), np.uint8)
    nibbles = np.empty(tiles.shape, np.int64)
    for column in range(columns):
        found, places = np.unique(tiles[..., column], return_inverse=True)
        if len(found) > BOOK_WORDS:
            return None
        book[: len(found), column] = found
        nibbles[..., column] = places.reshape(tiles.shape[:-1])
    return np.concatenate([book, _halves(nibbles)])


def _bitmap(tiles: Codes, values: Mapping[str, int]) -> EncodedWeights:
    columns = tiles.shape[-1]
    words = []
    for tile in tiles.reshape(-1, *tiles.shape[-2:]):
        used = _values(tile, values) != 0
        masks = np.packbits(used, axis=1, bitorder="little")
        rows = (part for r in range(len(tile))[::-1] for part in (masks[r], tile[r, used[r]]))
        stream = np.concatenate(list(rows))
        words.append(np.pad(stream, (0, -len(stream) % columns)))
    return EncodedWeights(
        words=np.concatenate(words).reshape(-1, columns),
        fields={"w_format": int(WeightFormat.BITMAP)},
    )


def _two_of_four(tiles: Codes, values: Mapping[str, int]) -> EncodedWeights | None:
    """Tiles of twice the array's rows, see `two_of_four`."""
    used = _values(tiles, values) != 0
    shape = (-1, *tiles.shape[-2:])
    words = encoded_words(tiles.reshape(shape), used.reshape(shape))
    if words is None:
        return None
    return EncodedWeights(words=words, fields={"w_format": int(WeightFormat.TWO_OF_FOUR)})


def _dense(tiles: Codes, values: Mapping[str, int]) -> EncodedWeights:
    return EncodedWeights(words=tiles.reshape(-1, tiles.shape[-1]))


Encoder = Callable[[Codes, Mapping[str, int]], EncodedWeights | None]
ENCODERS: Mapping[WeightFormat, Encoder] = {
    WeightFormat.DENSE: _dense,
    WeightFormat.INT4: _int4,
    WeightFormat.LOG2: _log2,
    WeightFormat.CODEBOOK: _codebook,
    WeightFormat.BITMAP: _bitmap,
    WeightFormat.TWO_OF_FOUR: _two_of_four,
}
"""Encode tiles [n, pass, rows, columns] of a MATMUL with the given fields; None if the format does
not hold them exactly. Tiles of TWO_OF_FOUR have twice the array's rows."""


_PACKED = frozenset(WeightFormat) - {WeightFormat.DENSE}


def decoded_words(memory: Codes, values: Mapping[str, int], rows: int) -> tuple[Codes, int]:
    """Return a MATMUL's weights as dense words, and how many words of the memory it reads.

    Of TWO_OF_FOUR these are two for every row of the array, one for each byte of a vector. A format
    that does not exist is taken to be dense.

    Parameters
    ----------
    memory: [words, columns]; words behind its end are taken to be 0.
    values: fields of the command.
    rows: of the array.
    """
    groups = 1 if values["w_hold"] else values["n_count"]
    loops = () if values["w_hold"] else ("ky", "kx", "kc")
    passes = int(np.prod([values[f"{name}_count"] for name in loops], dtype=np.int64))
    words = memory[values["w_base"] :]
    form = values["w_format"]
    if values["precision"] != Precision.W8A8 or form not in _PACKED:
        return words[: groups * passes * rows].copy(), groups * passes * rows
    if form == WeightFormat.TWO_OF_FOUR:
        count = groups * passes
        even = rows - rows % 2  # of a damaged command's array
        dense = dense_tiles(words, count, even, values["w_zero"])
        return dense, count * stored_rows(rows)
    if form == WeightFormat.BITMAP:
        return _from_bitmap(words, values, (groups * passes, rows))
    if form != WeightFormat.CODEBOOK:
        count = groups * passes * -(-rows // 2)
        nibbles = _nibbles(words, count).reshape(groups * passes, -1, words.shape[1])[:, :rows]
        return _CODES[WeightFormat(form), values["w_signed"]][nibbles].reshape(
            -1, words.shape[1]
        ), count
    if values["book_hold"] or values["w_hold"]:
        groups, passes = 1, groups * passes
    return _from_books(words, (groups, passes, rows))


_SIGNED = np.array([*range(8), *range(-8, 0)], np.int8).view(np.uint8)
_BY_NIBBLE = {nibble: number & 255 for number, nibble in _POWERS.items()}
_LOG = np.array([_BY_NIBBLE[nibble] for nibble in range(16)], np.uint8)
_CODES = {
    (WeightFormat.INT4, 0): np.arange(16, dtype=np.uint8),
    (WeightFormat.INT4, 1): _SIGNED,
    (WeightFormat.LOG2, 0): _LOG,
    (WeightFormat.LOG2, 1): _LOG,
}
"""Code of every nibble, by format and `w_signed`."""


def _nibbles(words: Codes, count: int) -> Codes:
    """Rows of nibbles of ``count`` words, [2 * count, columns]."""
    part = np.zeros((count, words.shape[1]), np.uint8)
    part[: len(words[:count])] = words[:count]
    return np.stack([part & 15, part >> 4], axis=1).reshape(2 * count, -1)


def _from_books(words: Codes, shape: tuple[int, int, int]) -> tuple[Codes, int]:
    """Groups, passes of each, rows."""
    groups, passes, rows = shape
    size = BOOK_WORDS + passes * -(-rows // 2)
    columns = np.arange(words.shape[1])
    tiles = []
    for group in range(groups):
        part = np.zeros((size, len(columns)), np.uint8)
        there = words[group * size : (group + 1) * size]
        part[: len(there)] = there
        nibbles = _nibbles(part[BOOK_WORDS:], size - BOOK_WORDS)
        nibbles = nibbles.reshape(passes, -1, len(columns))[:, :rows]
        tiles.append(part[nibbles, columns].reshape(-1, len(columns)))
    return np.concatenate(tiles), groups * size


def _from_bitmap(
    words: Codes, values: Mapping[str, int], shape: tuple[int, int]
) -> tuple[Codes, int]:
    """Tiles, rows of each."""
    columns = words.shape[1]
    stream = np.concatenate([words.reshape(-1), np.zeros(2 * columns, np.uint8)])
    result = np.full((*shape, columns), values["w_zero"] & 255, np.uint8)
    position = 0
    for tile in result:
        for row, (start, mask) in zip(
            tile[::-1], _masks(stream, position, shape[1], columns), strict=True
        ):
            places = np.flatnonzero(mask)
            codes = stream[start : start + len(places)]
            row[places[: len(codes)]] = codes
            position = start + len(places)
        position += -position % columns
    return result.reshape(-1, columns), position // columns


def _masks(stream: Codes, position: int, rows: int, columns: int) -> Iterator[tuple[int, Codes]]:
    """Where the codes of every row begin, and which columns they are for."""
    size = -(-columns // 8)
    for _ in range(rows):
        mask = np.zeros(size, np.uint8)
        there = stream[position : position + size]
        mask[: len(there)] = there
        bits = np.unpackbits(mask, bitorder="little")[:columns]
        yield position + size, bits
        position += size + int(bits.sum())
