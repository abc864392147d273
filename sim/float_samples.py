"""float32 numbers and scales for tests of quantization: ties, their neighbours, edges, any bits."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["numbers", "scales"]

Int = NDArray[np.int64]
SPECIAL = [
    0, 1, 0x7FFFFF, 0x800000, 0x3F000000, 0x3EFFFFFF, 0x3F000001, 0x7F7FFFFF, 0x7F800000,
    0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x4F000000, 0x4EFFFFFF, 0x4F000001,
]  # fmt: skip
EDGES = [0x00800000, 0x00800001, 0x7F7FFFFF, 0x7F000000, 0x7E800001, 0x3F800000, 0x3F7FFFFF]


def scales(rng: np.random.Generator, count: int) -> Int:
    """Bits of positive normal numbers: near 1, powers of two, any, the least and greatest."""
    kinds = [
        (rng.integers(100, 150, count) << 23) | rng.integers(0, 1 << 23, count),
        rng.integers(1, 255, count) << 23,
        rng.integers(1 << 23, 0xFF << 23, count),
        rng.choice(EDGES, count),
    ]
    return np.choose(rng.integers(0, len(kinds), count), kinds)


def numbers(rng: np.random.Generator, scale: Int) -> Int:
    """Bits of a number for each scale."""
    count = scale.size
    real = scale.astype(np.uint32).view(np.float32).astype(np.float64)
    middle = rng.integers(0, 300, count) + rng.choice([0.5, 0.0], count, p=[0.8, 0.2])
    ends = np.ldexp(1.0, rng.choice([9, 10, 11, 30, 31, 32], count))
    with np.errstate(over="ignore", under="ignore"):
        ties = (real * middle).astype(np.float32).view(np.uint32).astype(np.int64)
        large = (real * ends).astype(np.float32).view(np.uint32).astype(np.int64)
    beside = rng.integers(-3, 4, count)
    kinds = [
        np.clip(ties + beside, 0, 0x7FFFFFFF),
        np.clip(ties + beside, 0, 0x7FFFFFFF),
        np.clip(large + beside, 0, 0x7FFFFFFF),
        rng.integers(0, 1 << 31, count),
        rng.integers(0, 1 << 24, count),
        rng.choice(SPECIAL, count),
    ]
    sign = rng.integers(0, 2, count) << 31
    return np.choose(rng.integers(0, len(kinds), count), kinds) | sign
