"""Random layers and networks from external memory: formulas, golden, Verilator, cycle model.

Convolutions with kernels of 1 to 11, channels of 1 to 70, strides, dilations, uneven pads, groups
and zero points at the ends of their ranges, and networks of several layers, on accelerators whose
memories on chip hold a part of them only. Every tensor must be that of the runtime's formulas, and
every counter and time stamp that of the cycle model. A failure names the seed.

A longer sweep, on more accelerators:

    pytest -m slow tests/e2e/test_random_streams.py
"""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.cycles import MemoryModel
from systolith.errors import CompileError
from systolith.graph import Graph
from systolith.host import run_model
from systolith.profiles.reference import evaluate_graph
from systolith.sim.backend import Backend
from systolith.sim.backends import get_backend
from systolith.sim.external import MemoryTiming
from systolith.sim.verilator_backend import VerilatorBackend

REFUSALS = (
    "is not proven equal to any of the modes",
    "no residual add equals",
    "raise memory.",
    "float32 additions decides",
    "a window lies in the padding",
)
MEMORIES = ((16, 1.0), (1, 1.0), (40, 0.3), (200, 0.25))
BLOCK = 6


class Streams:
    """Compares drawn networks on every backend.

    Parameters
    ----------
    graphs, layers, as_predicted: the fixtures `random_graphs`, `random_streams`, `as_predicted`.
    """

    def __init__(
        self, graphs: ModuleType, layers: ModuleType, as_predicted: Callable[..., None]
    ) -> None:
        self._inputs, self._specs = graphs.random_inputs, layers.STREAMED_SPECS
        self._draws = graphs.random_graph, layers.random_layer
        self._as_predicted = as_predicted
        self._golden = get_backend("golden")
        self._hardware: dict[tuple[int, float], Backend] = {}

    def hardware(self, memory: tuple[int, float]) -> Backend:
        """Verilator with an external memory."""
        if memory not in self._hardware:
            timing = MemoryTiming(latency=memory[0], bandwidth=memory[1])
            self._hardware[memory] = VerilatorBackend(structural=False, memory=timing)
        return self._hardware[memory]

    def compare(self, graph: Graph, name: str, seed: int) -> int:
        """Compare a network; return the values compared, 0 if it is refused for a good reason."""
        try:
            model = compile_graph(graph, self._specs[name], fuse=seed % 2 == 0)
        except CompileError as error:
            assert any(text in str(error) for text in REFUSALS), f"seed {seed}: {error}"
            return 0
        if any("within one code" in note.text for note in model.notes):
            return 0
        inputs = self._inputs(graph, seed)
        wanted = evaluate_graph(graph, inputs)
        memory = MEMORIES[seed % len(MEMORIES)]
        runs = {
            way: run_model(model, backend, inputs, capture=True)
            for way, backend in (("golden", self._golden), ("verilator", self.hardware(memory)))
        }
        compared = 0
        for tensor in (node.outputs[0] for node in graph if node.outputs[0] not in model.hidden):
            for way, run in runs.items():
                message = f"seed {seed}, {name}, {way}: {tensor} differs"
                np.testing.assert_array_equal(run.tensors[tensor], wanted[tensor], message)
            compared += wanted[tensor].size
        label = f"seed {seed}, {name}, memory {memory}"
        model_memory = MemoryModel(latency=memory[0], bandwidth=memory[1])
        self._as_predicted(model.program, runs["verilator"].result, label, model_memory)
        return compared

    def compare_block(self, name: str, seeds: range) -> None:
        """Compare a layer and a network for each seed; few of them may be refused."""
        for draw in self._draws:
            counts = [self.compare(draw(seed), name, seed) for seed in seeds]
            assert sum(count > 0 for count in counts) > 0.4 * len(seeds), (draw.__name__, counts)


@pytest.fixture(scope="module")
def streams(
    random_graphs: ModuleType, random_streams: ModuleType, as_predicted: Callable[..., None]
) -> Streams:
    """One backend for each memory for all networks."""
    return Streams(random_graphs, random_streams, as_predicted)


def test_random_streams(streams: Streams) -> None:
    streams.compare_block("3x5", range(9000, 9000 + BLOCK))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
@pytest.mark.parametrize("name", ["3x5", "6x6", "9x4", "16x16"])
def test_many_random_streams(streams: Streams, name: str, block: int) -> None:
    start = 10_000 + 30 * block
    streams.compare_block(name, range(start, start + 30))


def test_layers_are_varied(random_streams: ModuleType) -> None:
    """What the sweep is meant to cover."""
    graphs = [random_streams.random_layer(seed) for seed in range(300)]
    nodes = [next(iter(graph)) for graph in graphs]
    attributes = [node.attributes for node in nodes]
    assert {max(a["kernel"]) for a in attributes} == set(range(1, 12))
    assert {a for each in attributes for a in each["strides"]} == {1, 2, 3, 4}
    assert {a for each in attributes for a in each["dilations"]} == {1, 2, 3}
    assert any(a["groups"] > 1 for a in attributes)
    assert any(a["pads"][0] != a["pads"][1] for a in attributes)
    depths = {graph.tensor(graph.inputs[0]).shape[-1] for graph in graphs}
    assert {1, 70} <= depths and len(depths) > 50
    zeros = {node.arithmetic.requant.zero_point for node in nodes}
    assert {-128, 127, 0, 255} <= zeros
