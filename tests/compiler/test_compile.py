"""Compiled programs against the runtime's formulas, layer by layer, on many arrays."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.compiler.compile import compile_graph
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.configuration import load_spec
from systolith.spec.program import Program
from systolith.spec.requant import RequantMode

ARRAYS = [(4, 4, 1), (8, 8, 4), (8, 16, 8), (13, 5, 5), (16, 16, 8), (32, 32, 16), (1, 1, 1)]


def spec_of(rows, columns, lanes, **memory):
    memory = {
        "activation_bytes": 1 << 16,
        "weight_bytes": columns * 20000,
        "parameter_channels": lanes * 2000,
        "accumulator_depth": 24,
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


@pytest.mark.parametrize("formula", ["double", "float32", "f64away"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_convolutions(nets, spec, formula, dtype):
    net = nets.Net(1, dtype, formula)
    x = net.input(9, 7, 5)
    a = net.conv(x, 6)
    b = net.conv(a, 11, kernel=(2, 3), strides=(2, 1), pads=(0, 1, 2, 0))
    c = net.conv(b, 9, kernel=(1, 1), pads=(0, 0, 0, 0), dtype=np.uint8)
    d = net.conv(c, 4, kernel=(2, 3), pads=(1, 1, 2, 2), dilations=(2, 2))
    nets.compare(net.graph(d), spec)


def test_grouped_convolutions(nets, spec):
    net = nets.Net(2)
    x = net.input(6, 5, 12)
    a = net.conv(x, 12, groups=12)
    b = net.conv(a, 24, groups=12, strides=(2, 2))
    c = net.conv(b, 6, groups=3, kernel=(1, 2), pads=(0, 0, 0, 1))
    d = net.conv(c, 66, groups=2)
    nets.compare(net.graph(d), spec)


def test_pools_clip_their_windows(nets, spec):
    net = nets.Net(3)
    x = net.input(7, 8, 18)
    a = net.pool(Op.MAX_POOL, x, (3, 3), (2, 2), (1, 1, 1, 1))
    b = net.pool(Op.AVG_POOL, x, (3, 2), (1, 2), (1, 1, 1, 0))
    c = net.pool(Op.AVG_POOL, a, (4, 4), (1, 1), (0, 0, 0, 0))
    d = net.pool(Op.MAX_POOL, x, (2, 3), (1, 1), (0, 1, 2, 1), (2, 2))
    nets.compare(net.graph(b, c, d), spec)


def test_unsigned_pools(nets, spec):
    net = nets.Net(4, "uint8")
    x = net.input(6, 6, 4)
    a = net.pool(Op.MAX_POOL, x, (3, 3), (1, 1), (1, 1, 1, 1))
    b = net.pool(Op.AVG_POOL, a, (6, 6), (6, 6), (0, 0, 0, 0))
    nets.compare(net.graph(b), spec)


@pytest.mark.parametrize("fuse", [True, False])
def test_adds_and_tables(nets, spec, fuse):
    net = nets.Net(5)
    x, other = net.input(6, 6, 7), net.input(1, 1, 7)
    a = net.conv(x, 7)
    b = net.conv(a, 7)
    c = net.binary(Op.ADD, a, b)
    d = net.lut(c)
    e = net.binary(Op.SUB, d, x, "tflite_sub")
    f = net.binary(Op.ADD, net.lut(x), other)
    g = net.binary(Op.ADD, e, f)
    h = net.binary(Op.ADD, net.lut(g), g)
    model = nets.compare(net.graph(h), spec, fuse=fuse)
    assert bool(model.hidden) is fuse


def test_operands_that_make_tables(nets, spec):
    net = nets.Net(6)
    x = net.input(3, 4, 5)
    one = net.tensor((1, 1, 1), data=np.full((1, 1, 1), 77, np.int8))
    a = net.binary(Op.MUL, x, one, "tflite_mul")
    b = net.binary(Op.ADD, a, a)
    nets.compare(net.graph(b), spec)


def test_pads_and_concatenations(nets, spec):
    net = nets.Net(7)
    x = net.input(5, 6, 4)
    a = net.conv(x, 3)
    b = net.pool(Op.MAX_POOL, x, (1, 1), (1, 1), (0, 0, 0, 0))
    c = net.concat(a, b, x)
    d = net.pad(c, (1, 2, 0, 1))
    e = net.conv(d, 5)
    f = net.pad(net.conv(e, 2), (0, 1, 1, 0), (1, 2))
    g = net.concat(e, e, tables=True)
    h = net.concat(g, g, axis=0)
    i = net.concat(f, net.pad(f, (0, 0, 0, 0), (3, 0)))
    nets.compare(net.graph(h, i), spec)


def test_reshapes(nets, spec):
    net = nets.Net(8)
    x = net.input(1, 1, 96)
    image = net.reshape(x, 4, 6, 4)
    a = net.conv(image, 4)
    rows = net.reshape(a, 1, 24, 4)
    b = net.dense(rows, 5)
    c = net.conv(a, 3)
    flat = net.reshape(a, 1, 1, 96)
    d = net.dense(flat, 7)
    e = net.reshape(b, 1, 1, 120)
    nets.compare(net.graph(c, d, e), spec)


def test_wide_rows_are_cut_into_strips(nets):
    net = nets.Net(9)
    x = net.input(3, 61, 3)
    a = net.conv(x, 5)
    b = net.conv(a, 5, kernel=(1, 1), pads=(0, 0, 0, 0))
    c = net.pool(Op.MAX_POOL, b, (2, 2), (2, 2), (0, 0, 0, 0))
    nets.compare(net.graph(c), spec_of(8, 8, 4, accumulator_depth=7))


@pytest.mark.parametrize("modes", [[m] for m in RequantMode], ids=lambda m: m[0].name.lower())
def test_one_mode_is_enough_where_it_is_proven(nets, modes):
    formulas = {RequantMode.FIXED: "f64away", RequantMode.MAGNITUDE: "double"}
    net = nets.Net(10, "int8", formulas.get(modes[0], modes[0].name.lower()))
    x = net.input(5, 5, 3)
    a = net.conv(x, 4)
    b = net.binary(Op.ADD, net.pool(Op.MAX_POOL, a, (1, 1), (1, 1), (0, 0, 0, 0)), a)
    spec = spec_of(8, 8, 4)
    spec = replace(spec, post=replace(spec.post, modes=frozenset(modes)))
    nets.compare(net.graph(b), spec)


def only(spec, mode):
    return replace(spec, post=replace(spec.post, modes=frozenset([mode])))


def test_fixed_replaces_float32(nets):
    net = nets.Net(11, "int8", "float32")
    a = net.conv(net.input(5, 5, 3), 4)
    model = nets.compare(net.graph(a), only(spec_of(8, 8, 4), RequantMode.FIXED))
    assert model.notes[0].text.startswith("float32 formula = fixed ")


def test_a_mode_that_cannot_be_replaced_is_named(nets):
    net = nets.Net(11, "int8", "double")
    graph = net.graph(net.conv(net.input(5, 5, 3), 4))
    wanted = (
        r"^layer 'conv2d0' \(CONV2D\): formula 'double' is not proven equal to any of the modes "
        r"fixed; channel \d equals fixed at no width; add 'double' to post.modes$"
    )
    with pytest.raises(CompileError, match=wanted):
        compile_graph(graph, only(spec_of(8, 8, 4), RequantMode.FIXED))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_networks(nets, data):
    draw = data.draw
    size = st.integers(1, 9)
    net = nets.Net(draw(st.integers(0, 1 << 20)), draw(st.sampled_from(["int8", "uint8"])))
    x = net.input(draw(size), draw(size), draw(st.integers(1, 20)))
    for _ in range(draw(st.integers(1, 4))):
        x = _random_layer(net, x, draw)
    spec = spec_of(*draw(st.sampled_from(ARRAYS)), accumulator_depth=draw(st.integers(4, 40)))
    spec = replace(spec, queue_depth=draw(st.integers(1, 3)))
    nets.compare(net.graph(x), spec, fuse=draw(st.booleans()))


def _random_layer(net, x, draw):
    height, width, depth = net.tensors[x].shape
    kernel = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    strides = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pads = tuple(draw(st.integers(0, n - 1)) for n in (kernel[0],) * 2 + (kernel[1],) * 2)
    kind = draw(st.sampled_from(["conv", "depthwise", "max", "avg", "add", "pad", "concat"]))
    if kind == "conv":
        return net.conv(x, draw(st.integers(1, 20)), kernel, strides, pads)
    if kind == "depthwise":
        return net.conv(x, depth * draw(st.integers(1, 2)), kernel, strides, pads, groups=depth)
    if kind in ("max", "avg"):
        op = Op.MAX_POOL if kind == "max" else Op.AVG_POOL
        return net.pool(op, x, kernel, strides, pads)
    if kind == "add":
        return net.binary(Op.ADD, x, net.conv(x, depth, (1, 1), pads=(0, 0, 0, 0)))
    if kind == "pad":
        return net.pad(x, pads)
    return net.concat(x, net.conv(x, 3, (1, 1), pads=(0, 0, 0, 0)))


def test_programs_survive_serialization(nets):
    net = nets.Net(12)
    model = nets.compare(net.graph(net.conv(net.input(4, 4, 3), 4)), load_spec("tiny"))
    data = model.program.to_bytes()
    assert Program.from_bytes(data).to_bytes() == data


def test_a_copied_tensor_is_complete_at_its_stamp(nets, spec):
    net = nets.Net(13)
    x = net.lut(net.input(6, 2, 9))
    padded = net.pad(x, (2, 1, 1, 2))
    other = net.conv(x, 5, kernel=(2, 2))
    model = nets.compare(net.graph(net.lut(padded), other), spec)
    assert {n.name: n.text for n in model.notes}["pad1"].startswith("copied")
