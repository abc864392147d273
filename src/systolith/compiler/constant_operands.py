"""Products by a constant vector as what they are: depthwise convolutions of one tap."""

from dataclasses import replace

import numpy as np

from systolith.arithmetic import BinaryArithmetic, MacArithmetic
from systolith.graph import Graph, Node, Op, Tensor
from systolith.profiles.binary import product_requant

__all__ = ["fold_constants"]


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with products by a constant for each channel as depthwise convolutions.

    They need no second operand in memory. A product whose formula no requantizer has, and one by a
    constant that is the same for all channels, which is a table, stay as they are.
    """
    return replace(graph, nodes=tuple(_folded(graph, node) for node in graph.nodes))


def _folded(graph: Graph, node: Node) -> Node:
    if node.op is not Op.MUL:
        return node
    assert isinstance(node.arithmetic, BinaryArithmetic)
    a, b = (graph.tensor(name) for name in node.inputs)
    out, k = graph.tensor(node.outputs[0]), node.arithmetic
    requant = product_requant(k)
    if requant is None or (a.data is None) is (b.data is None):
        return node
    constant, codes, other, source = (a, k.a, b, k.b) if b.data is None else (b, k.b, a, k.a)
    if other.shape != out.shape or not _by_channel(constant, out.shape[2]):
        return node
    assert constant.data is not None
    return replace(
        node,
        op=Op.CONV2D,
        inputs=(other.name,),
        attributes={
            "kernel": (1, 1),
            "strides": (1, 1),
            "dilations": (1, 1),
            "pads": (0, 0, 0, 0),
            "groups": out.shape[2],
        },
        arithmetic=MacArithmetic(
            weights=constant.data.reshape(-1, 1, 1, 1),
            weight_zero_point=codes.zero_point,
            bias=np.zeros(out.shape[2], np.int32),
            input_zero_point=source.zero_point,
            requant=requant,
        ),
    )


def _by_channel(tensor: Tensor, channels: int) -> bool:
    """Whether a constant differs from channel to channel, and only there."""
    return tensor.shape == (1, 1, channels) and np.unique(np.asarray(tensor.data)).size > 1
