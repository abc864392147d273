"""golden's float32 in integers against the processor's, through numpy."""

from collections.abc import Callable

import numpy as np
import pytest

from systolith.golden import float32
from systolith.golden.rounding import Int64Array, shift_half_away, shift_half_even

COUNT = 300_000


def _numbers(rng: np.random.Generator, count: int) -> Int64Array:
    """Bits of finite numbers: any, near to each other, few bits set, subnormal, the edges."""
    anything = rng.integers(0, float32.INFINITY, count)
    near = (rng.integers(120, 135, count) << 23) | rng.integers(0, 1 << 23, count)
    short = (rng.integers(0, 255, count) << 23) | (rng.integers(0, 16, count) << 19)
    tiny = rng.integers(0, 1 << 24, count)
    edges = rng.choice([0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 127 << 23, 0x3F7FFFFF], count)
    kind = rng.integers(0, 5, count)
    return np.choose(kind, [anything, near, short, tiny, edges])


def _floats(bits: Int64Array) -> np.ndarray:
    return bits.astype(np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (float32.add, np.add),
        (float32.multiply, np.multiply),
        (float32.divide, np.divide),
    ],
)
def test_operations_equal_numpy(ours: Callable, theirs: np.ufunc) -> None:
    rng = np.random.default_rng(20)
    a, b = _numbers(rng, COUNT), _numbers(rng, COUNT)
    b = np.where((b == 0) & (ours is float32.divide), 1, b)
    with np.errstate(all="ignore"):
        expected = theirs(_floats(a), _floats(b)).view(np.uint32)
    assert np.array_equal(ours(a, b), expected)


def test_addition_of_ties() -> None:
    """An odd number of last places and half of one more, with and without a little beside it."""
    rng = np.random.default_rng(21)
    a = (rng.integers(60, 250, COUNT) << 23) | rng.integers(0, 1 << 23, COUNT)
    half = (a >> 23) - 24 << 23
    b = half + rng.integers(-1, 2, COUNT)
    assert np.array_equal(float32.add(a, b), (_floats(a) + _floats(b)).view(np.uint32))
    assert np.array_equal(float32.add(b, a), float32.add(a, b))


def test_to_integer() -> None:
    rng = np.random.default_rng(22)
    values = np.concatenate(
        [
            rng.integers(0, 2000, COUNT) / np.float32(4),
            _floats(_numbers(rng, COUNT)).clip(0, 2.0**20),
        ]
    ).astype(np.float32)
    bits = values.view(np.uint32).astype(np.int64)
    exact = values.astype(np.float64)
    assert np.array_equal(float32.to_integer(bits, shift_half_even), np.rint(exact))
    assert np.array_equal(float32.to_integer(bits, shift_half_away), np.floor(exact + 0.5))
    large = float32.to_integer(np.array([0x7F7FFFFF, float32.INFINITY]), shift_half_even)
    assert (large >= 1 << 30).all()
