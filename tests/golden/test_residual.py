"""golden.residual against exact rational arithmetic."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest

from systolith.golden.residual import residual_add, residual_product
from systolith.spec.requant import ResidualRounding

GOOD = {
    "multiplier_y": 3,
    "multiplier_r": -5,
    "offset": 7,
    "shift": 2,
    "rounding": ResidualRounding.FLOOR,
    "zero": 1,
    "low": -128,
    "high": 127,
}


def exact(y: int, r: int, p: dict) -> int:
    if "zero_r" in p:
        y *= r - p["zero_r"]
        r = int(y < 0)
    total = y * p["multiplier_y"] + r * p["multiplier_r"] + p["offset"]
    x = Fraction((total + (1 << 47)) % (1 << 48) - (1 << 47), 1 << p["shift"])
    if p["rounding"] is ResidualRounding.FLOOR:
        z = math.floor(x)
    elif p["rounding"] is ResidualRounding.HALF_EVEN:
        z = round(x)
    elif p["rounding"] is ResidualRounding.NEAR_EVEN:
        z = round(Fraction(math.floor(x * 2**16), 2**16))
    else:
        z = math.floor(abs(x) + Fraction(1, 2)) * (1 if x >= 0 else -1)
    return min(max(z + p["zero"], p["low"]), p["high"])


def draw(rng: np.random.Generator, seed: int, rounding: ResidualRounding) -> dict:
    """Parameters whose sums mostly lie near the codes; every fourth draw wraps."""
    shift = int(rng.integers(0, 48))
    small = max(0, min(31, shift))
    scale = 1 << (31 if seed % 4 == 3 else max(1, small))
    return {
        "multiplier_y": int(rng.integers(-scale, scale)),
        "multiplier_r": int(rng.integers(-scale, scale)),
        "offset": int(rng.integers(-(1 << 47), 1 << 47)) >> int(rng.integers(0, 30)),
        "shift": shift,
        "rounding": rounding,
        "zero": int(rng.integers(-256, 256)),
        "low": -128,
        "high": 127,
    }


@pytest.mark.parametrize("rounding", ResidualRounding)
@pytest.mark.parametrize("seed", range(12))
def test_against_exact(rounding, seed):
    rng = np.random.default_rng(seed)
    p = draw(rng, seed, rounding)
    y, r = rng.integers(-128, 256, 400), rng.integers(-128, 256, 400)
    got = residual_add(y, r, **p)
    assert got.dtype == np.int64
    assert got.tolist() == [exact(int(a), int(b), p) for a, b in zip(y, r, strict=True)], p


@pytest.mark.parametrize("rounding", ResidualRounding)
@pytest.mark.parametrize("seed", range(12))
def test_product_against_exact(rounding, seed):
    rng = np.random.default_rng(seed)
    p = draw(rng, seed, rounding)
    p |= {"multiplier_y": p["multiplier_y"] >> 8, "zero_r": int(rng.integers(-256, 256))}
    y, r = rng.integers(-256, 256, 400), rng.integers(-128, 256, 400)
    y[:4], r[:2] = (-256, 255, -256, 0), (255, -128)
    got = residual_product(y, r, **p)
    assert got.dtype == np.int64
    assert got.tolist() == [exact(int(a), int(b), p) for a, b in zip(y, r, strict=True)], p


@pytest.mark.parametrize("rounding", ResidualRounding)
def test_ties_over_all_pairs(rounding):
    y, r = np.arange(-128, 128)[:, None], np.arange(0, 256)[None, :]
    p = GOOD | {"rounding": rounding, "shift": 3, "low": -256, "high": 255}
    got = residual_add(y, r, **p)
    assert got.shape == (256, 256)
    sample = [(0, 0), (255, 255), (1, 7), (128, 0), (130, 2), (77, 200)]
    assert [int(got[i]) for i in sample] == [exact(i[0] - 128, i[1], p) for i in sample]
    ties = (y * 3 - r * 5 + 7) % 8 == 4
    assert ties.sum() > 8000
    halves = np.argwhere(ties)[::97]
    assert [int(got[a, b]) for a, b in halves] == [
        exact(int(a) - 128, int(b), p) for a, b in halves
    ]


def test_sum_wraps_at_48_bits():
    p = GOOD | {"multiplier_y": 0, "multiplier_r": 1, "offset": (1 << 47) - 1, "shift": 47}
    assert residual_add(0, 0, **p) == 1
    assert residual_add(0, 1, **p) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multiplier_y": 1 << 31}, "multiplier_y must be an integer of 32 bits, not 2147483648"),
        ({"offset": 1 << 47}, "offset must be an integer of 48 bits, not 140737488355328"),
        ({"shift": 48}, "shift must be in [0, 47], not 48"),
        ({"zero": 256}, "zero must be an integer of 9 bits, not 256"),
        ({"low": 5, "high": 4}, "low must be at most high = 4, not 5"),
    ],
)
def test_domain(change, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        residual_add(0, 0, **(GOOD | change))


def test_domain_of_the_product():
    message = "zero_r must be an integer of 9 bits, not 256"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        residual_product(0, 0, zero_r=256, **GOOD)
