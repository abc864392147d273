"""What a memory gives for a word that is written in the same cycle is never used.

So block RAMs that give nothing to rely on need no logic around them (`sim.netlist.reads_apart`).
Here such reads give pseudorandom bits. Results must be golden's, time stamps those predicted.
"""

from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.constraints import load_board
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.golden.execute import execute
from systolith.sim.backend import Result
from systolith.sim.collisions import CollidingBackend
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.program import Program

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiler")]


def check_times(program: Program, result: Result) -> None:
    """Require the cycles and time stamps that the cycle model predicts."""
    predicted, kept = predict(program), program.spec.memory.stamps
    assert predicted.cycles == result.cycles
    assert predicted.stamps[:kept] == result.stamps[:kept]


def compare(backend: CollidingBackend, program: Program, seed: int) -> int:
    """Run a random program, and return the number of values compared."""
    inputs = random_inputs(np.random.default_rng(seed), program)
    wanted = execute(program, inputs)
    result = backend.run(program, inputs)
    for name, values in wanted.items():
        np.testing.assert_array_equal(result.tensors[name], values, err_msg=f"{seed}: {name}")
    check_times(program, result)
    return sum(values.size for values in wanted.values())


@pytest.mark.parametrize(("kind", "name"), [("SPECS", "3x5"), ("DEPTHWISE_SPECS", "5x3")])
def test_random_graphs(random_graphs: ModuleType, kind: str, name: str) -> None:
    """Every tensor of whole networks, then random programs on the same model."""
    spec: AcceleratorSpec = getattr(random_graphs, kind)[name]
    backend, compared = CollidingBackend(), 0
    for seed in range(40):
        graph = random_graphs.random_graph(seed)
        try:
            program = compile_graph(graph, spec).program
        except CompileError:
            continue
        wanted = {layer.tensor for layer in program.layers}
        inputs = random_graphs.random_inputs(graph, seed)
        right = GoldenBackend().run(program, inputs, capture=wanted).tensors
        result = backend.run(program, inputs, capture=wanted)
        for tensor, values in right.items():
            found = result.tensors[tensor]
            np.testing.assert_array_equal(found, values, err_msg=f"{seed}: {tensor}")
            compared += values.size
        check_times(program, result)
    assert compared > 10_000
    for seed in range(40):
        program = random_program(np.random.default_rng(seed), spec)
        compared += compare(backend, program, seed)
    print(f"{name}: {compared} values, cycles of collisions: {backend.collisions(spec)}")
    assert sum(backend.collisions(spec).values()) > 1000


def test_the_smallest_board() -> None:
    """Random programs on the accelerator of an iCE40UP5K, whose blocks need it most."""
    spec, backend = load_board("icebreaker").spec, CollidingBackend()
    compared = sum(
        compare(backend, random_program(np.random.default_rng(seed), spec), seed)
        for seed in range(40)
    )
    print(f"{compared} values, cycles of collisions: {backend.collisions(spec)}")
    assert sum(backend.collisions(spec).values()) > 100
