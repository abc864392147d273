"""Layers in tiles of rows: every kind of layer, with operands in external memory, on golden."""

from dataclasses import replace

import pytest

from systolith.compiler.compile import compile_graph
from systolith.compiler.ir import Storage, View
from systolith.compiler.tiles import Piece, slab_of, source_rows
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)


def spec_of(rows, columns, lanes, bus, size, lines=0, regions=2):
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns, depthwise_lines=lines),
        memory=MemorySpec(
            activation_regions=regions,
            activation_bytes=size,
            weight_bytes=columns * 8192,
            parameter_channels=lanes * 512,
            accumulator_depth=24,
            command_words=1 << 15,
        ),
        post=PostSpec(lanes=lanes),
        external=ExternalSpec(data_bytes=bus),
    )


SPECS = {
    "8x16": spec_of(8, 16, 8, 8, 2048),
    "13x5": spec_of(13, 5, 5, 16, 2048, lines=3),
    "4x4, one region": spec_of(4, 4, 2, 4, 4096, regions=1),
}


def compared(nets, graph, spec, outside):
    """Compare, and require that some tensors besides inputs and outputs are external."""
    model = nets.compare(graph, spec)
    program = model.program
    edge = {*program.inputs, *program.outputs}
    external = {n for n, b in program.buffers.items() if b.external and n not in edge}
    assert len(external) >= outside, external
    assert model.memory.saved > sum(graph.tensor(n).size for n in program.outputs) or not outside
    assert any("row tiles" in note.text for note in model.notes)
    return model


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request):
    return request.param


def test_convolutions(nets, spec):
    net = nets.Net(11)
    x = net.input(30, 13, 9)
    a = net.conv(x, 14)
    b = net.conv(a, 14, kernel=(2, 3), strides=(2, 1), pads=(0, 1, 2, 0))
    c = net.conv(b, 18, kernel=(1, 1), pads=(0, 0, 0, 0))
    d = net.conv(c, 10, kernel=(2, 3), pads=(2, 2, 2, 2), dilations=(2, 2))
    compared(nets, net.graph(d), spec, 2)


def test_depthwise_and_grouped(nets, spec):
    net = nets.Net(12)
    x = net.input(24, 14, 12)
    a = net.conv(x, 12, groups=12)
    b = net.conv(a, 24, groups=12, strides=(2, 2))
    c = net.conv(b, 24, groups=3, kernel=(3, 2), pads=(1, 1, 0, 1))
    compared(nets, net.graph(c), spec, 1)


def test_residual_adds(nets, spec):
    """Fused with a convolution that reads the same tensor, alone, and broadcast."""
    net = nets.Net(13)
    x = net.input(26, 12, 8)
    a = net.conv(x, 8)
    b = net.binary(Op.ADD, net.conv(a, 8), a)
    c = net.binary(Op.ADD, b, x)
    d = net.binary(Op.ADD, net.conv(c, 8), net.input(1, 1, 8))
    compared(nets, net.graph(d, b), spec, 1)


def test_pools_and_tables(nets, spec):
    net = nets.Net(14)
    x = net.input(25, 15, 10)
    a = net.lut(net.conv(x, 10))
    b = net.pool(Op.MAX_POOL, a, (3, 3), (2, 1), (1, 1, 1, 1))
    c = net.pool(Op.AVG_POOL, a, (3, 2), (1, 2), (1, 1, 1, 0))
    compared(nets, net.graph(net.lut(b), c), spec, 1)


def test_moves(nets, spec):
    """Padded and concatenated tensors in external memory, aliased, copied and mapped."""
    net = nets.Net(15)
    x = net.input(20, 9, 8)
    a = net.conv(x, 8)
    b = net.conv(x, 8, kernel=(1, 1), pads=(0, 0, 0, 0))
    c = net.concat(a, b, a, tables=True)
    d = net.concat(b, net.pool(Op.MAX_POOL, b, (1, 1), (1, 1), (0, 0, 0, 0)), axis=0)
    e = net.conv(net.pad(c, (1, 2, 0, 3)), 6, pads=(0, 0, 0, 0))
    f = net.conv(net.reshape(d, 20, 18, 8), 5)
    compared(nets, net.graph(e, f, a), spec, 1)


def test_weights_and_activations_are_too_large_together(nets):
    net = nets.Net(16)
    x = net.input(20, 10, 32)
    a = net.conv(x, 64)
    b = net.conv(a, 32, kernel=(1, 1), pads=(0, 0, 0, 0))
    spec = spec_of(8, 8, 8, 8, 8192)
    spec = replace(spec, memory=replace(spec.memory, weight_bytes=4608, command_words=256))
    compared(nets, net.graph(b), spec, 1)


def test_the_smallest_memory_is_named_and_does(nets):
    net = nets.Net(17)
    x = net.input(12, 40, 16)
    graph = net.graph(net.conv(net.conv(x, 16), 16))
    small = SPECS["8x16"]
    small = replace(small, memory=replace(small.memory, activation_bytes=512))
    with pytest.raises(CompileError) as caught:
        compile_graph(graph, small)
    text = str(caught.value)
    assert text.startswith("layer 'conv2d0': activation memory needs ")
    least = int(text.rsplit(" ", 1)[1])
    nets.compare(graph, replace(small, memory=replace(small.memory, activation_bytes=least)))
    less = replace(small, memory=replace(small.memory, activation_bytes=least - 16))
    with pytest.raises(CompileError):
        compile_graph(graph, less)


def test_rows_of_windows(nets):
    net = nets.Net(1)
    net.conv(net.input(10, 4, 1), 1, kernel=(3, 1), strides=(2, 1), pads=(1, 2, 0, 0))

    class Shown:
        node = net.nodes[0]

    rows = [source_rows(Shown, 10, first, 2) for first in (0, 2, 4)]
    assert rows == [
        Piece(first=0, count=4, above=1, below=0),
        Piece(first=3, count=5, above=0, below=0),
        Piece(first=7, count=3, above=0, below=2),
    ]


def test_slabs_hold_the_halo():
    """Rows of 3 pixels of 4 bytes with one pixel between rows, 20 bytes in front."""
    storage = Storage(name="t", size=20 + 5 * 16 + 8, layer="t")
    view = View(storage=storage, offset=20, shape=(5, 3, 4), row=16, pixel=4)
    slab = slab_of(view, Piece(first=1, count=2, above=1, below=1))
    assert (slab.start, slab.size) == (16, 4 * 16 + 4)
    whole = slab_of(view, Piece(first=0, count=5, above=1, below=0))
    assert (whole.start, whole.start + whole.size) == (0, 20 + 5 * 16)
