"""Hardware to compare with: the fast Verilator model, without a compiler pysim."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from systolith.cycles import MemoryModel
from systolith.errors import ToolError
from systolith.sim.backend import Backend, Result
from systolith.sim.external import MemoryTiming
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.toolchain import find_compiler
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.program import Program

Inputs = Mapping[str, np.ndarray]
Agree = Callable[..., Result]


@pytest.fixture(scope="session")
def programs() -> ModuleType:
    """The module with ``SPECS``, ``plain_program`` and ``transfer_program``."""
    name = "random_programs"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def agree(as_predicted: Callable[..., None]) -> Agree:
    """Run a program on the hardware and require that every counter and stamp was predicted."""
    backends: dict[MemoryModel, Backend] = {}

    def backend(memory: MemoryModel) -> Backend:
        timing = MemoryTiming(latency=memory.latency, bandwidth=memory.bandwidth)
        try:
            find_compiler()
        except ToolError:
            return PysimBackend(memory=timing)
        return VerilatorBackend(structural=False, memory=timing)

    def check(
        program: Program, inputs: Inputs, label: object, memory: MemoryModel | None = None
    ) -> Result:
        memory = memory or MemoryModel()
        if memory not in backends:
            backends[memory] = backend(memory)
        measured = backends[memory].run(program, inputs)
        as_predicted(program, measured, label, memory)
        return measured

    return check
