"""Adversarial samples of the requantizer: ties, their neighbours, rails and carries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from systolith.golden.requant import requantize
from systolith.spec.requant import FULL_WIDTHS, PARAMETER_FIELDS, RequantMode, RequantWidths

__all__ = ["Chunk", "Columns", "Ints", "chunks", "wrap"]

Ints = NDArray[np.int64]
Columns = dict[str, Ints]
Sampler = Callable[[np.random.Generator, int, RequantWidths], tuple[Ints, Columns]]

I32 = (-(1 << 31), (1 << 31) - 1)
CHUNK = 250_000
CLAMPS = (
    (0, -128, 127),
    (-128, -128, 127),
    (127, -128, 127),
    (0, 0, 255),
    (255, 0, 255),
    (-256, -256, 255),
    (255, -256, 255),
    (-7, -100, 60),
)
"""Zero point, low and high: the chunks take turns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Samples of one clamp, and golden's codes for them."""

    mode: RequantMode
    widths: RequantWidths
    clamp: tuple[int, int, int]
    columns: Columns
    codes: Ints


def wrap(value: Ints, bits: int) -> Ints:
    """Keep the low bits, as two's complement."""
    return (value << np.int64(64 - bits)) >> np.int64(64 - bits)


def mix(rng: np.random.Generator, weights: Sequence[float], rows: Sequence[Ints]) -> Ints:
    """Take every element from one of the rows at random."""
    choice = rng.choice(len(rows), len(rows[0]), p=np.array(weights) / sum(weights))
    return np.choose(choice, rows)


def any_size(rng: np.random.Generator, n: int) -> Ints:
    """int32 with every number of significant bits equally likely."""
    return rng.integers(*I32, n, endpoint=True) >> rng.integers(0, 32, n)


def near(rng: np.random.Generator, value: NDArray[np.longdouble]) -> Ints:
    """int32 within 2 of ``value``, or its rail."""
    limited = np.clip(np.floor(value), *I32).astype(np.int64)
    return np.clip(limited + rng.integers(-1, 3, len(value)), *I32)


def ties(rng: np.random.Generator, n: int) -> NDArray[np.longdouble]:
    """Halves of odd integers, in and just out of the range of codes."""
    return (rng.integers(-300, 301, n).astype(np.longdouble) * 2 + 1) / 2


def rails(rng: np.random.Generator, n: int) -> Ints:
    """int32 at its ends and around 0."""
    return rng.choice(np.array([I32[0], I32[0] + 1, -1, 0, 1, I32[1] - 1, I32[1]]), n)


def saturated(a: Ints, mode: RequantMode, widths: RequantWidths) -> Ints:
    """What FIXED and MAGNITUDE multiply."""
    rail = 1 << (widths.accumulator - 1)
    if mode is RequantMode.MAGNITUDE:
        return np.minimum(np.abs(a), rail - 1)
    return np.clip(a, -rail, rail - 1)


def double_samples(rng: np.random.Generator, n: int, widths: RequantWidths) -> tuple[Ints, Columns]:
    """M1: both roundings tie, shifts of both signs, multipliers down to 0."""
    high = rng.integers(1 << 30, 1 << 31, n)
    ends = rng.choice(np.array([0, 1, 1 << 30, I32[1]]), n)
    multiplier = mix(rng, (6, 1, 3), (high, rng.integers(0, 1 << 31, n), ends))
    shift = rng.integers(-31, 32, n)
    target = np.ldexp(ties(rng, n) / np.maximum(multiplier, 1), 31 - shift)
    a = mix(rng, (6, 3, 1), (near(rng, target), any_size(rng, n), rails(rng, n)))
    return a, {"multiplier": multiplier, "shift": shift, "offset": np.zeros(n, np.int64)}


def _decisive_samples() -> Ints:
    """Rows a, multiplier, shift for M2, where an earlier rounding's tie decides the last rounding.

    The conversion: ``a = odd * 2**(s-1+n) + 2**(n-1)``, times ``2**-(n+s)``. The product:
    ``f * g = odd * 2**r + 1`` of 25 bits. To even, both become a tie of the last rounding.
    """
    samples = [
        ((odd << (24 - odd.bit_length() + n)) + (1 << (n - 1)), 1 << 23, odd.bit_length() - n - 48)
        for odd in range(1, 256, 2)
        for n in range(1, 8)
    ]
    for f in range(3, 256, 2):
        for r in range(17, 25):
            g = pow(f, -1, 1 << r)
            odd, spare = (f * g) >> r, 24 - g.bit_length()
            if odd & 1 and odd.bit_length() + r == 25:
                js = range(32 - f.bit_length())
                samples += [(f << j, g << spare, -(r + 1 + j + spare)) for j in js]
    return np.array(samples, np.int64).T


