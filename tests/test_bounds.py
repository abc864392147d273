"""Floors of layers: precisions halve what they can, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.arithmetic import MacArithmetic, Requant
from systolith.bounds import graph_floor, layer_floors
from systolith.graph import Graph, Node, Op, Tensor
from systolith.spec.precision import Precision

ALL = frozenset(Precision)


def conv(
    index: int, channels: int, depth: int, *, low: int = -8, clamp: int = 127, groups: int = 1
) -> Node:
    """A 3x3 convolution with weights from ``low`` to ``low + 15``."""
    codes = np.arange(channels * 9 * depth) % 16 + low
    arithmetic = MacArithmetic(
        weights=codes.astype(np.int8).reshape(channels, 3, 3, depth),
        weight_zero_point=0,
        bias=np.zeros(channels, np.int32),
        input_zero_point=0,
        requant=Requant(formula="double", zero_point=0, low=-128, high=clamp, scale=np.ones(1)),
    )
    return Node(
        name=f"conv{index}",
        op=Op.CONV2D,
        inputs=(f"t{index}",),
        outputs=(f"t{index + 1}",),
        arithmetic=arithmetic,
        attributes={
            "kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1),
            "groups": groups,
        },
    )  # fmt: skip


def chain(*nodes: Node, size: int = 16) -> Graph:
    """Layers one after the other."""
    tensors = {}
    for index, node in enumerate(nodes):
        assert isinstance(node.arithmetic, MacArithmetic)
        depth = node.arithmetic.weights.shape[3] * node.attributes["groups"]
        shapes = {index: depth, index + 1: len(node.arithmetic.weights)}
        for number, channels in shapes.items():
            name = f"t{number}"
            tensors[name] = Tensor(name=name, shape=(size, size, channels), dtype="int8")
    return Graph(
        name="net",
        nodes=nodes,
        tensors=tensors,
        inputs=("t0",),
        outputs=(f"t{len(nodes)}",),
        profile="test",
    )


def test_weights_of_4_bits_take_half() -> None:
    graph = chain(conv(0, 32, 16))
    (wide,) = layer_floors(graph, 16, 16)
    (narrow,) = layer_floors(graph, 16, 16, precisions=ALL)
    assert (wide.mapping, wide.precision) == (9 * 2 * 256, Precision.W8A8)
    assert (narrow.mapping, narrow.precision) == (9 * 256, Precision.W4A8)
    assert narrow.memory == wide.memory / 2
    assert graph_floor(graph, 16, 16, precisions=ALL) < graph_floor(graph, 16, 16)


def test_two_outputs_beside_each_other() -> None:
    """As many channels as columns: a window one pixel wider, 12 passes of 9, half the vectors."""
    (floor,) = layer_floors(chain(conv(0, 16, 16)), 16, 16, precisions=ALL)
    assert (floor.mapping, floor.precision) == (12 * 128, Precision.W4A8)


def test_activations_of_4_bits() -> None:
    graph = chain(conv(0, 16, 16, clamp=-113), conv(1, 16, 16))
    floors = layer_floors(graph, 16, 16, precisions=ALL)
    assert [f.precision for f in floors] == [Precision.W4A8, Precision.W4A4]
    assert floors[1].mapping == 16 * 9 * 16 // 2  # sums stay, 16 pixels at a time


@pytest.mark.parametrize("node", [conv(0, 32, 16, low=1), conv(0, 32, 1, groups=32)])
def test_what_does_not_gain(node: Node) -> None:
    graph = chain(node)
    assert (
        layer_floors(graph, 16, 16, precisions=ALL)[0].mapping
        == layer_floors(graph, 16, 16)[0].mapping
    )


def test_two_of_four_weights_take_half() -> None:
    """Of a layer that has such, on an array that takes them."""
    node = conv(0, 32, 16)
    weights = np.array(node.arithmetic.weights)
    weights[..., 1::2] = node.arithmetic.weight_zero_point
    pruned = chain(replace(node, arithmetic=replace(node.arithmetic, weights=weights)))
    (dense,) = layer_floors(pruned, 16, 16)
    (half,) = layer_floors(pruned, 16, 16, sparse=True)
    assert (half.mapping, half.sparse) == (dense.mapping // 2, True)
    assert half.memory == dense.memory * 5 / 8 and not dense.sparse
    assert graph_floor(pruned, 16, 16, sparse=True) < graph_floor(pruned, 16, 16)
    (same,) = layer_floors(chain(node), 16, 16, sparse=True)
    assert (same.mapping, same.sparse) == (dense.mapping, False)


def test_precisions_that_are_not_built() -> None:
    graph = chain(conv(0, 16, 16, clamp=-113), conv(1, 32, 16))
    only = frozenset({Precision.W8A8, Precision.W4A4})
    assert [f.precision for f in layer_floors(graph, 16, 16, precisions=only)] == [
        Precision.W8A8,
        Precision.W4A4,
    ]


def test_weights_beside_zero_count_with_zero() -> None:
    node = conv(0, 32, 16, low=-16)
    arithmetic = replace(node.arithmetic, weight_zero_point=-1)  # 0.0 is one of the 16 codes
    moved = replace(node, arithmetic=arithmetic)
    for each, precision in ((node, Precision.W8A8), (moved, Precision.W4A8)):
        assert layer_floors(chain(each), 16, 16, precisions=ALL)[0].precision is precision
