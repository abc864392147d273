"""What a network needs: operators, sizes, accumulator widths, and where each layer would run."""

from dataclasses import dataclass

import numpy as np

from systolith.arithmetic import MacArithmetic
from systolith.graph import Graph, Node

__all__ = ["NodeFacts", "accumulator_bits", "inspect_graph"]


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One layer.

    Parameters
    ----------
    name, op, source_op: node, the graph's operator, the model file's.
    inputs, output: canonical shapes.
    dtype: of the output.
    macs: multiply-accumulates.
    parameters: weights and biases.
    accumulator_bits: two's complement bits that no input can exceed, or None.
    """

    name: str
    op: str
    source_op: str
    inputs: tuple[tuple[int, int, int], ...]
    output: tuple[int, int, int]
    dtype: str
    macs: int
    parameters: int
    accumulator_bits: int | None


def _signed_bits(low: int, high: int) -> int:
    """Bits of the smallest two's complement type that holds low and high."""
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


def accumulator_bits(graph: Graph, node: Node) -> int | None:
    """Return the accumulator bits for the worst possible input, bias included; None without MACs.

    Every input code is chosen for each weight so that the sum is greatest, then least.
    """
    k = node.arithmetic
    if not isinstance(k, MacArithmetic):
        return None
    unsigned = graph.tensors[node.inputs[0]].dtype == "uint8"
    low, high = (v - k.input_zero_point for v in ((0, 255) if unsigned else (-128, 127)))
    weights = k.weights.astype(np.int64).reshape(k.weights.shape[0], -1) - k.weight_zero_point
    bias = k.bias.astype(np.int64)
    most = np.maximum(weights * low, weights * high).sum(axis=1)
    least = np.minimum(weights * low, weights * high).sum(axis=1)
    top = max(int(most.max()), int((most + bias).max()), 0)
    bottom = min(int(least.min()), int((least + bias).min()), 0)
    return _signed_bits(bottom, top)


def inspect_graph(graph: Graph) -> tuple[NodeFacts, ...]:
    """Return facts of every node in execution order."""
    facts = []
    for node in graph:
        k = node.arithmetic
        parameters = k.weights.size + k.bias.size if isinstance(k, MacArithmetic) else 0
        target = graph.tensors[node.outputs[0]]
        facts.append(
            NodeFacts(
                name=node.name,
                op=str(node.op),
                source_op=node.source_op,
                inputs=tuple(graph.tensors[name].shape for name in node.inputs),
                output=target.shape,
                dtype=target.dtype,
                macs=graph.macs(node),
                parameters=int(parameters),
                accumulator_bits=accumulator_bits(graph, node),
            )
        )
    return tuple(facts)
