"""The whole accelerator on random programs that mix all precisions, with packed stores."""

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_nibbles import with_nibbles
from systolith.sim.stress_specs import random_spec


def check(seed: int, *, layers: int, largest: int, depthwise: bool) -> None:
    """Any shape of array, in Amaranth's simulator, against golden: all activation bytes."""
    rng = np.random.default_rng(seed)
    spec = with_nibbles(rng, random_spec(rng, largest=largest, depthwise=depthwise))
    program = random_program(rng, spec, layers=layers)
    inputs = random_inputs(rng, program)
    want = execute(program, inputs)
    for name, got in PysimBackend().run(program, inputs).tensors.items():
        np.testing.assert_array_equal(got, want[name], err_msg=f"seed {seed}: {spec}")


@pytest.mark.parametrize("seed", range(6))
def test_random_accelerators_and_programs(seed: int) -> None:
    check(seed, layers=2, largest=4, depthwise=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1060))
def test_many_random_accelerators_and_programs(seed: int) -> None:
    check(seed, layers=5, largest=6, depthwise=seed % 3 == 0)
