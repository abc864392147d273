"""Products of tensors: broadcast operands, constants, fusion, what becomes a table instead."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, decode

FORMULAS = ("tflite_mul", "tflm_mul", "xnnpack_mul", "onnxruntime_mul")


def spec(rows: int = 3, columns: int = 5, *, product: bool = True, **memory: int):
    wanted = {
        "activation_bytes": 8192,
        "weight_bytes": columns * 4096,
        "parameter_channels": columns * 256,
        "tables": 12,
        **memory,
    }
    post = PostSpec(lanes=columns, product=product)
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns), memory=MemorySpec(**wanted), post=post
    )


def stores(model):
    return [c for c in decode(model.program.commands.tolist()) if c.opcode is Opcode.STORE]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("fuse", [False, True])
def test_every_broadcast(nets, formula, dtype, fuse):
    net = nets.Net(5, dtype)
    shapes = [(6, 4, 7), (1, 1, 7), (6, 4, 1), (1, 1, 1), (6, 1, 7), (1, 4, 7), (1, 4, 1)]
    inputs = [net.input(*shape) for shape in shapes]
    x = inputs[0]
    pairs = [(x, y) for y in inputs[1:]] + [(inputs[1], x), (inputs[2], inputs[1])]
    pairs += [(inputs[4], inputs[5]), (inputs[6], inputs[4])]
    products = [net.binary(Op.MUL, a, b, formula) for a, b in pairs]
    sums = [net.binary(Op.ADD, inputs[2], products[0]), net.binary(Op.ADD, x, inputs[3])]
    model = nets.compare(net.graph(*products, *sums), spec(), fuse=fuse)
    assert sum(n.text.startswith("product") for n in model.notes) == len(pairs)


def test_behind_a_convolution(nets):
    """The product costs no pass of its own; the requantizer then leaves out the zero point."""
    net = nets.Net(3)
    x = net.input(6, 4, 7)
    a = net.conv(x, 7)
    b = net.binary(Op.MUL, x, a, "tflite_mul")
    c = net.lut(net.binary(Op.MUL, net.conv(b, 5), net.input(1, 1, 5), "xnnpack_mul"))
    model = nets.compare(net.graph(c), spec())
    assert len(model.program.layers) == 2
    assert all(s["r_product"] for s in stores(model))
    assert set(model.hidden) == {a, net.nodes[2].outputs[0], net.nodes[3].outputs[0]}
    texts = {note.name: note.text for note in model.notes}
    assert "product 'mul1' proven on every pair of codes" in texts["conv2d0"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_constants(nets, formula):
    net = nets.Net(6)
    x, gate = net.input(5, 4, 7), net.input(1, 1, 7)

    def constant(*shape):
        return net.tensor(shape, data=net.weights(*shape))

    outputs = [
        net.binary(Op.MUL, x, constant(1, 1, 7), formula),
        net.binary(Op.MUL, constant(1, 1, 7), x, formula),
        net.binary(Op.MUL, constant(5, 4, 7), gate, formula),
        net.binary(Op.MUL, constant(5, 4, 1), x, formula),
        net.binary(Op.ADD, net.conv(x, 7), constant(1, 1, 7)),
        net.binary(Op.SUB, constant(5, 1, 7), x, "tflite_sub"),
    ]
    nets.compare(net.graph(*outputs), spec(command_words=16384))


@pytest.mark.parametrize("formula", ["tflite_mul", "xnnpack_mul"])
def test_a_constant_vector_needs_no_product(nets, formula):
    """It is a depthwise convolution of one tap, on any accelerator."""
    net = nets.Net(6)
    x = net.input(5, 4, 7)
    scale = net.tensor((1, 1, 7), data=net.weights(1, 1, 7))
    graph = net.graph(net.binary(Op.MUL, x, scale, formula))
    model = nets.compare(graph, spec(product=False, tables=0))
    assert not any(s["residual"] for s in stores(model))


def test_constants_from_external_memory(nets):
    """A constant that does not fit on chip is part of the image."""
    net = nets.Net(8)
    x = net.input(24, 8, 9)
    big = net.tensor((24, 8, 9), data=net.weights(24, 8, 9))
    y = net.binary(Op.MUL, net.conv(x, 9), big, "onnxruntime_mul")
    small = replace(
        spec(4, 4, activation_bytes=1024, command_words=1024), external=ExternalSpec(data_bytes=4)
    )
    model = nets.compare(net.graph(net.binary(Op.MUL, net.input(1, 1, 9), y, "tflite_mul")), small)
    data = net.tensors[big].data
    assert data.tobytes() in model.program.external.tobytes()


def test_functions_of_one_tensor(nets):
    """Products of a tensor with itself or a table of it, and chains of tables, are tables."""
    net = nets.Net(5)
    x = net.input(5, 6, 7)
    a = net.conv(x, 7)
    swish = net.binary(Op.MUL, a, net.lut(a), "tflite_mul")
    b = net.conv(swish, 5)
    three = net.tensor((1, 1, 1), data=np.full((1, 1, 1), 40, np.int8))
    gate = net.lut(net.lut(net.binary(Op.ADD, b, three)))
    hard_swish = net.binary(Op.MUL, gate, b, "tflite_mul")
    square = net.binary(Op.MUL, hard_swish, hard_swish, "tflite_mul")
    kept = net.lut(x)
    joined = net.binary(Op.ADD, net.lut(kept), kept)
    graph = net.graph(square, kept, joined)
    model = nets.compare(graph, spec(product=False))
    # Both convolutions with all behind them, the table that is an output, and the one behind it.
    assert [layer.name for layer in model.program.layers] == ["conv2d0", "conv2d3", "lut9", "add11"]
    nets.compare(graph, spec(product=False, tables=16), fuse=False)
    plain = nets.compare(graph, spec(), fuse=False)
    assert not plain.hidden
    assert [n.name for n in plain.notes if n.text.startswith("product")] == ["mul2", "mul7"]


def test_both_operands_thin(nets):
    net = nets.Net(1)
    a, b = net.input(6, 1, 1), net.input(1, 4, 1)
    graph = net.graph(net.binary(Op.MUL, a, b, "tflite_mul"))
    nets.compare(graph, spec())
    wide = replace(graph.nodes[0], outputs=("wide",))
    tensors = {**graph.tensors, "wide": replace(graph.tensors[a], name="wide", shape=(6, 4, 2))}
    bad = replace(graph, nodes=(wide,), tensors=tensors, outputs=("wide",))
    with pytest.raises(CompileError, match="'mul0' .* both operands are broadcast over channels"):
        compile_graph(bad, spec())
