"""The whole accelerator with columns in pairs: golden's results, and the predicted cycles."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.sim.stress_specs import random_spec
from systolith.spec.precision import MultiplierForm


def check(as_golden: Callable[..., None], seed: int, *, layers: int, largest: int) -> None:
    """Any shape of array."""
    rng = np.random.default_rng(seed)
    spec = random_spec(rng, largest=largest)
    spec = replace(spec, array=replace(spec.array, multiplier=MultiplierForm.PACKED27))
    as_golden(rng, spec, layers, f"seed {seed}: {spec}")


@pytest.mark.parametrize("seed", range(3))
def test_columns_in_pairs(as_golden: Callable[..., None], seed: int) -> None:
    check(as_golden, seed, layers=2, largest=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1030))
def test_many_columns_in_pairs(as_golden: Callable[..., None], seed: int) -> None:
    check(as_golden, seed, layers=4, largest=7)
