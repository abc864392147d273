"""The same program, the same tensors on all backends; the same cycles on all simulators."""

from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import CompiledModel, compile_graph
from systolith.graph import Op
from systolith.profiles.reference import evaluate_graph
from systolith.sim.backend import Backend, Result
from systolith.sim.backends import BACKENDS, DEVICES, get_backend
from systolith.spec.program import Program


def all_units(builder: ModuleType, random_graphs: ModuleType, name: str) -> CompiledModel:
    """A program with every kind of command and all that post-processing can do."""
    net = builder.Net(21)
    image = net.input(3, 4, 6)
    first = net.conv(image, 7, strides=(2, 1))
    added = net.binary(Op.ADD, net.conv(first, 7), net.lut(first))
    pooled = net.pool(Op.MAX_POOL, net.pad(added, (1, 0, 0, 1)), (2, 2), (1, 1), (0, 1, 1, 0))
    mean = net.pool(Op.AVG_POOL, net.conv(pooled, 7, groups=7), (3, 5), (1, 1), (0, 0, 0, 0))
    graph = net.graph(net.dense(mean, 9))
    return compile_graph(graph, random_graphs.SPECS[name])


@pytest.fixture(scope="module")
def backends() -> dict[str, Backend]:
    """One of each, but for netlists, which take minutes to make."""
    return {name: get_backend(name) for name in BACKENDS if not name.startswith("netlist")}


def run(backend: Backend, program: Program, inputs: dict[str, np.ndarray]) -> Result:
    """Run and capture every tensor."""
    return backend.run(program, inputs, capture={layer.tensor for layer in program.layers})


@pytest.mark.parametrize(
    "name", ["3x5", "4x4", pytest.param("5x3", marks=pytest.mark.slow)], ids=str
)
def test_backends_agree(
    builder: ModuleType, random_graphs: ModuleType, backends: dict[str, Backend], name: str
) -> None:
    model = all_units(builder, random_graphs, name)
    program = model.program
    inputs = random_graphs.random_inputs(model.graph, 1)
    results = {key: run(backend, program, inputs) for key, backend in backends.items()}
    wanted = evaluate_graph(model.graph, inputs)
    tensors = {layer.tensor for layer in program.layers} | set(program.outputs)
    for key, result in results.items():
        seen = set(program.outputs) if key in DEVICES else tensors
        assert set(result.tensors) == seen
        for tensor, value in result.tensors.items():
            np.testing.assert_array_equal(value, wanted[tensor], err_msg=f"{key}: {tensor}")
    pysim = results["pysim"]
    assert len(pysim.stamps) == len(program.layers)
    for key in set(backends) - {"golden", "pysim"}:
        assert results[key].stamps == pysim.stamps, key
        assert results[key].counters == pysim.counters, key
        assert results[key].cycles == pysim.cycles, key
    assert pysim.stamps[0] > 0 and list(pysim.stamps) == sorted(pysim.stamps)


def test_a_run_leaves_nothing_behind(
    builder: ModuleType, random_graphs: ModuleType, backends: dict[str, Backend]
) -> None:
    """Two programs in turn: the same tensors, stamps and counters each time."""
    first = all_units(builder, random_graphs, "3x5")
    other = compile_graph(random_graphs.random_graph(2), random_graphs.SPECS["3x5"])
    seen = []
    for model in (first, other, first, other, other, first):
        inputs = random_graphs.random_inputs(model.graph, 3)
        result = run(backends["verilator"], model.program, inputs)
        seen.append((result.stamps, dict(result.counters), result.tensors))
    for again, before in ((2, 0), (5, 0), (3, 1), (4, 1)):
        assert seen[again][:2] == seen[before][:2]
        for tensor, value in seen[before][2].items():
            np.testing.assert_array_equal(seen[again][2][tensor], value)
