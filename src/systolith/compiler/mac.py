"""What all lowerings of convolutions and fully connected layers start from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import MacArithmetic
from systolith.compiler.constants import ChannelParameters
from systolith.compiler.fit import accumulator_range
from systolith.compiler.lowering import Lowering
from systolith.compiler.precision import (
    columns_at_once,
    exact_precisions,
    nibble_range,
    weight_codes,
)
from systolith.compiler.problem import Problem, Requantizer
from systolith.compiler.requantize import choose_requantizer
from systolith.compiler.steps import Step
from systolith.graph import Graph, Node, Op
from systolith.spec.precision import Precision

__all__ = [
    "MacLayer",
    "Window",
    "in_precision",
    "mac_layer",
    "mac_problem",
    "mac_requantizer",
    "packings",
    "part_of",
    "precisions",
]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Geometry of a convolution; a fully connected layer is 1 x 1."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class MacLayer:
    """A layer with weights.

    Parameters
    ----------
    step: what is lowered.
    window: its geometry.
    codes: weight codes [Cout, kh, kw, Cin / groups].
    zero: the code that multiplies by zero.
    fields: the MATMUL's weight fields.
    packed: neighbouring output pixels that are computed as channels of one.
    precision: of the array's elements.
    sparse: whether its commands take two of four weights.
    """

    step: Step
    window: Window
    codes: Int64Array
    zero: int
    fields: dict[str, int]
    packed: int = 1
    precision: Precision = Precision.W8A8
    sparse: bool = False

    @property
    def outputs(self) -> int:
        """Output channels of a group."""
        return len(self.codes) // self.window.groups


def _window(node: Node) -> Window:
    if node.op is Op.FULLY_CONNECTED:
        return Window()
    a = node.attributes
    return Window(
        kernel=tuple(a["kernel"]),
        strides=tuple(a["strides"]),
        dilations=tuple(a["dilations"]),
        pads=tuple(a["pads"]),
        groups=int(a["groups"]),
    )


def _codes(arithmetic: MacArithmetic) -> tuple[Int64Array, int, dict[str, int]]:
    """Weight codes, the code worth zero, and the MATMUL's weight fields."""
    w, zero = arithmetic.weights.astype(np.int64), arithmetic.weight_zero_point
    if w.size == 0 or (w - zero).min() >= -128 and (w - zero).max() <= 127:
        return w - zero, 0, {"w_signed": 1, "w_zero": 0}
    return w, zero, {"w_signed": int(arithmetic.weights.dtype == np.int8), "w_zero": zero}


def mac_requantizer(low: Lowering, step: Step) -> Requantizer:
    """Return the requantizer of all output channels of a convolution or fully connected layer."""
    return low.once(step.node.arithmetic, lambda: _fitted(low, step), "requantizer")


def _source_range(low: Lowering, step: Step) -> tuple[int, int]:
    """Least and greatest code that a layer reads; of packed codes, of their nibbles."""
    tensor, window = low.graph.tensor(step.source), step.packed_source
    if window is None:
        return tensor.code_range
    least, most = nibble_range(window)
    if tensor.limits is None:
        return least, most
    return tensor.limits[0] - window + least, tensor.limits[1] - window + least


def mac_problem(graph: Graph, node: Node, codes: tuple[int, int] | None = None) -> Problem:
    """Return what the requantizer of a convolution or fully connected layer must compute.

    Parameters
    ----------
    graph, node: the layer.
    codes: least and greatest code of its input, if they are not the dtype's.
    """
    arithmetic = node.arithmetic
    assert isinstance(arithmetic, MacArithmetic)
    w = arithmetic.weights.astype(np.int64) - arithmetic.weight_zero_point
    flat = w.reshape(len(w), -1)
    zero = arithmetic.input_zero_point
    bias = arithmetic.bias.astype(np.int64)
    x_low, x_high = codes or graph.tensor(node.inputs[0]).code_range
    least, most = accumulator_range(flat.T, min(x_low, zero), max(x_high, zero), zero, bias)
    return Problem(
        requant=arithmetic.requant, bias=bias - zero * flat.sum(axis=1), lo=least, hi=most
    )


