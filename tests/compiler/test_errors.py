"""What does not fit is refused in one line that says what to do."""

from dataclasses import replace

import pytest

from systolith.compiler.compile import compile_graph
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.configuration import load_spec


def limited(**memory):
    spec = load_spec("tiny")
    return replace(spec, memory=replace(spec.memory, **memory))


@pytest.fixture
def graph(nets):
    net = nets.Net(1)
    x = net.input(8, 8, 8)
    return net.graph(net.lut(net.conv(net.lut(net.conv(x, 8)), 8)))


@pytest.mark.parametrize(
    ("memory", "text"),
    [
        (
            {"activation_bytes": 512},
            "layer 't0': activation memory needs 728 bytes in one region for tensor 't0',",
        ),
        (
            {"activation_bytes": 1024, "activation_regions": 1},
            "layer 'conv2d0': 1456 bytes of activations are live at once, which do not fit 1 r",
        ),
        (
            {"weight_bytes": 1024},
            "memory.weight_bytes must be at least 1152 for this network, not 1024: raise mem",
        ),
        (
            {"parameter_channels": 8},
            "memory.parameter_channels must be at least 16 for this network, not 8: raise m",
        ),
        ({"tables": 1}, "memory.tables must be at least 2 for this network, not 1: raise memory"),
        ({"tables": 0}, "layer 'lut1' (LUT): memory.tables is 0; set memory.tables to at least 1"),
        ({"command_words": 64}, "memory.command_words must be at least"),
    ],
)
def test_memories(graph, memory, text):
    with pytest.raises(CompileError) as caught:
        compile_graph(graph, limited(**memory))
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_stamps(nets):
    net = nets.Net(1)
    x = net.input(2, 2, 2)
    for _ in range(3):
        x = net.conv(x, 2)
    with pytest.raises(CompileError, match=r"^memory.stamps must be at least 3 for this network"):
        compile_graph(net.graph(x), limited(stamps=2))


def test_products_of_tensors(nets):
    net = nets.Net(1)
    a, b = net.input(2, 2, 2), net.input(2, 2, 2)
    graph = net.graph(net.binary(Op.MUL, a, b, "tflite_mul"))
    wanted = r"^layer 'mul0' \(MUL\): post.product is false; set post.product = true$"
    with pytest.raises(CompileError, match=wanted):
        compile_graph(graph, load_spec("tiny"))
    spec = load_spec("tiny")
    spec = replace(spec, post=replace(spec.post, residual=False))
    with pytest.raises(CompileError, match=r"set post.residual = true and post.product = true$"):
        compile_graph(graph, spec)
    nets.compare(graph, load_spec("base"))


def test_scales_without_a_product(nets):
    """At 2 / 7 of a code, float32 rounds some ties to themselves and others off them."""
    net = nets.Net(1)
    a, b = net.input(2, 2, 2), net.input(2, 2, 2)
    target = net.binary(Op.MUL, a, b, "xnnpack_mul")
    k = net.nodes[-1].arithmetic
    codes = [
        replace(c, scale=s, zero_point=0)
        for c, s in zip((k.a, k.b, k.out), (1, 1, 28), strict=True)
    ]
    k = replace(k, a=codes[0], b=codes[1], out=codes[2], low=-128)
    object.__setattr__(net.nodes[-1], "arithmetic", k)
    wanted = (
        r"^layer 'mul0' \(MUL\): no residual product equals formula 'xnnpack_mul' on every pair of "
        r"codes; use another profile, or give the layer other scales$"
    )
    with pytest.raises(CompileError, match=wanted):
        compile_graph(net.graph(target), load_spec("base"))


def test_no_residual(nets):
    net = nets.Net(1)
    a, b = net.input(2, 2, 2), net.input(2, 2, 2)
    spec = load_spec("tiny")
    spec = replace(spec, post=replace(spec.post, residual=False))
    wanted = r"^layer 'add0' \(ADD\): post.residual is false; set post.residual = true$"
    with pytest.raises(CompileError, match=wanted):
        compile_graph(net.graph(net.binary(Op.ADD, a, b)), spec)


def test_host_operators_inside(nets):
    net = nets.Net(1)
    x = net.input(1, 1, 8)
    graph = net.graph(net.dense(net.node(Op.SOFTMAX, [x], (1, 1, 8)), 4))
    with pytest.raises(CompileError, match=r"^layer 'softmax0' \(SOFTMAX\): softmax is computed"):
        compile_graph(graph, load_spec("tiny"))


def test_constant_operands(nets):
    net = nets.Net(1)
    constants = [net.tensor((1, 2, 2), data=net.weights(1, 2, 2)) for _ in range(2)]
    graph = net.graph(net.binary(Op.ADD, *constants))
    with pytest.raises(CompileError, match=r"^layer 'add0' \(ADD\): both operands are constant"):
        compile_graph(graph, load_spec("base"))


def test_no_unit_move(nets):
    """Padding is filled by the unit; networks without do without it."""
    spec = replace(load_spec("tiny"), moves=False)
    net = nets.Net(1)
    padded = net.graph(net.conv(net.input(4, 4, 2), 4, pads=(1, 1, 1, 1)))
    wanted = r"^layer '\w+': needs a FILL .* no unit MOVE: set moves to true$"
    with pytest.raises(CompileError, match=wanted):
        compile_graph(padded, spec)
    net = nets.Net(1)
    x = net.conv(net.input(4, 4, 2), 4, pads=(0,) * 4)
    nets.compare(net.graph(net.conv(x, 8, kernel=(2, 2), pads=(0,) * 4)), spec)


def test_narrow_counts(nets):
    """75 passes of 4 rows are more than 63; 7 bits hold them."""
    net = nets.Net(1)
    graph = net.graph(net.dense(net.input(1, 1, 300), 4))
    spec = replace(load_spec("tiny"), count_bits=6)
    wanted = r"^layer '\w+': k\w_count of MATMUL must be at most 63, not 75: set count_bits to 7$"
    with pytest.raises(CompileError, match=wanted):
        compile_graph(graph, spec)
    nets.compare(graph, replace(spec, count_bits=7))
