"""Random layers on accelerators with tiny memories: exact, or refused with a remedy that works.

Every seed draws a layer (kernels of 1 to 11, strides, dilations, uneven pads, 1 to 70 channels,
groups, zero points at the ends of the range) and an accelerator with external memory whose memories
hold some hundred bytes. A refusal names the smallest memories that would do; with these the layer
must compile. Golden is compared with the formulas on every tensor; a failure names the seed.
"""

import re
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import CompiledModel, compile_graph
from systolith.errors import CompileError
from systolith.graph import Graph
from systolith.host import run_model
from systolith.profiles.reference import evaluate_graph
from systolith.sim.backends import get_backend
from systolith.spec.accelerator import AcceleratorSpec

BLOCK = 24
UNRELATED = ("is not proven equal", "no residual add equals", "a window lies in the padding")


def compiled(graph: Graph, spec: AcceleratorSpec, seed: int) -> tuple[CompiledModel | None, bool]:
    """The program, None if no memory would help, and whether a remedy was needed."""
    try:
        return compile_graph(graph, spec, fuse=seed % 2 == 0), False
    except CompileError as error:
        text = str(error)
    if any(part in text for part in UNRELATED):
        return None, False
    found = re.findall(r"memory\.(\w+) to at least (\d+)", text)
    assert found and "\n" not in text, f"seed {seed}: {text}"
    memory = replace(spec.memory, **{name: int(least) for name, least in found})
    for name, least in found:
        assert int(least) > getattr(spec.memory, name), f"seed {seed}: {text}"
    return compile_graph(graph, replace(spec, memory=memory), fuse=seed % 2 == 0), True


def check(layers: ModuleType, seed: int, backend: str = "golden") -> tuple[int, bool]:
    """Compare one layer; return the values compared, and whether memories had to be raised."""
    graph = layers.random_layer(seed)
    model, raised = compiled(graph, layers.tiny_spec(seed), seed)
    if model is None:
        return 0, False
    rng = np.random.default_rng([seed, 23])
    inputs = {}
    for name in graph.inputs:
        limits = np.iinfo(graph.tensor(name).dtype)
        codes = rng.integers(limits.min, limits.max + 1, graph.tensor(name).shape)
        inputs[name] = codes.astype(limits.dtype)
    wanted = evaluate_graph(graph, inputs)
    found = run_model(model, get_backend(backend), inputs, capture=True).tensors
    compared = 0
    for node in graph:
        tensor = node.outputs[0]
        if tensor not in model.hidden:
            message = f"seed {seed}: {node.name} ({tensor}) differs"
            np.testing.assert_array_equal(found[tensor], wanted[tensor], err_msg=message)
            compared += found[tensor].size
    return compared, raised


def check_block(layers: ModuleType, seeds: range) -> None:
    """Compare many layers; most must have been compared, some of them after a remedy."""
    results = [check(layers, seed) for seed in seeds]
    assert sum(count > 0 for count, _ in results) > 0.8 * len(seeds)
    assert any(raised for _, raised in results)


def test_random_layers(random_layers: ModuleType) -> None:
    check_block(random_layers, range(BLOCK))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(25))
def test_many_random_layers(random_layers: ModuleType, block: int) -> None:
    check_block(random_layers, range(1000 + BLOCK * block, 1000 + BLOCK * (block + 1)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3000, 3012))
def test_random_layers_in_hardware(random_layers: ModuleType, seed: int) -> None:
    check(random_layers, seed, "verilator")
