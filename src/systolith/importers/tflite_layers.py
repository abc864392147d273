"""TFLite layers with weights or windows: convolutions, fully connected, pools and mean."""

from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from systolith.arithmetic import MacArithmetic, MaxPoolArithmetic, PoolArithmetic, Requant
from systolith.graph import Op, Tensor
from systolith.importers.builder import mac_requant, same_pads
from systolith.importers.geometry import Window
from systolith.importers.tflite_context import TfliteContext
from systolith.profiles.table import Row

__all__ = ["average_pool", "conv", "depthwise", "fully_connected", "max_pool"]

_WEIGHTS = {"INT8": 128, "INT4": 8}
"""Types of weights, and the number of their codes below 0."""


def _window(
    ctx: TfliteContext, options: Any, source: Tensor, kernel: tuple[int, int], dilated: bool
) -> Window:
    """Return the window of an operator's options, with its padding made explicit."""
    strides = (options.StrideH(), options.StrideW())
    dilations = (options.DilationHFactor(), options.DilationWFactor()) if dilated else (1, 1)
    window = Window(kernel=kernel, strides=strides, dilations=dilations)
    if not window.valid():
        ctx.fail(f"kernel, strides and dilations must be positive, not {window}")
    if options.Padding() == tflite.Padding.SAME:
        sizes = zip(source.shape[:2], kernel, strides, dilations, strict=True)
        (top, bottom), (left, right) = (same_pads(*each) for each in sizes)
        window = Window(
            kernel=kernel,
            strides=strides,
            dilations=dilations,
            pads=(top, bottom, left, right),
        )
    return window


def _check_output(ctx: TfliteContext, window: Window, source: Tensor, target: Tensor) -> None:
    positions = window.positions(*source.shape[:2])
    if positions != target.shape[:2]:
        ctx.fail(f"output must be {positions} positions, not {target.shape[:2]}")


def _weights(
    ctx: TfliteContext, index: int, axis: int
) -> tuple[NDArray[Any], NDArray[np.float32], int]:
    """Return codes, scales and the one zero point of a weight tensor of int8 or int4."""
    raw = ctx.raw(index)
    if raw.dtype not in _WEIGHTS:
        ctx.fail(f"weights must be int8 or int4, not {raw.dtype.lower()}")
    if raw.data is None:
        ctx.fail("weights must be constant")
    if raw.scales.size == 0:
        ctx.fail("weights must have scales")
    if raw.scales.size > 1 and raw.axis != axis:
        ctx.fail(f"weights must be quantized along axis {axis}, not {raw.axis}")
    if np.any(raw.zero_points != raw.zero_points[0]):
        ctx.fail("weights must have one zero point for all channels")
    zero, half = int(raw.zero_points[0]), _WEIGHTS[raw.dtype]
    if not -half <= zero < half:
        ctx.fail(f"weights' zero point must be an {raw.dtype.lower()} value, not {zero}")
    return raw.data, raw.scales, zero


def _bias(ctx: TfliteContext, inputs: tuple[int, ...], channels: int) -> NDArray[np.int32]:
    """Return the int32 bias, zeros if there is none."""
    if len(inputs) < 3 or inputs[2] < 0:
        return np.zeros(channels, np.int32)
    raw = ctx.raw(inputs[2])
    if raw.dtype != "INT32" or raw.data is None:
        ctx.fail(f"bias must be a constant of int32, not {raw.dtype.lower()}")
    return raw.data.reshape(-1).astype(np.int32)


def _row(ctx: TfliteContext, name: str) -> Row:
    """Return the arithmetic of a layer; runtimes have kernels of their own for int4 weights."""
    if ctx.raw(ctx.operator.inputs[1]).dtype == "INT8":
        return ctx.row("conv2d" if name == "depthwise" else name)
    row = ctx.profile.rows.get(f"{name}_int4")
    if row is None:
        profile = ctx.profile.name
        ctx.unsupported(f"profile {profile!r} has no exact arithmetic for its int4 weights")
    return row


def _mac(
    ctx: TfliteContext, name: str, axis: int, activation: int
) -> tuple[NDArray[Any], MacArithmetic]:
    """Return the source weights and their arithmetic (weights still as in the file)."""
    inputs = ctx.operator.inputs
    weights, scales, zero = _weights(ctx, inputs[1], axis)
    source, out = ctx.codes(inputs[0]), ctx.codes(ctx.operator.outputs[0])
    requant = mac_requant(_row(ctx, name), source, scales, out)
    requant = ctx.clamped(requant, activation, out)
    channels = weights.shape[axis]
    arithmetic = MacArithmetic(
        weights=weights,
        weight_zero_point=zero,
        bias=_bias(ctx, inputs, channels),
        input_zero_point=source.zero_point,
        requant=requant,
    )
    return weights, arithmetic


def _with_weights(arithmetic: MacArithmetic, weights: NDArray[Any]) -> MacArithmetic:
    return MacArithmetic(
        weights=np.ascontiguousarray(weights),
        weight_zero_point=arithmetic.weight_zero_point,
        bias=arithmetic.bias,
        input_zero_point=arithmetic.input_zero_point,
        requant=arithmetic.requant,
    )


