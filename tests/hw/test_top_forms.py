"""The whole accelerator with columns in pairs: golden's results, and the predicted cycles."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_specs import random_spec
from systolith.spec.precision import MultiplierForm


def check(as_predicted: Callable[..., None], seed: int, *, layers: int, largest: int) -> None:
    """Any shape of array in Amaranth's simulator: all activation bytes, counters and stamps."""
    rng = np.random.default_rng(seed)
    spec = random_spec(rng, largest=largest)
    spec = replace(spec, array=replace(spec.array, multiplier=MultiplierForm.PACKED27))
    program = random_program(rng, spec, layers=layers)
    inputs = random_inputs(rng, program)
    want = execute(program, inputs)
    result = PysimBackend().run(program, inputs)
    for name, got in result.tensors.items():
        np.testing.assert_array_equal(got, want[name], err_msg=f"seed {seed}: {spec}")
    as_predicted(program, result, f"seed {seed}: {spec}")


@pytest.mark.parametrize("seed", range(3))
def test_columns_in_pairs(as_predicted: Callable[..., None], seed: int) -> None:
    check(as_predicted, seed, layers=2, largest=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1030))
def test_many_columns_in_pairs(as_predicted: Callable[..., None], seed: int) -> None:
    check(as_predicted, seed, layers=4, largest=7)
