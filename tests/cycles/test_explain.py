"""The cycles of layers add up to those of the run, and every counter's to itself."""

import numpy as np
import pytest

from systolith.bounds import layer_floors
from systolith.compiler.compile import compile_graph
from systolith.cycles import STALLS, LayerCycles, Prediction, explain, predict
from systolith.graph import Graph
from systolith.importers import load_model
from systolith.spec.configuration import preset_for_array
from systolith.spec.program import Program
from systolith.verify.samples import default_model

Run = tuple[Graph, Program, Prediction]


@pytest.fixture(scope="module")
def run() -> Run:
    """The embedded network on a 4 x 4 array."""
    graph = load_model(default_model())
    program = compile_graph(graph, preset_for_array(4, 4)).program
    return graph, program, predict(program)


def test_everything_is_explained_once(run: Run) -> None:
    _, program, prediction = run
    layers = explain(program, prediction)
    assert [layer.name for layer in layers[:-1]] == [layer.name for layer in program.layers]
    assert sum(layer.cycles for layer in layers) == prediction.cycles
    assert sum(layer.busy for layer in layers) == prediction.counters["array_busy"]
    for stall in STALLS:
        assert sum(layer.stalls[stall] for layer in layers) == prediction.counters[stall]
    for layer in layers:
        assert layer.cycles == layer.busy + layer.starts + sum(layer.stalls.values())


def test_no_layer_beats_its_floor(run: Run) -> None:
    graph, program, prediction = run
    floors = {floor.name: float(floor.mapping) for floor in layer_floors(graph, 4, 4)}
    layers = explain(program, prediction, floors)
    assert sum(layer.floor for layer in layers) == sum(floors.values())
    assert sum(layer.excess for layer in layers) == prediction.cycles - sum(floors.values())
    # A layer may begin before the last has ended: only up to each stamp it must hold.
    done = np.cumsum([layer.excess for layer in layers])
    assert (done >= 0).all()


def test_reason_is_the_largest_share() -> None:
    stalls = dict.fromkeys(STALLS, 0) | {"stall_weights": 30, "stall_tokens": 20}
    layer = LayerCycles(name="x", cycles=161, busy=110, starts=1, stalls=stalls, floor=100)
    assert layer.excess == 61 and layer.reason == "stall_weights"
    layer = LayerCycles(name="x", cycles=161, busy=110, starts=1, stalls=stalls, floor=40)
    assert layer.reason == "array_busy"


def test_spans_are_counted_in_any_window(run: Run) -> None:
    """Against a mask of all cycles."""
    _, _, prediction = run
    for name, spans in prediction.spans.items():
        edges = np.linspace(0, prediction.cycles, 9).astype(int).tolist()
        parts = [spans.total(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        assert sum(parts) == prediction.counters[name], name
        assert all(0 <= p <= b - a for p, a, b in zip(parts, edges[:-1], edges[1:], strict=True))
