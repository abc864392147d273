"""The nearest line: what it says of where it differs is what every accumulator shows."""

import numpy as np
import pytest

from systolith.arithmetic import Requant
from systolith.compiler.fit import mode_formula
from systolith.compiler.fit_fixed import fit_fixed_channels
from systolith.compiler.nearest import nearest_fixed
from systolith.profiles.formulas import requantize
from systolith.spec.requant import RequantMode

SEED = 4
_F = np.float32


def torch_layer(rng: np.random.Generator, channels: int) -> tuple[Requant, np.ndarray, np.ndarray]:
    """A layer with a float32 bias, and the reachable accumulators of its channels."""
    scale = rng.uniform(2e-4, 9e-4, channels).astype(_F)
    addend = rng.normal(0, 9000, channels).astype(_F)
    whole = np.rint(addend).astype(np.int64)
    requant = Requant(
        formula="torch_fbgemm", zero_point=61, low=0, high=255, scale=scale, addend=addend,
        whole=whole,
    )  # fmt: skip
    reach = rng.integers(200_000, 400_000, (2, channels))
    return requant, whole - reach[0], whole + reach[1]


def test_counts_are_those_of_every_accumulator() -> None:
    rng = np.random.default_rng(SEED)
    requant, lo, hi = torch_layer(rng, 6)
    low, high = requant.low - requant.zero_point, requant.high - requant.zero_point

    def formula(a: np.ndarray) -> np.ndarray:
        return np.clip(requantize(a, requant), low, high)

    found = nearest_fixed(formula, lo, hi, requant.scale.astype(np.float64), low=low, high=high)
    assert found is not None
    wrong = compared = 0
    for channel, p in enumerate(found.channels):
        own, acc = requant.channel(channel), np.arange(lo[channel], hi[channel] + 1)
        line = mode_formula(
            RequantMode.FIXED, multiplier=p.multiplier, shift=p.shift, offset=p.offset,
            low=low, high=high,
        )  # fmt: skip
        gap = line(acc[:, None])[:, 0] - np.clip(requantize(acc[:, None], own)[:, 0], low, high)
        assert np.abs(gap).max() <= 1
        wrong += int((gap != 0).sum())
        compared += len(acc)
    assert wrong == found.wrong and compared > 3_000_000
    assert found.between <= compared and found.wrong <= found.between * 1e-5


def test_a_line_is_found_again() -> None:
    """Where an exact line exists, nothing differs."""
    rng = np.random.default_rng(SEED)
    scale = rng.uniform(1e-3, 3e-3, 4)

    def formula(a: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(a * scale).astype(np.int64), -128, 127)

    lo, hi = np.full(4, -200_000), np.full(4, 200_000)
    assert all(fit_fixed_channels(formula, lo, hi, low=-128, high=127))
    found = nearest_fixed(formula, lo, hi, scale, low=-128, high=127)
    assert found is not None and found.wrong == 0


@pytest.mark.parametrize("slope", [1e-3, 0.02])
def test_another_function_is_refused(slope) -> None:
    """A slope that is not the formula's is more than one code off."""

    def formula(a: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(a * 5e-3).astype(np.int64), -128, 127)

    lo, hi = np.array([-50_000]), np.array([50_000])
    assert nearest_fixed(formula, lo, hi, slope, low=-128, high=127) is None
