"""The generated Verilog behind an independent AXI4-Lite master, in cocotb."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from systolith.errors import ToolError
from systolith.hw.top import Accelerator
from systolith.sim.cocotb_bench import run_cocotb
from systolith.sim.emit import readable_verilog
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import decode
from systolith.spec.program import Program

BENCH = Path(__file__).with_name("axi_bench.py")
TESTS = 9


def spec_of(rows: int, columns: int, lanes: int, regions: int) -> AcceleratorSpec:
    return AcceleratorSpec(
        name="accelerator",
        array=ArraySpec(rows=rows, columns=columns),
        memory=MemorySpec(
            activation_regions=regions, activation_bytes=320, weight_bytes=rows * columns * 24,
            accumulator_depth=8, parameter_channels=24 * lanes, command_words=600, tables=2,
            stamps=16,
        ),
        post=PostSpec(lanes=lanes),
    )  # fmt: skip


def program_of(rows: int, columns: int, lanes: int, seed: int) -> Program:
    """A random program with time stamps, which leaves the last region to the host."""
    spec = spec_of(rows, columns, lanes, 2)
    for attempt in range(100):
        rng = np.random.default_rng(1000 * seed + attempt)
        program = random_program(rng, spec, layers=6)
        stamps = sum(c["stamp"] for c in decode(program.commands.tolist()))
        if len(program.commands) < 500 and stamps > 1:
            break
    return replace(program, spec=spec_of(rows, columns, lanes, 3))


@pytest.mark.parametrize(
    ("rows", "columns", "lanes"), [(4, 4, 1), pytest.param(3, 6, 2, marks=pytest.mark.slow)]
)
def test_through_the_bus(rows: int, columns: int, lanes: int, tmp_path: Path) -> None:
    for name in ("cocotb", "cocotbext.axi"):
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            pytest.skip(f"{name} is not installed: `pip install cocotb cocotbext-axi`")
    program = program_of(rows, columns, lanes, seed=rows)
    inputs = random_inputs(np.random.default_rng(rows), program)
    outputs = GoldenBackend().run(program, inputs).tensors
    (tmp_path / "program.bin").write_bytes(program.to_bytes())
    tensors = {f"in_{k}": v for k, v in inputs.items()} | {
        f"out_{k}": v for k, v in outputs.items()
    }
    np.savez(tmp_path / "tensors.npz", **tensors)
    name = program.spec.name
    try:
        tests, failures = run_cocotb(
            readable_verilog(Accelerator(program.spec), name), name, BENCH, tmp_path,
            environment={"SYSTOLITH_BENCH": str(tmp_path)},
        )  # fmt: skip
    except ToolError as error:
        pytest.skip(str(error))
    assert failures == 0
    assert tests == TESTS
