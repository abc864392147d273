"""A graph's operators on canonical codes by the runtimes' formulas, one node at a time.

This is the runtime re-implemented from its formulas: tests compare it with the runtime itself, and
the host computes with it what an accelerator leaves out (softmax, float edges).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import (
    BinaryArithmetic,
    ConcatArithmetic,
    DequantizeArithmetic,
    FloatQuantizeArithmetic,
    LutArithmetic,
    MacArithmetic,
    MaxPoolArithmetic,
    PadArithmetic,
    PoolArithmetic,
    QuantizeArithmetic,
    SoftmaxArithmetic,
)
from systolith.float_steps import (
    BlockQuantizeArithmetic,
    BlockSumsArithmetic,
    FloatOutputArithmetic,
)
from systolith.graph import Graph, Node, Op
from systolith.profiles.binary import binary_codes
from systolith.profiles.blocks import block_outputs, quantize_blocks
from systolith.profiles.edges import dequantize_codes, quantize_codes
from systolith.profiles.formulas import requantize_codes, wrap32
from systolith.profiles.pooling import average_window
from systolith.profiles.softmax import softmax_codes
from systolith.profiles.steps import float_outputs, quantize_floats

__all__ = ["accumulate", "evaluate_graph", "evaluate_node"]

Array = NDArray[Any]
Handler = Callable[[Node, Sequence[Array]], Array]


def _windows(value: Array, attributes: Mapping[str, Any], fill: int) -> Array:
    """Return ``[H', W', kh, kw, C]`` views of the padded input."""
    top, bottom, left, right = attributes["pads"]
    (kh, kw), (sh, sw) = attributes["kernel"], attributes["strides"]
    dh, dw = attributes["dilations"]
    padded = np.pad(value, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    span = ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
    views = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(0, 1))
    return views[::sh, ::sw, :, ::dh, ::dw].transpose(0, 1, 3, 4, 2)


def accumulate(node: Node, value: Array) -> NDArray[np.int64]:
    """Return the int32 accumulators, bias included, of a conv2d or fully_connected node."""
    k = node.arithmetic
    assert isinstance(k, MacArithmetic)
    # float64 adds these integers exactly (below 2**53) and is far quicker than int64 in numpy.
    x = value.astype(np.float64) - k.input_zero_point
    w = k.weights.astype(np.float64) - k.weight_zero_point
    if node.op is Op.FULLY_CONNECTED:
        total = x @ w.reshape(w.shape[0], -1).T
    else:
        total = _convolve(x, w, node.attributes)
    return wrap32(total.astype(np.int64) + k.bias.astype(np.int64))


def _convolve(x: Array, w: Array, attributes: Mapping[str, Any]) -> Array:
    groups = attributes["groups"]
    windows = _windows(x, attributes, 0)
    rows, columns = windows.shape[:2]
    depth, channels = w.shape[3], w.shape[0] // groups
    windows = windows.reshape(rows * columns, -1, groups, depth).transpose(2, 0, 1, 3)
    weights = w.reshape(groups, channels, -1)
    total = windows.reshape(groups, rows * columns, -1) @ weights.transpose(0, 2, 1)
    return total.transpose(1, 0, 2).reshape(rows, columns, groups * channels)


def _mac(node: Node, inputs: Sequence[Array]) -> Array:
    assert isinstance(node.arithmetic, MacArithmetic)
    return requantize_codes(accumulate(node, inputs[0]), node.arithmetic.requant)


def _average(node: Node, inputs: Sequence[Array]) -> Array:
    k = node.arithmetic
    assert isinstance(k, PoolArithmetic)
    value = inputs[0].astype(np.int64)
    windows = _windows(value, node.attributes, 0)
    inside = _windows(np.ones_like(value), node.attributes, 0)[..., 0].astype(bool)
    counts = inside.sum(axis=(2, 3))
    result = np.zeros((*windows.shape[:2], windows.shape[4]), np.int64)
    for count, requant in k.requants.items():
        here = counts == count
        chosen = windows[here].transpose(0, 3, 1, 2)
        masks = np.broadcast_to(inside[here][:, None], chosen.shape)
        codes = chosen[masks].reshape(*chosen.shape[:2], count)
        if requant.formula == "ort_average":
            result[here] = average_window(codes, k)
        else:
            acc = (codes - k.input_zero_point).sum(axis=2)
            result[here] = requantize_codes(acc, requant)
    return result


def _maximum(node: Node, inputs: Sequence[Array]) -> Array:
    assert isinstance(node.arithmetic, MaxPoolArithmetic)
    windows = _windows(inputs[0].astype(np.int64), node.attributes, -(1 << 20))
    answer: Array = np.clip(windows.max(axis=(2, 3)), node.arithmetic.low, node.arithmetic.high)
    return answer


def _binary(node: Node, inputs: Sequence[Array]) -> Array:
    assert isinstance(node.arithmetic, BinaryArithmetic)
    return binary_codes(inputs[0], inputs[1], node.arithmetic)


def _lut(node: Node, inputs: Sequence[Array]) -> Array:
    assert isinstance(node.arithmetic, LutArithmetic)
    answer: Array = node.arithmetic.table[inputs[0].astype(np.int64) & 255]
    return answer


def _softmax(node: Node, inputs: Sequence[Array]) -> Array:
    assert isinstance(node.arithmetic, SoftmaxArithmetic)
    return softmax_codes(inputs[0], node.arithmetic)


def _quantize(node: Node, inputs: Sequence[Array]) -> Array:
    if isinstance(node.arithmetic, FloatQuantizeArithmetic):
        return quantize_floats(inputs[0], node.arithmetic)
    if isinstance(node.arithmetic, BlockQuantizeArithmetic):
        return quantize_blocks(inputs[0], node.arithmetic)
    assert isinstance(node.arithmetic, QuantizeArithmetic)
    return quantize_codes(inputs[0], node.arithmetic)


def _dequantize(node: Node, inputs: Sequence[Array]) -> Array:
    if isinstance(node.arithmetic, FloatOutputArithmetic):
        return float_outputs(inputs, node.arithmetic)
    if isinstance(node.arithmetic, BlockSumsArithmetic):
        return block_outputs(inputs, node.arithmetic)
    assert isinstance(node.arithmetic, DequantizeArithmetic)
    return dequantize_codes(inputs[0], node.arithmetic)


def _pad(node: Node, inputs: Sequence[Array]) -> Array:
    assert isinstance(node.arithmetic, PadArithmetic)
    top, bottom, left, right = node.attributes["pads"]
    widths = ((top, bottom), (left, right), node.attributes["channel_pads"])
    return np.pad(inputs[0], widths, constant_values=node.arithmetic.value)


def _concat(node: Node, inputs: Sequence[Array]) -> Array:
    assert isinstance(node.arithmetic, ConcatArithmetic)
    parts = [
        value.astype(np.int64) & 255 if table is None else table[value.astype(np.int64) & 255]
        for value, table in zip(inputs, node.arithmetic.tables, strict=True)
    ]
    return np.concatenate(parts, axis=node.attributes["axis"])


def _gather(node: Node, inputs: Sequence[Array]) -> Array:
    answer: Array = inputs[0].reshape(-1)[node.attributes["index"]]
    return answer


_HANDLERS: Mapping[Op, Handler] = MappingProxyType(
    {
        Op.CONV2D: _mac,
        Op.FULLY_CONNECTED: _mac,
        Op.AVG_POOL: _average,
        Op.MAX_POOL: _maximum,
        Op.ADD: _binary,
        Op.SUB: _binary,
        Op.MUL: _binary,
        Op.LUT: _lut,
        Op.SOFTMAX: _softmax,
        Op.QUANTIZE: _quantize,
        Op.DEQUANTIZE: _dequantize,
        Op.PAD: _pad,
        Op.CONCAT: _concat,
        Op.RESHAPE: lambda node, inputs: inputs[0],
        Op.GATHER: _gather,
    }
)


def evaluate_node(graph: Graph, node: Node, inputs: Sequence[Array]) -> Array:
    """Return a node's output for canonical `inputs`, as the graph's runtime computes it.

    Parameters
    ----------
    graph: gives shape and dtype of the output.
    node: one of the graph's nodes.
    inputs: canonical arrays in the order of ``node.inputs``.
    """
    target = graph.tensors[node.outputs[0]]
    result = np.asarray(_HANDLERS[node.op](node, inputs))
    if target.dtype in ("int8", "uint8"):
        result = (result.astype(np.int64) & 255).astype(np.uint8).view(target.dtype)
    return result.reshape(target.shape)


def evaluate_graph(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return every tensor (canonical, by name) for the canonical arrays of the graph's inputs."""
    values: dict[str, Array] = {
        name: tensor.data for name, tensor in graph.tensors.items() if tensor.data is not None
    }
    values.update(inputs)
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        values[node.outputs[0]] = evaluate_node(graph, node, operands)
    return values
