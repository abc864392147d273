"""What a wrong value was made of, recomputed from the graph and the hardware's own operands."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import BinaryArithmetic, MacArithmetic, PoolArithmetic, Requant
from systolith.graph import Graph, Node
from systolith.profiles.reference import accumulate

__all__ = ["describe", "source_index"]

Details = dict[str, int | float | str]
Arrays = Mapping[str, NDArray[Any]]


def source_index(graph: Graph, tensor: str, index: tuple[int, ...]) -> tuple[int, ...]:
    """Return a canonical coordinate in the runtime's own array."""
    target = graph.tensors[tensor]
    flat = int(np.ravel_multi_index(index, target.shape))
    if target.order is not None:
        flat = int(target.order[flat])
    return tuple(int(v) for v in np.unravel_index(flat, target.source_shape))


def _requant(requant: Requant, channel: int) -> Details:
    one = requant.channel(channel)
    details: Details = {"scale": float(one.scale[0])}
    if one.multiplier.size:
        details |= {"multiplier": int(one.multiplier[0]), "shift": int(one.shift[0])}
    return details | {
        "formula": one.formula,
        "zero_point": one.zero_point,
        "low": one.low,
        "high": one.high,
    }


def _mac(node: Node, k: MacArithmetic, index: tuple[int, ...], values: Arrays) -> Details:
    channel = index[-1]
    acc = int(accumulate(node, values[node.inputs[0]])[index])
    bias = int(k.bias[channel])
    return {
        "accumulator": acc - bias,
        "bias": bias,
        "accumulator_with_bias": acc,
        **_requant(k.requant, channel),
    }


def _binary(node: Node, k: BinaryArithmetic, index: tuple[int, ...], values: Arrays) -> Details:
    details: Details = {"formula": k.formula}
    for side, name, codes in zip("ab", node.inputs, (k.a, k.b), strict=True):
        value = values[name]
        place = tuple(0 if n == 1 else i for i, n in zip(index, value.shape, strict=True))
        details[f"operand_{side}"] = int(value[place])
        details[f"scale_{side}"] = codes.scale
        details[f"zero_point_{side}"] = codes.zero_point
    return details | {"scale": k.out.scale, "zero_point": k.out.zero_point}


def describe(graph: Graph, node: Node, index: tuple[int, ...], values: Arrays) -> Details:
    """Return accumulator, bias, multiplier, scale ... of one output value.

    Parameters
    ----------
    graph, node: the layer.
    index: canonical coordinates of the value.
    values: tensors as the hardware had them; empty is returned where an operand is unknown.
    """
    if any(name not in values for name in node.inputs):
        return {}
    k = node.arithmetic
    if isinstance(k, MacArithmetic):
        return _mac(node, k, index, values)
    if isinstance(k, BinaryArithmetic):
        return _binary(node, k, index, values)
    if isinstance(k, PoolArithmetic):
        return {"input_zero_point": k.input_zero_point, **_requant(k.requant, index[-1])}
    value = values[node.inputs[0]]
    if value.shape == graph.tensors[node.outputs[0]].shape:
        return {"operand": value[index].item()}
    return {}
