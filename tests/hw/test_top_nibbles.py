"""The whole accelerator on random programs that mix all precisions, with packed stores."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.sim.stress_nibbles import with_nibbles
from systolith.sim.stress_specs import pick, random_spec
from systolith.spec.precision import MultiplierForm


def check(as_golden: Callable[..., None], seed: int, *, layers: int, largest: int) -> None:
    """Any shape of array, with any multipliers, some with other formats of weights."""
    rng = np.random.default_rng(seed)
    depthwise, formats = seed % 3 == 0, seed % 4 == 1
    spec = random_spec(rng, largest=largest, depthwise=depthwise, formats=formats)
    spec = with_nibbles(rng, spec)
    spec = replace(spec, array=replace(spec.array, multiplier=pick(rng, *MultiplierForm)))
    as_golden(rng, spec, layers, f"seed {seed}: {spec}")


@pytest.mark.parametrize("seed", range(4))
def test_random_accelerators_and_programs(as_golden: Callable[..., None], seed: int) -> None:
    check(as_golden, seed, layers=2, largest=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_many_random_accelerators_and_programs(as_golden: Callable[..., None], seed: int) -> None:
    check(as_golden, seed, layers=5, largest=6)
