"""The whole accelerator with weights of two of four among all else, and the predicted cycles."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_nibbles import with_nibbles
from systolith.sim.stress_sparse import with_places
from systolith.sim.stress_specs import random_spec
from systolith.spec.commands import Opcode, decode, encode
from systolith.spec.precision import WeightFormat
from systolith.spec.program import Program


def places(program: Program) -> int:
    """How many MATMULs have weights of two of four."""
    commands = [c for c in decode(program.commands.tolist()) if c.opcode is Opcode.MATMUL]
    return sum(c["w_format"] == WeightFormat.TWO_OF_FOUR for c in commands)


def check(as_predicted: Callable[..., None], seed: int, *, layers: int, largest: int) -> int:
    """All activation bytes, counters and stamps; return `places`."""
    rng = np.random.default_rng(seed)
    spec = random_spec(rng, largest=largest, depthwise=seed % 3 == 0, formats=seed % 2 == 0)
    if seed % 4 > 1:
        spec = with_nibbles(rng, spec)
    spec = with_places(spec)
    program = random_program(rng, spec, layers=layers)
    inputs = random_inputs(rng, program)
    want = execute(program, inputs)
    result = PysimBackend().run(program, inputs)
    for name, got in result.tensors.items():
        np.testing.assert_array_equal(got, want[name], err_msg=f"seed {seed}: {spec}")
    as_predicted(program, result, f"seed {seed}: {spec}")
    return places(program)


def test_weights_of_two_of_four(as_predicted: Callable[..., None]) -> None:
    assert sum(check(as_predicted, seed, layers=3, largest=4) for seed in range(6)) >= 3


@pytest.mark.parametrize("seed", range(4))
def test_a_plain_reference_agrees(reference: ModuleType, seed: int) -> None:
    """The definition written a second time, byte by byte: gates and golden."""
    rng = np.random.default_rng(50 + seed)
    spec = with_places(random_spec(rng, largest=4))
    program = random_program(rng, spec, layers=4)
    assert places(program)
    reference.check(program, random_inputs(rng, program), f"seed {50 + seed}: {spec}")


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (6, 3)])
def test_tiles_follow_without_bubbles(reference: ModuleType, rows: int, columns: int) -> None:
    """A vector of twice as many bytes a cycle; places are read while the tile before works."""
    spec = with_places(reference.spec_of(rows, columns, columns, accumulator_depth=64))
    line, vectors = spec.line_bytes, rows + -(-rows // 4)
    counts = {"n_count": 2, "mx_count": vectors}
    matmul = reference.MATMUL | counts | {"kc_count": 3, "w_format": int(WeightFormat.TWO_OF_FOUR)}
    matmul |= {"x_mx_stride": line, "x_kc_stride": 2 * line}
    store = reference.STORE | counts | {"channels": 2 * columns, "tile_channels": columns}
    store |= {"y_base": spec.region_stride, "y_mx_stride": 2 * columns, "y_n_stride": columns}
    words = encode(Opcode.MATMUL, **matmul) + encode(Opcode.STORE, **store) + encode(Opcode.END)
    program = reference.program_of(spec, words)
    inputs = random_inputs(np.random.default_rng(1), program)
    counters = reference.check(program, inputs, "no bubbles", varied=True).counters
    assert counters["array_busy"] == 2 * 3 * vectors
    assert counters["stall_weights"] <= vectors + 2  # the first tile, once the command is there
    assert counters["stall_accumulators"] == counters["stall_activations"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1040, 4))
def test_many_weights_of_two_of_four(as_predicted: Callable[..., None], first: int) -> None:
    assert sum(check(as_predicted, first + k, layers=4, largest=7) for k in range(4))
