"""Weights of random MATMULs in any format: every word decodes to something, so any will do."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import BOOK_WORDS, WeightFormat

__all__ = ["draw_format", "most_words", "weight_image"]


def draw_format(
    rng: np.random.Generator, spec: AcceleratorSpec, fields: Mapping[str, int]
) -> dict[str, int]:
    """Draw the weight fields of a MATMUL: a format that its accelerator has, and an address.

    Parameters
    ----------
    fields: its other fields.
    """
    built = sorted(spec.array.weight_formats)
    form = WeightFormat.DENSE
    if not fields.get("precision"):
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
    rows, columns = spec.array.rows, spec.array.columns
    forms = (
        {WeightFormat(fields["w_format"])} if "w_format" in fields else spec.array.weight_formats
    )
    groups = 1 if fields["w_hold"] else fields["n_count"]
    passes = 1 if fields["w_hold"] else math.prod(fields[f"{k}_count"] for k in ("ky", "kx", "kc"))
    half = -(-rows // 2)
    tile = {
        WeightFormat.DENSE: rows,
        WeightFormat.INT4: half,
        WeightFormat.LOG2: half,
        WeightFormat.CODEBOOK: half,
        WeightFormat.BITMAP: -(-rows * (columns + -(-columns // 8)) // columns),
    }
    books = groups * BOOK_WORDS if WeightFormat.CODEBOOK in forms else 0
    return groups * passes * max(tile[f] for f in forms) + books


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
