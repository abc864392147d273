"""What a memory gives for a word that is written in the same cycle is never used.

So block RAMs that give nothing to rely on need no logic around them (`sim.netlist.reads_apart`).
Here such reads give pseudorandom bits. Results must be golden's, time stamps those predicted.
"""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.constraints import load_board
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.host import run_model
from systolith.hw.technology import Technology
from systolith.sim.backend import Result
from systolith.sim.collisions import CollidingBackend
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_external import random_external_program, random_external_spec
from systolith.sim.stress_specs import random_spec
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import WeightFormat
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
    wanted = GoldenBackend().run(program, inputs).tensors
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
            model = compile_graph(graph, spec)
        except CompileError:
            continue
        inputs = random_graphs.random_inputs(graph, seed)
        right = run_model(model, GoldenBackend(), inputs, capture=True).tensors
        found = run_model(model, backend, inputs, capture=True)
        for layer in model.program.layers:
            values = right[layer.tensor]
            message = f"{seed}: {layer.tensor}"
            np.testing.assert_array_equal(found.tensors[layer.tensor], values, err_msg=message)
            compared += values.size
        check_times(model.program, found.result)
    assert compared > 10_000
    for seed in range(40):
        program = random_program(np.random.default_rng(seed), spec)
        compared += compare(backend, program, seed)
    print(f"{name}: {compared} values, cycles of collisions: {backend.collisions(spec)}")
    assert sum(backend.collisions(spec).values()) > 1000


def loading() -> AcceleratorSpec:
    """With external memory: LOAD writes memories as other units read them."""
    return random_external_spec(np.random.default_rng(14), 4)


def decoding() -> AcceleratorSpec:
    """With decoders of all formats of weights, which read ahead."""
    spec = random_spec(np.random.default_rng(4), formats=True)
    array = replace(spec.array, rows=4, columns=4, weight_formats=frozenset(WeightFormat))
    memory = replace(
        spec.memory, weight_bytes=1024, command_words=1200, activation_bytes=2048,
        accumulator_depth=16,
    )  # fmt: skip
    return replace(spec, array=array, memory=memory, post=replace(spec.post, lanes=1))


SPECS: dict[str, Callable[[], AcceleratorSpec]] = {
    "icebreaker": lambda: replace(load_board("icebreaker").spec, moves=True),
    "loading": loading,
    "decoding": decoding,
}


@pytest.mark.parametrize("name", SPECS)
def test_random_programs(name: str) -> None:
    """Units overlap as they never do in networks."""
    technology = Technology.ICE40 if name == "icebreaker" else Technology.GENERIC
    spec, backend = SPECS[name](), CollidingBackend(technology)
    draw = random_external_program if spec.external.data_bytes else random_program
    compared = sum(
        compare(backend, draw(np.random.default_rng(seed), spec), seed) for seed in range(80)
    )
    print(f"{name}: {compared} values, cycles of collisions: {backend.collisions(spec)}")
    assert sum(backend.collisions(spec).values()) > 100
