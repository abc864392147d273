"""Layers in tiles: every kind of layer, with operands in external memory, on golden."""

from dataclasses import replace

import pytest

from systolith.compiler.compile import compile_graph
from systolith.compiler.ir import Storage, View
from systolith.compiler.pieces import Box, Span, is_run, slab_of, source_piece
from systolith.compiler.trace import trace_program
from systolith.compiler.transfers import dense_view
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
    assert any(" tiles" in note.text for note in model.notes)
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
    """One pixel of 32 of 40 channels: outputs, a pass of inputs and the residual operand."""
    net = nets.Net(17)
    x = net.input(2, 2, 40)
    graph = net.graph(net.binary(Op.ADD, net.conv(x, 40), net.input(2, 2, 40)))
    spec = spec_of(32, 32, 8, 8, 64, regions=1)
    small = replace(spec, memory=replace(spec.memory, weight_bytes=96, command_words=64))
    with pytest.raises(CompileError) as caught:
        compile_graph(graph, small)
    assert str(caught.value) == (
        "layer 'conv2d0': its smallest tiles take 96 bytes of activations, the specification has "
        "1 regions of 64; memory.weight_bytes must hold the array's weights, 1024 bytes, not 96; "
        "memory.command_words must be 74 for any network, not 64: raise memory.activation_bytes "
        "to at least 128 and memory.weight_bytes to at least 1024 and memory.command_words to at "
        "least 74"
    )
    memory = replace(spec.memory, activation_bytes=128, weight_bytes=1024, command_words=1024)
    model = nets.compare(graph, replace(spec, memory=memory))
    assert model.memory.bound <= model.memory.peak <= 128


def test_columns_channels_and_parts_of_windows(nets):
    """What no tile of whole rows could hold: each way of cutting, by the sizes of one region."""
    net = nets.Net(18)
    wide = net.conv(net.input(2, 40, 12), 10, kernel=(3, 5), pads=(1, 1, 2, 2))
    deep = net.conv(net.input(3, 3, 150), 12, kernel=(2, 2), pads=(1, 0, 0, 1))
    long = net.dense(net.input(1, 2, 700), 12)
    far = net.pool(Op.AVG_POOL, net.input(12, 12, 24), (12, 12), (1, 1), (0, 0, 0, 0))
    most = net.pool(Op.MAX_POOL, net.input(18, 7, 23), (18, 7), (1, 1), (0, 0, 0, 0))
    groups = net.conv(net.input(5, 7, 30), 30, kernel=(3, 3), groups=3)
    graph = net.graph(wide, deep, long, far, most, groups)
    for size in (1024, 160):
        spec = spec_of(8, 8, 8, 8, size)
        model = nets.compare(graph, spec)
        partial = sum(c.values.get("partial", 0) for c in trace_program(model.program).commands)
        assert partial or size == 1024


def test_rows_of_windows(nets):
    net = nets.Net(1)
    net.conv(net.input(10, 4, 1), 1, kernel=(3, 1), strides=(2, 1), pads=(1, 2, 0, 0))

    class Shown:
        node = net.nodes[0]

    view = dense_view("x", (10, 4, 1), external=True)
    boxes = [Box(y=y, x=0, c=0, height=2, width=4, channels=1) for y in (0, 2, 4)]
    pieces = [source_piece(Shown, box, view, (6, 4, 1)) for box in boxes]
    assert [p.rows for p in pieces] == [
        Span(first=0, count=4, before=1),
        Span(first=3, count=5),
        Span(first=7, count=3, after=2),
    ]
    assert all(p.columns == Span(first=0, count=4) and is_run(view, p) for p in pieces)


def test_columns_of_windows_hold_the_halo(nets):
    """In a narrow box of a convolution the padding is elements, which lie in the halo."""
    net = nets.Net(1)
    net.conv(net.input(4, 12, 2), 1, kernel=(3, 5), strides=(1, 2), pads=(1, 1, 2, 2))

    class Shown:
        node = net.nodes[0]

    view = dense_view("x", (4, 12, 2), external=True)
    boxes = [Box(y=0, x=x, c=0, height=2, width=2, channels=1) for x in (0, 2, 4)]
    pieces = [source_piece(Shown, box, view, (4, 6, 1)) for box in boxes]
    assert [p.columns for p in pieces] == [Span(first=f, count=7) for f in (-2, 2, 6)]
    assert [p.rows for p in pieces] == [Span(first=-1, count=4)] * 3
    assert not any(is_run(view, p) for p in pieces)


def test_slabs_hold_the_halo():
    """Rows of 3 pixels of 4 bytes with one pixel between rows, 20 bytes in front."""
    storage = Storage(name="t", size=20 + 5 * 16 + 8, layer="t")
    view = View(storage=storage, offset=20, shape=(5, 3, 4), row=16, pixel=4)
    slab = slab_of(view, Span(first=1, count=2, before=1, after=1))
    assert (slab.start, slab.size) == (16, 4 * 16 + 4)
    whole = slab_of(view, Span(first=0, count=5, before=1))
    assert (whole.start, whole.start + whole.size) == (0, 20 + 5 * 16)
