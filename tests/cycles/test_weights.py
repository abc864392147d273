"""Compressed weights: what Verilator computes is golden's, and when it does is the model's."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.cycles import MemoryModel
from systolith.golden.execute import execute
from systolith.sim import stress
from systolith.sim.stress_external import random_external_program, random_external_spec
from systolith.sim.stress_specs import random_spec
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode, decode
from systolith.spec.precision import WeightFormat

ODD_ROWS: tuple[frozenset[WeightFormat], ...] = frozenset(), frozenset({WeightFormat.TWO_OF_FOUR})
"""Formats that cannot be built with an even, with an odd number of rows."""


def compare(agree: Callable, spec: AcceleratorSpec, seeds: range) -> dict[WeightFormat, int]:
    """Compare random programs with golden and the model; return the MATMULs of every format."""
    met = dict.fromkeys(spec.array.weight_formats, 0)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        draw = random_external_program if spec.external.data_bytes else stress.random_program
        program = draw(rng, spec, layers=6)
        inputs = stress.random_inputs(rng, program)
        result = agree(program, inputs, f"seed {seed}: {spec}", MemoryModel())
        for name, tensor in execute(program, inputs).items():
            np.testing.assert_array_equal(result.tensors[name], tensor, f"seed {seed}: {spec}")
        for command in decode(program.commands.tolist()) if not spec.external.data_bytes else ():
            if command.opcode is Opcode.MATMUL:
                met[WeightFormat(command["w_format"])] += 1
    return met


def spec_of(rows: int, columns: int) -> AcceleratorSpec:
    """A small accelerator without an external memory that has all formats of its rows."""
    spec = random_spec(np.random.default_rng(rows), formats=True)
    formats = frozenset(WeightFormat) - ODD_ROWS[rows % 2]
    array = replace(spec.array, rows=rows, columns=columns, weight_formats=formats)
    memory = replace(
        spec.memory, weight_bytes=columns * (32 * rows + 64), command_words=2000,
        activation_bytes=2048, accumulator_depth=16,
    )  # fmt: skip
    return replace(spec, array=array, memory=memory, post=replace(spec.post, lanes=1))


@pytest.mark.parametrize("shape", [(3, 5), (6, 3)])
def test_all_formats(agree: Callable, shape: tuple[int, int]) -> None:
    """Rows that are odd or even but no multiple of 4, columns that are no whole byte of bits."""
    met = compare(agree, spec_of(*shape), range(80))
    assert min(met.values()) > 20, met


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (16, 16), (8, 9)])
def test_all_formats_everywhere(agree: Callable, shape: tuple[int, int]) -> None:
    met = compare(agree, spec_of(*shape), range(100, 200))
    assert min(met.values()) > 20, met


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_some_formats_everywhere(agree: Callable, number: int) -> None:
    """Weights that LOADs bring, and any choice of decoders."""
    rng = np.random.default_rng(number)
    spec = random_external_spec(rng, (4, 8, 16)[number % 3], depthwise=number % 2 == 0)
    chosen = random_spec(rng, formats=True).array.weight_formats
    chosen -= ODD_ROWS[spec.array.rows % 2]
    compare(agree, replace(spec, array=replace(spec.array, weight_formats=chosen)), range(60))
