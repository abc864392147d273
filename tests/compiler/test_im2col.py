"""Gathered windows, and neighbouring outputs in one vector."""

import numpy as np
import pytest

from systolith.compiler.lower_im2col import _blocks
from systolith.graph import Op
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, decode

ARRAYS = [(16, 16, 16), (9, 16, 4), (8, 8, 4), (5, 3, 1), (13, 5, 5)]


def spec_of(rows, columns, lanes, **memory):
    memory = {
        "activation_bytes": 1 << 16,
        "weight_bytes": columns * 20000,
        "parameter_channels": lanes * 2000,
        **memory,
    }
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns),
        memory=MemorySpec(**memory),
        post=PostSpec(lanes=lanes),
    )


@pytest.fixture(params=ARRAYS, ids=lambda p: f"{p[0]}x{p[1]}")
def spec(request):
    return spec_of(*request.param)


def commands(model, opcode):
    return [c for c in decode(model.program.commands.tolist()) if c.opcode is opcode]


def test_first_layer_of_a_keyword_network(nets):
    """10 x 4 taps of one channel: three passes over gathered windows, five over the input."""
    net = nets.Net(1)
    x = net.input(49, 10, 1)
    a = net.conv(x, 64, kernel=(10, 4), strides=(2, 2), pads=(4, 5, 1, 1))
    model = nets.compare(net.graph(a), spec_of(*ARRAYS[0]))
    copies, matmuls = commands(model, Opcode.COPY), commands(model, Opcode.MATMUL)
    assert len(copies) == len(matmuls) >= 2
    assert {c["kc_count"] for c in matmuls} == {3} and {c["length"] for c in copies} == {4}
    runs = sum(c["d2_count"] * c["d1_count"] * c["d0_count"] for c in copies)
    assert runs == 5 * (2 * 24 + 10 + (len(copies) - 1) * (10 - 2))
    assert sum(m["t_count"] * m["my_count"] * m["mx_count"] for m in matmuls) == 125


def test_copies_run_ahead_of_the_array(nets):
    net = nets.Net(2)
    x = net.input(49, 10, 1)
    a = net.conv(x, 64, kernel=(10, 4), strides=(2, 2), pads=(4, 5, 1, 1))
    model = nets.compare(net.graph(a), spec_of(*ARRAYS[0]))
    order = [c.opcode for c in decode(model.program.commands.tolist())]
    order = [o for o in order if o in (Opcode.COPY, Opcode.MATMUL)]
    blocks = order.count(Opcode.COPY)
    wanted = [Opcode.COPY, *[Opcode.COPY, Opcode.MATMUL] * (blocks - 1), Opcode.MATMUL]
    assert order == wanted
    region = model.program.spec.region_stride
    for copy in commands(model, Opcode.COPY):
        assert copy["s_base"] // region != copy["d_base"] // region


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_gathered_layers(nets, spec, dtype):
    net = nets.Net(3, dtype)
    x, z = net.input(13, 9, 1), net.input(9, 8, 3)
    a = net.conv(x, 20, kernel=(10, 4), strides=(2, 2), pads=(4, 5, 1, 2))
    b = net.conv(z, 40, kernel=(3, 3), pads=(2, 2, 2, 2), dilations=(2, 2))
    c = net.binary(Op.ADD, net.conv(z, 33, kernel=(5, 2), pads=(2, 2, 1, 0), dtype=np.uint8),
                   net.input(1, 1, 33))  # fmt: skip
    nets.compare(net.graph(a, b, net.lut(c)), spec)


def test_some_layer_is_gathered_on_every_array(nets, spec):
    net = nets.Net(4)
    x = net.input(31, 12, 2)
    a = net.conv(x, 4 * spec.array.columns, kernel=(7, 2), pads=(3, 3, 0, 1))
    assert commands(nets.compare(net.graph(a), spec), Opcode.COPY)


def test_wide_rows_are_cut_into_tiles(nets):
    net = nets.Net(5)
    x = net.input(4, 31, 1)
    a = net.conv(x, 64, kernel=(8, 2), pads=(4, 3, 1, 0))
    model = nets.compare(net.graph(a), spec_of(16, 16, 16, accumulator_depth=20))
    copies, matmuls = commands(model, Opcode.COPY), commands(model, Opcode.MATMUL)
    assert {c["d2_count"] for c in copies} == {31}
    assert max(m["mx_count"] * m["my_count"] for m in matmuls) <= 20


def test_one_region_gathers_only_where_the_copies_pay_alone(nets):
    spec = spec_of(16, 16, 16, activation_regions=1)
    for channels, gathers in ((16, False), (128, True)):
        net = nets.Net(6)
        x = net.input(20, 10, 1)
        a = net.conv(x, channels, kernel=(10, 4), strides=(2, 2), pads=(4, 5, 1, 1))
        assert bool(commands(nets.compare(net.graph(a), spec), Opcode.COPY)) is gathers


@pytest.mark.parametrize(("height", "width", "depth"), [(1, 1, 4), (7, 5, 16), (3, 40, 12)])
def test_blocks_cover_the_image_once(height, width, depth):
    for blocks in _blocks(height, width, depth):
        seen = [(b.y + y, b.x + x) for b in blocks for y in range(b.height) for x in range(b.width)]
        assert sorted(seen) == [(y, x) for y in range(height) for x in range(width)]
        assert max(b.height for b in blocks) <= max(8, depth // width)


def test_neighbouring_outputs_share_the_columns(nets):
    """8 channels on 16 columns: pairs of outputs, in half as many vectors."""
    net = nets.Net(7)
    x = net.input(16, 16, 3)
    a = net.conv(x, 8, strides=(2, 2), pads=(0, 1, 0, 1))
    model = nets.compare(net.graph(a), spec_of(*ARRAYS[0]))
    vectors = [c["t_count"] * c["my_count"] * c["mx_count"] for c in commands(model, Opcode.MATMUL)]
    assert sum(vectors) == 8 * 4
    assert {c["channels"] for c in commands(model, Opcode.STORE)} == {16}


def test_shared_columns_behind_adds_and_dilations(nets, spec):
    net = nets.Net(8)
    x = net.input(5, 12, 3)
    a = net.conv(x, 1, kernel=(1, 1), pads=(0, 0, 0, 0))
    b = net.binary(Op.ADD, net.conv(x, 1, pads=(2, 2, 2, 2), dilations=(2, 2)), a)
    c = net.binary(Op.ADD, net.conv(b, 2, strides=(1, 3)), net.input(1, 1, 2))
    d = net.concat(net.conv(x, 2), net.conv(x, 1, kernel=(2, 3), pads=(1, 0, 1, 1)))
    nets.compare(net.graph(c, d), spec)
