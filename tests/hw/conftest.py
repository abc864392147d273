"""Settings and fixtures of the hardware's tests, and a reference of whole programs."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.spec.accelerator import AcceleratorSpec


def pytest_configure(config: pytest.Config) -> None:
    """Components that are only constructed, to see their ports or errors, are no mistake here."""
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture(scope="session")
def as_golden(as_predicted: Callable[..., None]) -> Callable[..., None]:
    """Run a random program in Amaranth's simulator, ``as_golden(rng, spec, layers, label)``.

    All activation bytes must be golden's, all counters and stamps the predicted ones.
    """

    def check(rng: np.random.Generator, spec: AcceleratorSpec, layers: int, label: str) -> None:
        program = random_program(rng, spec, layers=layers)
        inputs = random_inputs(rng, program)
        want = execute(program, inputs)
        result = PysimBackend().run(program, inputs)
        for name, got in result.tensors.items():
            np.testing.assert_array_equal(got, want[name], err_msg=label)
        as_predicted(program, result, label)

    return check


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The module ``program_reference``: what programs compute, and ``check``."""
    name = "program_reference"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