def conv(ctx: TfliteContext) -> None:
    """CONV_2D, grouped too."""
    ctx.arity(2, 3)
    options = ctx.operator.options("Conv2DOptions")
    source, target = ctx.input(0), ctx.output()
    weights, arithmetic = _mac(ctx, "conv2d", 0, options.FusedActivationFunction())
    if weights.ndim != 4 or source.shape[2] % weights.shape[3]:
        ctx.fail(f"weights {list(weights.shape)} must divide {source.shape[2]} input channels")
    groups = source.shape[2] // weights.shape[3]
    if weights.shape[0] % groups:
        ctx.fail(f"{groups} groups must divide {weights.shape[0]} output channels")
    window = _window(ctx, options, source, (weights.shape[1], weights.shape[2]), True)
    _check_output(ctx, window, source, target)
    ctx.add_mac(Op.CONV2D, source, target, arithmetic, window.attributes(groups=groups))


def depthwise(ctx: TfliteContext) -> None:
    """DEPTHWISE_CONV_2D as a convolution with one input channel a group."""
    ctx.arity(2, 3)
    options = ctx.operator.options("DepthwiseConv2DOptions")
    source, target = ctx.input(0), ctx.output()
    weights, arithmetic = _mac(ctx, "depthwise", 3, options.FusedActivationFunction())
    if weights.ndim != 4 or weights.shape[0] != 1 or weights.shape[3] % source.shape[2]:
        ctx.fail(f"weights must be [1, h, w, m * {source.shape[2]}], not {list(weights.shape)}")
    window = _window(ctx, options, source, (weights.shape[1], weights.shape[2]), True)
    _check_output(ctx, window, source, target)
    arithmetic = _with_weights(arithmetic, weights.transpose(3, 1, 2, 0))
    attributes = window.attributes(groups=source.shape[2])
    ctx.add_mac(Op.CONV2D, source, target, arithmetic, attributes)


def fully_connected(ctx: TfliteContext) -> None:
    """FULLY_CONNECTED: rows of K values times [N, K]."""
    ctx.arity(2, 3)
    options = ctx.operator.options("FullyConnectedOptions")
    if options.WeightsFormat() != 0:
        ctx.fail("weights must have the default format")
    source, target = ctx.input(0), ctx.output()
    weights, arithmetic = _mac(ctx, "fully_connected", 0, options.FusedActivationFunction())
    if weights.ndim != 2 or source.size % weights.shape[1]:
        ctx.fail(f"weights {list(weights.shape)} must fit {source.size} input values")
    channels, depth = weights.shape
    rows = source.size // depth
    if target.size != rows * channels:
        ctx.fail(f"output must have {rows} x {channels} values, not {target.size}")
    flat = ctx.reshaped(source, (1, rows, depth), f"/rows_{ctx.operator.index}")
    result = ctx.unfolded(target, (1, rows, channels), "/rows")
    arithmetic = _with_weights(arithmetic, weights.reshape(channels, 1, 1, depth))
    ctx.add_mac(Op.FULLY_CONNECTED, flat, result, arithmetic)
    ctx.fold(result, target, "/rows_out")


def _pool(ctx: TfliteContext) -> tuple[Window, Tensor, Tensor, int]:
    ctx.arity(1, 1)
    options = ctx.operator.options("Pool2DOptions")
    source, target = ctx.input(0), ctx.output()
    kernel = (options.FilterHeight(), options.FilterWidth())
    window = _window(ctx, options, source, kernel, False)
    _check_output(ctx, window, source, target)
    if source.shape[2] != target.shape[2]:
        ctx.fail(f"output must have {source.shape[2]} channels, not {target.shape[2]}")
    ctx.same_codes("input and output must have the same quantization")
    return window, source, target, options.FusedActivationFunction()


def average_pool(ctx: TfliteContext) -> None:
    """AVERAGE_POOL_2D: the plain sum of valid codes over their number, half away from zero."""
    window, source, target, activation = _pool(ctx)
    row, out = ctx.row("avg_pool"), ctx.codes(ctx.operator.outputs[0])
    requants = {}
    for count in sorted(window.counts(*source.shape[:2])):
        if count < 1:
            ctx.fail("every window must see at least one input")
        requants[count] = ctx.clamped(
            Requant(
                formula=row.formula,
                zero_point=0,
                low=out.low,
                high=out.high,
                scale=np.array([1.0 / count]),
                divisor=count,
            ),
            activation,
            out,
        )
    arithmetic = PoolArithmetic(input_zero_point=0, requants=requants, source=(out, out))
    ctx.add_node(Op.AVG_POOL, (source.name,), (target.name,), arithmetic, window.attributes())


def max_pool(ctx: TfliteContext) -> None:
    """MAX_POOL_2D."""
    window, source, target, activation = _pool(ctx)
    out = ctx.codes(ctx.operator.outputs[0])
    low, high = ctx.limits(activation, out)
    arithmetic = MaxPoolArithmetic(low=low, high=high)
    ctx.add_node(Op.MAX_POOL, (source.name,), (target.name,), arithmetic, window.attributes())