def _fitted(low: Lowering, step: Step) -> Requantizer:
    problem = mac_problem(low.graph, step.node, _source_range(low, step))
    narrow = bool(low.spec.external.data_bytes)
    found = choose_requantizer(step.node, problem, low.spec.post, narrow=narrow)
    undecided = problem.requant.undecided
    if not undecided:
        return found
    note = f"within one code on {undecided} of them: the runtime's float order decides"
    return replace(found, note=f"{found.note}; {note}")


def mac_layer(low: Lowering, step: Step) -> MacLayer:
    """Return the layer of a step whose node is a convolution or fully connected."""
    arithmetic = step.node.arithmetic
    assert isinstance(arithmetic, MacArithmetic)
    codes, zero, fields = _codes(arithmetic)
    return MacLayer(
        step=step,
        window=_window(step.node),
        codes=codes,
        zero=zero,
        fields=fields,
    )


def precisions(low: Lowering, layer: MacLayer) -> Iterator[MacLayer]:
    """Yield the layer in every precision that is exact for it."""
    if layer.step.packed_source is not None:
        yield in_precision(layer, Precision.W4A4)
        return
    for precision in exact_precisions(layer.step.node, low.spec.array):
        yield in_precision(layer, precision)


def in_precision(layer: MacLayer, precision: Precision) -> MacLayer:
    """The layer, in bytes, with weights as a precision that is exact for it takes them."""
    if precision is Precision.W8A8:
        return layer
    arithmetic = layer.step.node.arithmetic
    assert isinstance(arithmetic, MacArithmetic)
    nibbles = weight_codes(arithmetic)
    assert nibbles is not None
    values = arithmetic.weights.astype(np.int64) - arithmetic.weight_zero_point
    return replace(
        layer,
        codes=values + nibbles.zero,
        zero=nibbles.zero,
        fields={
            "precision": int(precision),
            "w_signed": int(nibbles.signed),
            "w_zero": nibbles.zero,
        },
        precision=precision,
    )


def packings(low: Lowering, layer: MacLayer) -> Iterator[MacLayer]:
    """Yield the layer, and the same with several neighbouring outputs in the array's columns.

    Outputs beside each other share a wider window: each has zeros where only the other has taps.
    """
    yield layer
    target, step = low.view(layer.step.target), layer.step
    views = [target] + ([low.view(step.addition.other)] if step.addition else [])
    dense = all(v.pixel == target.shape[2] and v.shape == target.shape for v in views)
    if layer.window.groups == 1 and dense:
        columns = columns_at_once(low.spec.array, layer.precision)
        most = min(columns, low.spec.memory.parameter_channels)
        for count in range(2, most // len(layer.codes) + 1):
            if target.shape[1] % count == 0:
                yield _packed(layer, count)


def _packed(layer: MacLayer, count: int) -> MacLayer:
    """Compute ``count`` neighbouring outputs as one."""
    window = layer.window
    stride, dilation = window.strides[1], window.dilations[1]
    outputs, height, taps, inputs = layer.codes.shape
    span = (taps - 1) * dilation + 1
    wide = span + (count - 1) * stride
    codes = np.full((count, outputs, height, wide, inputs), layer.zero)
    for index in range(count):
        first = index * stride
        codes[index, :, :, first : first + span : dilation] = layer.codes
    return replace(
        layer,
        window=replace(
            window,
            kernel=(height, wide),
            strides=(window.strides[0], stride * count),
            dilations=(window.dilations[0], 1),
        ),
        codes=codes.reshape(-1, height, wide, inputs),
        packed=count,
    )


def part_of(
    channels: ChannelParameters, first: int, count: int, packed: int = 1
) -> ChannelParameters:
    """The parameters of ``count`` channels from ``first`` on, of all repeated ``packed`` times."""

    def part(values: Int64Array) -> Int64Array:
        return np.tile(values, packed)[first : first + count]

    return ChannelParameters(
        bias=part(channels.bias),
        multiplier=part(channels.multiplier),
        offset=part(channels.offset),
        shift=part(channels.shift),
    )
