"""Weights of random MATMULs in any format: every word decodes to something, so any will do."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import BOOK_WORDS, PLACE_ROWS, WeightFormat

__all__ = ["draw_format", "most_words", "tile_words", "weight_image"]


def draw_format(
    rng: np.random.Generator,
    spec: AcceleratorSpec,
    fields: Mapping[str, int],
    *,
    sparse: bool = False,
) -> dict[str, int]:
    """Draw the weight fields of a MATMUL: a format that its accelerator has, and an address.

    Parameters
    ----------
    fields: its other fields.
    sparse: whether its vectors are those of TWO_OF_FOUR, so that no other format will do.
    """
    built = sorted(spec.array.weight_formats - {WeightFormat.TWO_OF_FOUR})
    form = WeightFormat.DENSE
    if sparse:
        form = WeightFormat.TWO_OF_FOUR
    elif not fields.get("precision"):
        form = built[int(rng.integers(len(built)))]
    words = most_words(spec, fields)
    return {
        "w_format": int(form),
        "book_hold": int(rng.integers(2)) if form is WeightFormat.CODEBOOK else 0,
        "w_base": int(rng.integers(max(1, spec.weight_words - words + 1))),
    }


def most_words(spec: AcceleratorSpec, fields: Mapping[str, int]) -> int:
    """Weight words that a MATMUL reads at most.

    Parameters
    ----------
    fields: of the command; without `w_format` in whatever format the accelerator has.
    """
    forms = (
        {WeightFormat(fields["w_format"])} if "w_format" in fields else spec.array.weight_formats
    )
    groups = 1 if fields["w_hold"] else fields["n_count"]
    passes = 1 if fields["w_hold"] else math.prod(fields[f"{k}_count"] for k in ("ky", "kx", "kc"))
    books = groups * BOOK_WORDS if WeightFormat.CODEBOOK in forms else 0
    return groups * passes * max(tile_words(spec, f) for f in forms) + books


def tile_words(spec: AcceleratorSpec, form: WeightFormat) -> int:
    """Weight words of a tile, at most."""
    rows, columns = spec.array.rows, spec.array.columns
    if form is WeightFormat.BITMAP:
        return -(-rows * (columns + -(-columns // 8)) // columns)
    if form is WeightFormat.TWO_OF_FOUR:
        return rows + -(-rows // PLACE_ROWS)
    return rows if form is WeightFormat.DENSE else -(-rows // 2)


def weight_image(rng: np.random.Generator, spec: AcceleratorSpec) -> NDArray[np.uint8]:
    """A weight memory of words with few, some or many bits, so that bitmaps are of any density."""
    shape = (spec.weight_words, spec.array.columns)
    draws = [rng.integers(0, 256, shape).astype(np.uint8) for _ in range(3)]
    if WeightFormat.BITMAP not in spec.array.weight_formats:
        return draws[0]
    some, few, many = draws[0], draws[0] & draws[1] & draws[2], draws[0] | draws[1] | draws[2]
    kinds = np.stack([some, few, many, np.zeros_like(some), np.full_like(some, 255)])
    run = 1 + int(rng.integers(2 * spec.array.rows))  # words of a kind
    kind = np.repeat(rng.integers(0, len(kinds), -(-len(some) // run)), run)[: len(some)]
    return kinds[kind, np.arange(len(some))]
