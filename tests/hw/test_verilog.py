"""The accelerator's Verilog: lint, and agreement with the golden model in Verilator."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.errors import ToolError
from systolith.hw.array import WeightStationaryArray
from systolith.hw.output_stationary import OutputStationaryArray
from systolith.hw.top import Accelerator
from systolith.sim.emit import lint, readable_verilog
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_specs import random_spec
from systolith.sim.toolchain import find_compiler, find_verilator
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.configuration import PRESETS
from systolith.spec.precision import MultiplierForm, Precision
from systolith.spec.requant import RequantMode

ODD = AcceleratorSpec(
    name="odd",
    array=ArraySpec(rows=5, columns=3, pipelined=True),
    memory=MemorySpec(
        activation_regions=3, activation_bytes=112, weight_bytes=3 * 35, accumulator_depth=7,
        parameter_channels=9, command_words=77, tables=0, stamps=3,
    ),
    post=PostSpec(lanes=3, modes=frozenset({RequantMode.DOUBLE}), residual=False),
    queue_depth=3,
)  # fmt: skip
SMALLEST = AcceleratorSpec(
    name="smallest",
    array=ArraySpec(rows=1, columns=1),
    memory=MemorySpec(
        activation_regions=1, activation_bytes=64, weight_bytes=16, accumulator_depth=4,
        parameter_channels=4, command_words=64, tables=1, stamps=2,
    ),
    post=PostSpec(lanes=1, modes=frozenset({RequantMode.FLOAT32})),
    queue_depth=1,
)  # fmt: skip


def need(tool) -> None:
    try:
        tool()
    except ToolError as error:
        pytest.skip(str(error))


DEPTHWISE = replace(
    ODD,
    name="depthwise",
    array=ArraySpec(rows=5, columns=3, depthwise_lines=2, depthwise_width=17),
)
ONE_LINE = replace(SMALLEST, name="one_line", array=ArraySpec(rows=1, columns=1, depthwise_lines=1))


@pytest.mark.parametrize(
    "spec", [PRESETS["tiny"], ODD, SMALLEST, DEPTHWISE, ONE_LINE], ids=lambda spec: spec.name
)
def test_lint(spec: AcceleratorSpec) -> None:
    need(find_verilator)
    assert lint(readable_verilog(Accelerator(spec), spec.name), spec.name) == []


def test_lint_of_the_output_stationary_array() -> None:
    need(find_verilator)
    array = OutputStationaryArray(3, 5, pipelined=True)
    assert lint(readable_verilog(array, "array"), "array") == []


@pytest.mark.parametrize("form", MultiplierForm)
@pytest.mark.parametrize("precisions", [{Precision.W8A8}, set(Precision)], ids=len)
def test_lint_of_multipliers(form: MultiplierForm, precisions: set[Precision]) -> None:
    need(find_verilator)
    array = WeightStationaryArray(2, 3, pipelined=True, precisions=precisions, form=form)
    assert lint(readable_verilog(array, "array"), "array") == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_many_random_programs(seed: int) -> None:
    """One accelerator, many programs, in Verilator; all of the activation memory is compared."""
    need(find_verilator)
    need(find_compiler)
    spec = random_spec(np.random.default_rng(50 + seed), largest=9, depthwise=seed % 2 == 1)
    backend = VerilatorBackend()
    for k in range(150):
        rng = np.random.default_rng(10_000 * seed + k)
        program = random_program(rng, spec, layers=6)
        inputs = random_inputs(rng, program)
        want = GoldenBackend().run(program, inputs).tensors
        got = backend.run(program, inputs).tensors
        for name, tensor in want.items():
            np.testing.assert_array_equal(got[name], tensor, err_msg=f"{seed}, {k}: {spec}")
