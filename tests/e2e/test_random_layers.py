"""Random networks: runtime's formulas, golden and Verilator must agree on every tensor.

Networks of up to five layers (convolutions with kernels of 1 to 7, strides, dilations, uneven pads,
groups; dense layers, pools, additions, products, tables, concatenations, pads, reshapes) in int8
and uint8 and in every profile's formulas, compiled for small accelerators whose memories they fill.
All networks run one after the other on the same models, so that nothing may be left over from the
last.
A failure names the seed: ``random_graph(seed)`` draws the network again.
"""

from collections.abc import Mapping
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import CompiledModel, compile_graph
from systolith.errors import CompileError
from systolith.graph import Graph
from systolith.host import run_model
from systolith.profiles.reference import evaluate_graph
from systolith.sim.backend import Backend
from systolith.sim.backends import get_backend
from systolith.spec.accelerator import AcceleratorSpec

SPECS = ("3x5", "4x4", "5x3")
WAYS = ("golden", "verilator")
BLOCK = 40
REFUSALS = (
    "is not proven equal to any of the modes",
    "no residual add equals",
    "no residual product equals",
    "raise memory.",
    "the order of the runtime's float32 additions decides",
)


@pytest.fixture(scope="module")
def backends() -> dict[str, Backend]:
    """One backend of each kind for all networks."""
    return {name: get_backend(name) for name in WAYS}


def exact(model: CompiledModel) -> bool:
    """Whether nothing is left to the order of the runtime's float additions."""
    return not any("within one code" in note.text for note in model.notes)


def compiled(graph: Graph, spec: AcceleratorSpec, seed: int) -> CompiledModel | None:
    """Compile with or without fusion; None if the network is refused for a good reason."""
    try:
        return compile_graph(graph, spec, fuse=seed % 2 == 0)
    except CompileError as error:
        assert any(text in str(error) for text in REFUSALS), f"seed {seed}: {error}"
        return None


def check(
    random_graphs: ModuleType,
    backends: dict[str, Backend],
    name: str,
    seed: int,
    specs: Mapping[str, AcceleratorSpec] | None = None,
) -> int:
    """Compare one network on all backends; return the number of values compared."""
    graph = random_graphs.random_graph(seed)
    model = compiled(graph, (specs or random_graphs.SPECS)[name], seed)
    if model is None or not exact(model):
        return 0
    compared = 0
    inputs = random_graphs.random_inputs(graph, seed)
    wanted = evaluate_graph(graph, inputs)
    for way, backend in backends.items():
        found = run_model(model, backend, inputs, capture=True).tensors
        for node in graph:
            tensor = node.outputs[0]
            if tensor in model.hidden:
                continue
            message = f"seed {seed}, {name}, {way}: {node.name} ({tensor}) differs"
            np.testing.assert_array_equal(found[tensor], wanted[tensor], err_msg=message)
            compared += found[tensor].size
    return compared


def check_block(
    random_graphs: ModuleType, backends: dict[str, Backend], name: str, seeds: range
) -> None:
    """Compare many networks; most of them must not be refused."""
    counts = [check(random_graphs, backends, name, seed) for seed in seeds]
    assert sum(count > 0 for count in counts) > 0.8 * len(seeds)


@pytest.mark.parametrize("name", SPECS)
def test_random_networks(
    random_graphs: ModuleType, backends: dict[str, Backend], name: str
) -> None:
    start = BLOCK * SPECS.index(name)
    check_block(random_graphs, backends, name, range(start, start + BLOCK))


@pytest.mark.parametrize("name", ["16x16", "9x16", "8x8", "5x3", "6x6", "4x2"])
def test_depthwise_mode(random_graphs: ModuleType, backends: dict[str, Backend], name: str) -> None:
    """The programs for arrays with depthwise mode, on golden."""
    golden = {"golden": backends["golden"]}
    specs = random_graphs.DEPTHWISE_SPECS
    counts = [check(random_graphs, golden, name, seed, specs) for seed in range(300, 330)]
    assert sum(count > 0 for count in counts) > 20


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
@pytest.mark.parametrize("name", SPECS)
def test_many_random_networks(
    random_graphs: ModuleType, backends: dict[str, Backend], name: str, block: int
) -> None:
    check_block(random_graphs, backends, name, range(1000 + 100 * block, 1100 + 100 * block))


def test_networks_are_varied(random_graphs: ModuleType) -> None:
    graphs = [random_graphs.random_graph(seed) for seed in range(200)]
    ops = {str(node.op) for graph in graphs for node in graph}
    assert ops >= {"conv2d", "fully_connected", "avg_pool", "max_pool", "add", "sub", "mul"}
    assert ops >= {"lut", "pad", "concat", "reshape"}
    assert {graph.tensor(graph.inputs[0]).dtype for graph in graphs} == {"int8", "uint8"}
    attributes = [node.attributes for graph in graphs for node in graph if node.op == "conv2d"]
    assert {max(a["kernel"]) for a in attributes} == set(range(1, 8))
    assert {a for each in attributes for a in each["strides"]} == {1, 2, 3, 4, 5}
    assert {a for each in attributes for a in each["dilations"]} == {1, 2, 3}
    assert any(a["groups"] > 1 for a in attributes)
    depthwise = []
    for node in (node for graph in graphs for node in graph if node.op == "conv2d"):
        weights = node.arithmetic.weights
        if node.attributes["groups"] > 1 and weights.shape[3] == 1:
            depthwise.append(len(weights) // node.attributes["groups"])
    assert {1, 2, 3, 4, 8} <= set(depthwise)
