"""The fewest cycles any rows x columns array needs for a graph: what reports compare with.

A layer is a GEMM of M output pixels, N output channels and reduction K, times G groups.
With tiles that follow each other without a bubble, an array of R x C multipliers needs at least

- weight-stationary: ``ceil(K/R) * ceil(N/C) * max(M, R)``,
- output-stationary: ``ceil(M/R) * ceil(N/C) * max(K, R)`` (or rows and columns exchanged),
- input-stationary:  ``ceil(K/R) * ceil(M/C) * max(N, R)``,

the least of which is the mapping bound. Where a convolution has few channels, g neighbouring output
pixels may share the columns: weight-stationary with N*g columns and the union of their windows as
the reduction. A depthwise layer whose array has column lanes (a channel a
column, a tap a row) needs ``M * ceil(channels/C) * ceil(taps/R)``, fewer when several pixels fit.

Where the array multiplies 4-bit weights and a layer has such, N counts half (W4A8); where its
activations have at most 16 codes, too, K may count half instead (W4A4), and the weights' bytes
count half either way. Where it takes two of four weights and a layer has such, K counts half, too,
and the weights' bytes 5/8.

The memory bound is bytes that must cross the external memory interface over its bytes a cycle:
weights, and the network's own input and output, as activations stay on chip where they fit.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from systolith.arithmetic import MacArithmetic
from systolith.graph import Graph, Node, Op
from systolith.spec.precision import Precision

__all__ = ["LayerFloor", "graph_floor", "layer_floors"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFloor:
    """Bounds of one layer.

    Parameters
    ----------
    name: the node's name.
    macs: multiply-accumulates.
    ideal: macs over the array's multipliers, cycles.
    mapping: cycles of the best of the mappings above.
    memory: cycles to move its weights (and the network's input or output) at the given bandwidth.
    precision: with which `mapping` is reached.
    sparse: whether it is reached with two of four weights.
    """

    name: str
    macs: int
    ideal: float
    mapping: int
    memory: float
    precision: Precision = Precision.W8A8
    sparse: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Array:
    """An array in one precision.

    Parameters
    ----------
    rows, columns: its elements.
    wide: output channels that an element computes at once.
    deep: products of a sum that it computes at once.
    """

    rows: int
    columns: int
    wide: int = 1
    deep: int = 1


def _up(a: int, b: int) -> int:
    return -(-a // b)


def _gemm(m: int, n: int, k: int, array: _Array) -> int:
    """Mapping bound of one dense GEMM."""
    rows, columns = array.rows, array.columns
    n, k = _up(n, array.wide), _up(k, array.deep)
    weight = _up(k, rows) * _up(n, columns) * max(m, rows)
    blocks = min(_up(m, rows) * _up(n, columns), _up(m, columns) * _up(n, rows))
    output = blocks * max(k, rows)
    inputs = _up(k, rows) * _up(m, columns) * max(n, rows)
    return min(weight, output, inputs)


def _shared(node: Node, shape: tuple[int, int, int], inputs: int, array: _Array) -> int:
    """Least bound of a convolution whose neighbouring outputs of a row share the columns."""
    height, width, channels = shape
    (kh, kw), (_, step) = node.attributes["kernel"], node.attributes["strides"]
    reach = (kw - 1) * node.attributes["dilations"][1] + 1
    columns, depth = array.columns * array.wide, array.rows * array.deep

    def cycles(pixels: int) -> int:
        window = kh * ((pixels - 1) * step + reach) * inputs
        vectors = height * _up(width, pixels)
        return _up(window, depth) * _up(channels * pixels, columns) * max(vectors, array.rows)

    return min(cycles(pixels) for pixels in range(1, max(1, columns // channels) + 1))


def _depthwise(m: int, channels: int, taps: int, rows: int, columns: int) -> int:
    """Column-lane bound: several output pixels share a column where the taps leave rows free."""
    if rows >= 2 * taps:
        return _up(m, rows // taps) * _up(channels, columns)
    return m * _up(channels, columns) * _up(taps, rows)


def _mapping(graph: Graph, node: Node, array: _Array) -> int:
    arithmetic = node.arithmetic
    assert isinstance(arithmetic, MacArithmetic)
    height, width, channels = graph.tensor(node.outputs[0]).shape
    groups = node.attributes.get("groups", 1)
    reduction = arithmetic.weights[0].size
    taps = reduction // arithmetic.weights.shape[-1]
    pixels = height * width
    if groups > 1 and arithmetic.weights.shape[-1] == 1:
        return _depthwise(pixels, channels, taps, array.rows, array.columns)
    bound = groups * _gemm(pixels, channels // groups, reduction, array)
    if node.op is Op.CONV2D and groups == 1:
        inputs = arithmetic.weights.shape[-1]
        bound = min(bound, _shared(node, (height, width, channels), inputs, array))
    return bound


def _few_codes(graph: Graph, name: str) -> bool:
    """Whether a layer with weights makes a tensor of at most 16 codes."""
    maker = graph.producer(name)
    if maker is None or not isinstance(maker.arithmetic, MacArithmetic):
        return False
    return maker.arithmetic.requant.high - maker.arithmetic.requant.low < 16


def _factors(
    graph: Graph, node: Node, precisions: AbstractSet[Precision]
) -> dict[Precision, tuple[int, int]]:
    """The precisions that are exact for a layer: its channels and its sums count by these parts."""
    assert isinstance(node.arithmetic, MacArithmetic)
    low, high = node.arithmetic.weight_range
    found = {Precision.W8A8: (1, 1)}
    if high - low < 16:
        found[Precision.W4A8] = (2, 1)
        if _few_codes(graph, node.inputs[0]):
            found[Precision.W4A4] = (1, 2)
    return {precision: parts for precision, parts in found.items() if precision in precisions}


def _two_of_four(node: Node) -> bool:
    """Whether of four neighbouring inputs' weights two at most are not 0."""
    assert isinstance(node.arithmetic, MacArithmetic)
    weights = node.arithmetic.weights
    if node.attributes.get("groups", 1) > 1 or weights.shape[-1] % 4:
        return False
    used = weights.astype(np.int64) != node.arithmetic.weight_zero_point
    return bool((used.reshape(-1, 4).sum(axis=1) <= 2).all())


def layer_floors(
    graph: Graph,
    rows: int,
    columns: int,
    *,
    bytes_per_cycle: int = 16,
    precisions: AbstractSet[Precision] = frozenset({Precision.W8A8}),
    sparse: bool = False,
) -> list[LayerFloor]:
    """Bounds of every layer with weights, in order.

    Parameters
    ----------
    graph: the network.
    rows, columns: of the array.
    bytes_per_cycle: of external memory.
    precisions: of the array.
    sparse: whether it takes two of four weights.
    """
    floors = []
    for node in graph.nodes:
        if node.op not in (Op.CONV2D, Op.FULLY_CONNECTED):
            continue
        arithmetic = node.arithmetic
        assert isinstance(arithmetic, MacArithmetic)
        factors = _factors(graph, node, precisions)
        options = [(name, False, parts) for name, parts in factors.items()]
        pruned = sparse and _two_of_four(node)
        options += [(Precision.W8A8, True, (1, 2))] if pruned else []
        found = []
        for name, half, (wide, deep) in options:
            array = _Array(rows=rows, columns=columns, wide=wide, deep=deep)
            found.append((_mapping(graph, node, array), name, half))
        mapping, precision, halved = min(found, key=lambda way: way[0])
        share = 1 / 2 if len(factors) > 1 else 5 / 8 if pruned else 1
        floors.append(
            LayerFloor(
                name=node.name,
                macs=graph.macs(node),
                ideal=graph.macs(node) / (rows * columns),
                mapping=mapping,
                memory=arithmetic.weights.size * share / bytes_per_cycle,
                precision=precision,
                sparse=halved,
            )
        )
    return floors


def graph_floor(
    graph: Graph,
    rows: int,
    columns: int,
    *,
    bytes_per_cycle: int = 16,
    precisions: AbstractSet[Precision] = frozenset({Precision.W8A8}),
    sparse: bool = False,
) -> float:
    """Cycles below which the whole network cannot run: the greater of mapping and memory bound."""
    floors = layer_floors(
        graph,
        rows,
        columns,
        bytes_per_cycle=bytes_per_cycle,
        precisions=precisions,
        sparse=sparse,
    )
    edges = sum(graph.tensor(name).size for name in (*graph.inputs, *graph.outputs))
    memory = sum(f.memory for f in floors) + edges / bytes_per_cycle
    return max(sum(f.mapping for f in floors), memory)