_DECISIVE = _decisive_samples()


def float32_samples(
    rng: np.random.Generator, n: int, widths: RequantWidths
) -> tuple[Ints, Columns]:
    """M2: ties and carries in the conversion, the product and the last rounding."""
    inner = rng.integers(1 << 23, 1 << 24, n)
    ends = rng.choice(np.array([1 << 23, (1 << 23) + 1, (1 << 24) - 1]), n)
    multiplier = mix(rng, (6, 4), (inner, ends))
    shift = mix(rng, (8, 2), (rng.integers(-60, -15, n), rng.integers(-128, 128, n)))
    target = np.ldexp(ties(rng, n) / multiplier, -shift)
    bits = rng.integers(1, 8, n)
    half = (inner << bits) + (np.int64(1) << (bits - 1)) + rng.integers(-1, 2, n)
    carry = (np.int64(1) << rng.integers(24, 32, n)) - rng.integers(1, 200, n)
    rows = (near(rng, target), half, carry, any_size(rng, n), rails(rng, n))
    a = mix(rng, (4, 2, 1, 2, 1), rows)
    decisive = _DECISIVE[:, rng.integers(0, _DECISIVE.shape[1], n)]
    here = rng.random(n) < 0.2
    a, multiplier, shift = np.where(here, decisive, (a, multiplier, shift))
    columns = {"multiplier": multiplier, "shift": shift, "offset": np.zeros(n, np.int64)}
    return a * rng.choice(np.array([-1, 1]), n), columns


def fixed_samples(
    rng: np.random.Generator,
    n: int,
    widths: RequantWidths,
    mode: RequantMode = RequantMode.FIXED,
) -> tuple[Ints, Columns]:
    """M3: sums on and next to multiples of the shift's unit, sums that wrap, the saturation."""
    multiplier = mix(rng, (8, 2), (any_size(rng, n), rails(rng, n)))
    multiplier >>= np.int64(32 - widths.multiplier)
    shift = rng.integers(0, 64, n)
    unit = np.ldexp(np.longdouble(1), shift)
    target = ties(rng, n) * unit / np.where(multiplier == 0, 1, multiplier)
    beside = rng.choice(np.array([-1, 1]), n) * (1 << (widths.accumulator - 1))
    beside += rng.integers(-2, 3, n)
    rows = (near(rng, target), any_size(rng, n), rails(rng, n), beside)
    a = wrap(mix(rng, (4, 4, 1, 1), rows), 32)
    half = (np.int64(1) << shift) >> np.int64(1)
    edge = (rng.integers(-300, 301, n) << shift) - saturated(a, mode, widths) * multiplier
    edge += rng.integers(-1, 2, n)
    anything = rng.integers(-(1 << 63), 1 << 63, n)
    far = rng.choice(np.array([-(1 << 63), (1 << 63) - 1]), n)
    offset = wrap(mix(rng, (4, 2, 1, 2, 1), (edge, half, half - 1, anything, far)), widths.sum)
    return a, {"multiplier": multiplier, "shift": shift, "offset": offset}


SAMPLERS: Mapping[RequantMode, Sampler] = {
    RequantMode.DOUBLE: double_samples,
    RequantMode.FLOAT32: float32_samples,
    RequantMode.FIXED: fixed_samples,
    RequantMode.MAGNITUDE: partial(fixed_samples, mode=RequantMode.MAGNITUDE),
}


def chunks(
    mode: RequantMode, values: int, seed: int, widths: RequantWidths = FULL_WIDTHS
) -> Iterator[Chunk]:
    """Samples of ``mode``, at least ``values`` of them in all."""
    rng = np.random.default_rng([seed, mode])
    size = min(CHUNK, -(-values // len(CLAMPS)))
    for number in range(-(-values // size)):
        a, columns = SAMPLERS[mode](rng, size, widths)
        a = wrap(a, 32)
        bias = mix(
            rng, (5, 3, 2), (np.zeros(size, np.int64), any_size(rng, size), rails(rng, size))
        )
        columns |= {"acc": wrap(a - bias, 32), "bias": bias}
        clamp = CLAMPS[number % len(CLAMPS)]
        codes = requantize(
            columns["acc"],
            mode=mode,
            **{field.name: columns[field.name] for field in PARAMETER_FIELDS},
            zero_point=clamp[0],
            low=clamp[1],
            high=clamp[2],
            widths=widths,
        )
        yield Chunk(mode=mode, widths=widths, clamp=clamp, columns=columns, codes=codes)
