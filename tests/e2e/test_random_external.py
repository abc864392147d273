"""Random networks from external memory: any small memories, golden against the formulas.

Every seed draws a network, an accelerator with external memory and the sizes of all its memories,
down to a few words. What cannot be compiled must be refused in one line that says what to do; all
else must be exact on every tensor. A failure names the seed.
"""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.host import run_model
from systolith.profiles.reference import evaluate_graph
from systolith.sim.backends import get_backend
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec

BLOCK = 30
REFUSALS = (
    "no residual product equals",
    "is not proven equal to any of the modes",
    "no residual add equals",
    "raise memory.",
    "float32 additions decides",
    "a window lies in the padding",
)


def draw(random_graphs: ModuleType, seed: int) -> AcceleratorSpec:
    """Draw an accelerator with external memory."""
    rng = np.random.default_rng([seed, 9])
    base = random_graphs.SPECS[str(rng.choice(list(random_graphs.SPECS)))]
    columns, rows = base.array.columns, base.array.rows
    memory = replace(
        base.memory,
        activation_regions=int(rng.integers(1, 4)),
        activation_bytes=2 * base.line_bytes * int(2 ** rng.uniform(3, 9.5)),
        weight_bytes=columns * rows * int(2 ** rng.uniform(4, 9)),
        parameter_channels=base.post.lanes * int(2 ** rng.uniform(2, 7)),
        command_words=int(rng.choice([80, 128, 256, 1024, 16384])),
        tables=int(rng.integers(1, 9)),
    )
    lines = int(rng.choice([0, 0, 1, 2]))
    bus = int(rng.choice([n for n in (4, 8) if n <= base.line_bytes]))
    return replace(
        base,
        array=replace(base.array, depthwise_lines=lines),
        external=ExternalSpec(data_bytes=bus),
        memory=memory,
        queue_depth=int(rng.integers(1, 4)),
    )


def check(random_graphs: ModuleType, seed: int) -> int:
    """Compare one network; return the number of values compared, 0 if it is refused."""
    graph = random_graphs.random_graph(seed)
    try:
        model = compile_graph(graph, draw(random_graphs, seed), fuse=seed % 2 == 0)
    except CompileError as error:
        text = str(error)
        assert any(part in text for part in REFUSALS) and "\n" not in text, f"seed {seed}: {text}"
        return 0
    if any("within one code" in note.text for note in model.notes):
        return 0
    assert predict(model.program).cycles > 0, f"seed {seed}"  # it comes to its end
    inputs = random_graphs.random_inputs(graph, seed)
    wanted = evaluate_graph(graph, inputs)
    found = run_model(model, get_backend("golden"), inputs, capture=True).tensors
    compared = 0
    for node in graph:
        tensor = node.outputs[0]
        if tensor not in model.hidden:
            message = f"seed {seed}: {node.name} ({tensor}) differs"
            np.testing.assert_array_equal(found[tensor], wanted[tensor], err_msg=message)
            compared += found[tensor].size
    return compared


def check_block(random_graphs: ModuleType, seeds: range) -> None:
    """Compare many networks; most of them must not be refused."""
    counts = [check(random_graphs, seed) for seed in seeds]
    assert sum(count > 0 for count in counts) > 0.5 * len(seeds)


def test_random_networks(random_graphs: ModuleType) -> None:
    check_block(random_graphs, range(5000, 5000 + BLOCK))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_many_random_networks(random_graphs: ModuleType, block: int) -> None:
    check_block(random_graphs, range(6000 + BLOCK * block, 6000 + BLOCK * (block + 1)))
