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
The memory bound is bytes that must cross the external memory interface over its bytes a cycle:
weights, and the network's own input and output, as activations stay on chip where they fit.
"""

from dataclasses import dataclass

from systolith.arithmetic import MacArithmetic
from systolith.graph import Graph, Node, Op

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
    """

    name: str
    macs: int
    ideal: float
    mapping: int
    memory: float


def _up(a: int, b: int) -> int:
    return -(-a // b)


def _gemm(m: int, n: int, k: int, rows: int, columns: int) -> int:
    """Mapping bound of one dense GEMM."""
    weight = _up(k, rows) * _up(n, columns) * max(m, rows)
    blocks = min(_up(m, rows) * _up(n, columns), _up(m, columns) * _up(n, rows))
    output = blocks * max(k, rows)
    inputs = _up(k, rows) * _up(m, columns) * max(n, rows)
    return min(weight, output, inputs)


def _shared(node: Node, shape: tuple[int, int, int], inputs: int, rows: int, columns: int) -> int:
    """Least bound of a convolution whose neighbouring outputs of a row share the columns."""
    height, width, channels = shape
    (kh, kw), (_, step) = node.attributes["kernel"], node.attributes["strides"]
    reach = (kw - 1) * node.attributes["dilations"][1] + 1

    def cycles(pixels: int) -> int:
        window = kh * ((pixels - 1) * step + reach) * inputs
        vectors = height * _up(width, pixels)
        return _up(window, rows) * _up(channels * pixels, columns) * max(vectors, rows)

    return min(cycles(pixels) for pixels in range(1, max(1, columns // channels) + 1))


def _depthwise(m: int, channels: int, taps: int, rows: int, columns: int) -> int:
    """Column-lane bound: several output pixels share a column where the taps leave rows free."""
    if rows >= 2 * taps:
        return _up(m, rows // taps) * _up(channels, columns)
    return m * _up(channels, columns) * _up(taps, rows)


def _mapping(graph: Graph, node: Node, rows: int, columns: int) -> int:
    arithmetic = node.arithmetic
    assert isinstance(arithmetic, MacArithmetic)
    height, width, channels = graph.tensor(node.outputs[0]).shape
    groups = node.attributes.get("groups", 1)
    reduction = arithmetic.weights[0].size
    taps = reduction // arithmetic.weights.shape[-1]
    pixels = height * width
    if groups > 1 and arithmetic.weights.shape[-1] == 1:
        return _depthwise(pixels, channels, taps, rows, columns)
    bound = groups * _gemm(pixels, channels // groups, reduction, rows, columns)
    if node.op is Op.CONV2D and groups == 1:
        inputs = arithmetic.weights.shape[-1]
        bound = min(bound, _shared(node, (height, width, channels), inputs, rows, columns))
    return bound


def layer_floors(
    graph: Graph, rows: int, columns: int, *, bytes_per_cycle: int = 16
) -> list[LayerFloor]:
    """Bounds of every layer with weights, in order."""
    floors = []
    for node in graph.nodes:
        if node.op not in (Op.CONV2D, Op.FULLY_CONNECTED):
            continue
        arithmetic = node.arithmetic
        assert isinstance(arithmetic, MacArithmetic)
        traffic = arithmetic.weights.size
        floors.append(
            LayerFloor(
                name=node.name,
                macs=graph.macs(node),
                ideal=graph.macs(node) / (rows * columns),
                mapping=_mapping(graph, node, rows, columns),
                memory=traffic / bytes_per_cycle,
            )
        )
    return floors


def graph_floor(graph: Graph, rows: int, columns: int, *, bytes_per_cycle: int = 16) -> float:
    """Cycles below which the whole network cannot run: the greater of mapping and memory bound."""
    floors = layer_floors(graph, rows, columns, bytes_per_cycle=bytes_per_cycle)
    edges = sum(graph.tensor(name).size for name in (*graph.inputs, *graph.outputs))
    memory = sum(f.memory for f in floors) + edges / bytes_per_cycle
    return max(sum(f.mapping for f in floors), memory)
