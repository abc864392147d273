"""Which format a layer's weights get, and that the program is right with it."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.compiler.check import ProgramFault, check_program
from systolith.compiler.compile import compile_graph
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.graph import Graph
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, decode
from systolith.spec.precision import WeightFormat

POWERS = [0, 1, 2, 4, 8, 16, 32, 64, -128, -1, -2, -4, -8, -16, -32, -64]
DRAWS = {
    WeightFormat.DENSE: lambda rng, shape: rng.integers(-128, 128, shape),
    WeightFormat.INT4: lambda rng, shape: rng.integers(-8, 8, shape),
    WeightFormat.LOG2: lambda rng, shape: rng.choice(POWERS, shape),
    WeightFormat.CODEBOOK: lambda rng, shape: rng.choice([0, *range(-99, 99, 15)], shape),
    WeightFormat.BITMAP: lambda rng, shape: (
        rng.integers(-128, 128, shape) * (rng.random(shape) < 0.15)
    ),
}


def spec_of(
    rows: int, columns: int, bus: int = 0, formats=tuple(WeightFormat)[:5]
) -> AcceleratorSpec:
    memory = {"activation_bytes": 1 << 15, "parameter_channels": 2000}
    return AcceleratorSpec(
        array=ArraySpec(
            rows=rows,
            columns=columns,
            depthwise_lines=2,
            weight_formats=frozenset({WeightFormat.DENSE, *formats}),
        ),
        memory=MemorySpec(weight_bytes=columns * (400 if bus else 20000), **memory),
        post=PostSpec(lanes=1),
        external=ExternalSpec(data_bytes=bus),
    )


def network(nets, form: WeightFormat, seed: int = 1) -> Graph:
    """Dense, depthwise and strided layers with weights that a format holds."""
    net = nets.Net(seed)
    net.weights = lambda *shape, dtype=np.int8: DRAWS[form](net.rng, shape).astype(dtype)
    x = net.conv(net.input(9, 8, 7), 20)
    x = net.conv(x, 20, groups=20, strides=(2, 2))
    x = net.conv(x, 24, (1, 1), pads=(0, 0, 0, 0))
    return net.graph(net.dense(net.reshape(x, 1, 1, 5 * 4 * 24), 30))


def used(model) -> set[WeightFormat]:
    return {stored.form for stored in model.weights.values()}


@pytest.mark.parametrize("form", list(DRAWS))
@pytest.mark.parametrize(("rows", "columns", "bus"), [(4, 4, 4), (5, 3, 0), (16, 16, 8)])
def test_layers_get_the_smallest_format(nets, form, rows, columns, bus) -> None:
    """Golden is right, the program passes its check, and its cycles are known."""
    spec = spec_of(rows, columns, bus)
    model = nets.compare(network(nets, form), spec)
    dense = compile_graph(network(nets, form), replace(spec, array=ArraySpec(
        rows=rows, columns=columns, depthwise_lines=2)))  # fmt: skip
    assert predict(model.program).cycles > 0
    if form is not WeightFormat.DENSE:
        assert form in used(model)
        assert all(s.bytes < s.dense_bytes for s in model.weights.values())
        assert model.memory.loaded < dense.memory.loaded or not bus
    notes = [n.text for n in model.notes if "weights" in n.text]
    assert len(notes) == len(model.weights)
    saved = sum(s.dense_bytes - s.bytes for s in model.weights.values())
    assert (f"{saved:,} saved" in model.weights_note) == bool(model.weights)


def test_uint8_weights_with_a_zero_point(nets) -> None:
    """Codes that cannot be int8 less their zero point."""
    net = nets.Net(3)
    net.weights = lambda *shape, dtype=np.uint8: net.rng.choice([0, 7, 255], shape).astype(dtype)
    x = net.conv(net.input(5, 5, 8), 9, dtype=np.uint8)
    model = nets.compare(net.graph(x), spec_of(4, 4))
    assert used(model) == {WeightFormat.CODEBOOK}


def test_a_layer_asks(nets) -> None:
    """By attribute, and by name, which comes first."""
    graph = network(nets, WeightFormat.INT4)
    spec = spec_of(4, 4)
    node = graph.nodes[0]
    asked = replace(node, attributes={**node.attributes, "weight_format": "codebook"})
    graph = replace(graph, nodes=(asked, *graph.nodes[1:]))
    model = nets.compare(graph, spec)
    assert model.weights[node.name].form is WeightFormat.CODEBOOK
    model = compile_graph(graph, spec, weight_formats={node.name: WeightFormat.BITMAP})
    assert model.weights[node.name].form is WeightFormat.BITMAP
    model = compile_graph(graph, spec, weight_formats={node.name: WeightFormat.DENSE})
    assert node.name not in model.weights


def test_what_cannot_be(nets) -> None:
    graph, spec = network(nets, WeightFormat.DENSE), spec_of(4, 4, formats=(WeightFormat.LOG2,))
    name = graph.nodes[0].name
    with pytest.raises(CompileError, match=f"layer '{name}': weight_format must be one that holds"):
        compile_graph(graph, spec, weight_formats={name: WeightFormat.LOG2})
    with pytest.raises(CompileError, match=f"layer '{name}': array.weight_formats must have int4"):
        compile_graph(graph, spec, weight_formats={name: WeightFormat.INT4})
    with pytest.raises(CompileError, match="weight format must be of a layer, not 'nothing'"):
        compile_graph(graph, spec, weight_formats={"nothing": WeightFormat.LOG2})
    node = graph.nodes[0]
    asked = replace(node, attributes={**node.attributes, "weight_format": "int3"})
    with pytest.raises(CompileError, match="weight_format must be one of dense, int4, .* 'int3'"):
        compile_graph(replace(graph, nodes=(asked, *graph.nodes[1:])), spec)


@pytest.mark.parametrize("form", [WeightFormat.INT4, WeightFormat.CODEBOOK, WeightFormat.BITMAP])
def test_the_check_knows_the_words(nets, form) -> None:
    """Weights that end a word too early, and a format that is not built."""
    program = compile_graph(network(nets, form), spec_of(4, 4)).program
    check_program(program)
    reads = [
        c["w_base"] for c in decode(program.commands.tolist())
        if c.opcode is Opcode.MATMUL and c["w_format"] == form
    ]  # fmt: skip
    assert reads
    with pytest.raises(ProgramFault, match="leaves the weight memory"):
        check_program(replace(program, weights=program.weights[:-1]))
    with pytest.raises(ProgramFault, match="no decoder"):
        array = replace(program.spec.array, weight_formats=frozenset({WeightFormat.DENSE}))
        check_program(replace(program, spec=replace(program.spec, array=array)))
