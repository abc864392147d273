"""External memory in cocotb, with cocotbext-axi's memory at the AXI4 master."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from systolith.errors import ToolError
from systolith.hw.top import Accelerator
from systolith.sim.cocotb_bench import run_cocotb
from systolith.sim.emit import readable_verilog
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.stress import random_inputs
from systolith.sim.stress_external import random_external_program
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.requant import RequantMode

BENCH = Path(__file__).with_name("external_bench.py")
TESTS = 4
SPEC = AcceleratorSpec(
    name="accelerator",
    array=ArraySpec(rows=2, columns=2),
    memory=MemorySpec(
        activation_regions=2, activation_bytes=512, weight_bytes=2 * 48, accumulator_depth=8,
        parameter_channels=24, command_words=900, tables=1, stamps=4,
    ),
    post=PostSpec(lanes=1, modes=frozenset({RequantMode.FIXED}), residual=False),
    external=ExternalSpec(data_bytes=4, burst_beats=4, outstanding=3),
)  # fmt: skip


def test_external_memory(tmp_path: Path) -> None:
    for name in ("cocotb", "cocotbext"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: `pip install cocotb cocotbext-axi`")
    rng = np.random.default_rng(7)  # a program with transfers of every kind, and jumps
    program = random_external_program(rng, SPEC, layers=3)
    inputs = random_inputs(rng, program)
    outputs = GoldenBackend().run(program, inputs).tensors
    (tmp_path / "program.bin").write_bytes(program.to_bytes())
    tensors = {f"in_{k}": v for k, v in inputs.items()}
    tensors |= {f"out_{k}": v for k, v in outputs.items()}
    np.savez(tmp_path / "tensors.npz", **tensors)
    try:
        tests, failures = run_cocotb(
            readable_verilog(Accelerator(SPEC), SPEC.name), SPEC.name, BENCH, tmp_path,
            environment={"SYSTOLITH_BENCH": str(tmp_path)},
        )  # fmt: skip
    except ToolError as error:
        pytest.skip(str(error))
    assert (tests, failures) == (TESTS, 0)
