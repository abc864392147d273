"""QONNX layers: sums of products, sums of windows, pairs of codes, and elementwise steps."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Codes
from systolith.float_steps import FloatStep, FloatSums
from systolith.graph import Tensor
from systolith.importers.geometry import Window
from systolith.importers.onnx_layers import check_ceil, window_of
from systolith.importers.qonnx_constants import QuantizedConstant
from systolith.importers.qonnx_context import QonnxContext, channel_axis
from systolith.importers.qonnx_pending import CodesBase, MacBase, PairBase, Pending, PoolBase

__all__ = ["average_pool", "batch_norm", "binary", "conv", "gemm", "matmul", "relu_or_clip"]

_EXACT = 1 << 24
"""Integers up to here are float32 numbers."""
_HALF = 2.0**-24
"""Greatest relative error of a float32 rounding."""


def _odd(scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the odd integers m of ``scale == m * 2**e``."""
    fraction, _ = np.frexp(scale.astype(np.float64))
    whole = np.ldexp(fraction, 24).astype(np.int64)
    return (whole // (whole & -whole)).astype(np.float64)


def sums_of(
    scale: float, weights: NDArray[np.float32], reach: NDArray[np.int64], count: int
) -> FloatSums:
    """Return what sums of `count` products are worth, and how exactly.

    Parameters
    ----------
    scale: of the codes; weights: of the weights, per channel or one.
    reach: greatest sum of absolute products of each channel.
    """
    own = np.float32(scale)
    unit = np.float64(own) * weights.astype(np.float64)
    exact = reach * _odd(own.reshape(1)) * _odd(weights) <= _EXACT
    noise = (count + 4) * _HALF * reach * unit
    return FloatSums(unit=unit, noise=np.where(exact, 0.0, noise))


def _weights(ctx: QonnxContext, position: int) -> QuantizedConstant:
    """Return constant weights: quantized ones, or floats that are small integers."""
    name = ctx.node.input[position]
    found = ctx.quantized_constants.get(name)
    if found is not None:
        return found
    if name not in ctx.constants:
        ctx.unsupported("its second operand must be constant weights")
    value = ctx.constants[name]
    whole = np.rint(value)
    if value.dtype != np.float32 or not np.array_equal(whole, value) or np.abs(whole).max() > 255:
        ctx.fail("weights must come from a Quant or BipolarQuant of 1 to 8 bits, or be integers")
    return QuantizedConstant(codes=whole.astype(np.int64), scale=np.ones(value.shape, np.float32))


def _channel_scales(ctx: QonnxContext, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one scale for each row of [Cout, ...]."""
    rows = scale.reshape(len(scale), -1)
    if np.any(rows != rows[:, :1]):
        ctx.unsupported("its weights' scale must be one value, or one for each output channel")
    return rows[:, 0].copy()


def _mac(
    ctx: QonnxContext,
    source: Tensor,
    codes: Codes,
    weights: QuantizedConstant,
    shape: tuple[int, ...],
    window: Window | None = None,
    groups: int = 1,
) -> Pending:
    """Return the sums of a layer; weights [Cout, kh, kw, Cin / groups]."""
    w = weights.codes
    flat = w.reshape(len(w), -1)
    if w.size == 0 or flat.min() < -255 or flat.max() > 255:
        ctx.fail("weights must be codes of 8 bits")
    zero = codes.zero_point
    ends = (min(codes.low, zero) - zero, max(codes.high, zero) - zero)
    lo = np.minimum(flat * ends[0], flat * ends[1]).sum(axis=1)
    hi = np.maximum(flat * ends[0], flat * ends[1]).sum(axis=1)
    reach = np.abs(flat).sum(axis=1) * max(-ends[0], ends[1])
    sums = sums_of(codes.scale, _channel_scales(ctx, weights.scale), reach, flat.shape[1])
    base = MacBase(
        source=source.name,
        weights=w,
        window=window,
        groups=groups,
        sums=sums,
        lo=lo,
        hi=hi,
        output=ctx.node.output[0] if len(ctx.node.input) == 2 else "",
    )
    return Pending(base=base, layer=ctx.layer, source_op=ctx.source_op, shape=shape, current=shape)


def _linear(ctx: QonnxContext, weights: QuantizedConstant) -> Pending:
    """Return rows of the first input times weights [K, N]."""
    source, codes = ctx.quantized_input(0)
    shape = source.source_shape
    fits = weights.codes.ndim == 2 and len(shape) in (2, 3) and len(weights.codes) == shape[-1]
    if not fits:
        ctx.unsupported(
            f"weights {list(weights.codes.shape)} must be a matrix that fits {list(shape)}"
        )
    depth, channels = weights.codes.shape
    rows = source.size // depth
    if source.order is not None:
        # The bytes lie in canonical order, not in the file's: move the weights' rows instead.
        if rows != 1:
            ctx.unsupported("a reshape or transpose before it moves the data")
        order = source.order
        weights = weights.moved(lambda array: array[order])
    flat = ctx.reshaped(source, (1, rows, depth), f"/rows_{ctx.layer}")
    turned = weights.moved(
        lambda array: np.ascontiguousarray(array.T).reshape(channels, 1, 1, depth)
    )
    return _mac(ctx, flat, codes, turned, (*shape[:-1], channels))


def matmul(ctx: QonnxContext) -> None:
    """MatMul of codes with constant weights."""
    ctx.arity(2, 2)
    ctx.pending[ctx.node.output[0]] = _linear(ctx, _weights(ctx, 1))


def gemm(ctx: QonnxContext) -> None:
    """Gemm: ``alpha * A @ B + beta * C`` with constant B and C."""
    ctx.arity(2, 3)
    if ctx.attribute("transA", 0):
        ctx.unsupported("its input must not be transposed")
    if (ctx.attribute("alpha", 1.0), ctx.attribute("beta", 1.0)) != (1.0, 1.0):
        ctx.unsupported("alpha and beta must be 1")
    weights = _weights(ctx, 1)
    if ctx.attribute("transB", 0):
        weights = weights.moved(np.transpose)
    pending = _linear(ctx, weights)
    if len(ctx.node.input) > 2 and ctx.node.input[2]:
        pending = _with_bias(ctx, pending, ctx.constant(2, "bias"))
    ctx.pending[ctx.node.output[0]] = pending


def _with_bias(ctx: QonnxContext, pending: Pending, bias: NDArray[np.float32]) -> Pending:
    """Add what onnxruntime may add before, between or after the products."""
    value = np.broadcast_to(ctx.operand(bias, pending), pending.shape[-1:])
    base = pending.base
    assert isinstance(base, MacBase)
    steps = value.astype(np.float64) / base.sums.unit
    reach = np.maximum(-base.lo, base.hi) + np.abs(steps)
    fits = (steps == np.rint(steps)) & (reach <= _EXACT) & (base.sums.noise == 0)
    count = base.weights[0].size
    rough = (count + 4) * _HALF * reach * base.sums.unit
    sums = FloatSums(unit=base.sums.unit, noise=np.where(fits, 0.0, rough))
    after = replace(pending, base=replace(base, sums=sums, output=""))
    return after.then(FloatStep(op="add", operand=value.copy()))


def conv(ctx: QonnxContext) -> None:
    """Conv: codes, constant weights [Cout, Cin / groups, kh, kw], bias."""
    ctx.arity(2, 3)
    _, codes = ctx.quantized_input(0)
    source = ctx.image(0)
    weights, groups = _weights(ctx, 1), ctx.attribute("group", 1)
    shape = weights.codes.shape
    if len(shape) != 4 or groups < 1 or shape[1] * groups != source.shape[2]:
        ctx.fail(f"weights {list(shape)} must fit {source.shape[2]} input channels")
    if shape[0] % groups:
        ctx.fail(f"{groups} groups must divide {shape[0]} output channels")
    window = window_of(ctx, source, shape[2:])
    rows, columns = window.positions(*source.shape[:2])
    if rows < 1 or columns < 1:
        ctx.fail(f"kernel {window.kernel} must fit the input {source.shape[:2]}")
    last = weights.moved(lambda array: np.ascontiguousarray(array.transpose(0, 2, 3, 1)))
    pending = _mac(ctx, source, codes, last, (1, shape[0], rows, columns), window, groups)
    if len(ctx.node.input) > 2 and ctx.node.input[2]:
        bias = ctx.constant(2, "bias")
        if bias.shape != shape[:1]:
            ctx.fail(f"bias must have {shape[0]} values, not {list(bias.shape)}")
        # Added last, in one rounding of its own.
        pending = pending.then(FloatStep(op="add", operand=bias.astype(np.float32)))
    ctx.pending[ctx.node.output[0]] = pending


def average_pool(ctx: QonnxContext) -> None:
    """AveragePool and GlobalAveragePool: a float32 sum, divided by the number of values."""
    ctx.arity(1, 1)
    _, codes = ctx.quantized_input(0)
    source = ctx.image(0)
    height, width, channels = source.shape
    if ctx.node.op_type == "GlobalAveragePool":
        window = Window(kernel=(height, width), strides=(height, width))
    else:
        check_ceil(ctx)
        window = window_of(ctx, source, ctx.attribute("kernel_shape", ()))
    rows, columns = window.positions(height, width)
    if any(window.pads) or rows < 1 or columns < 1:
        ctx.unsupported("its windows must lie inside of the image")
    count = window.kernel[0] * window.kernel[1]
    zero = codes.zero_point
    reach = np.array([count * max(abs(codes.low - zero), abs(codes.high - zero))], np.int64)
    sums = sums_of(codes.scale, np.ones(1, np.float32), reach, count)
    shape = (1, channels, rows, columns)
    base = PoolBase(source=source.name, codes=codes, window=window, sums=sums)
    pending = Pending(
        base=base, layer=ctx.layer, source_op=ctx.source_op, shape=shape, current=shape
    )
    divisor = FloatStep(op="div", operand=np.asarray(count, np.float32))
    ctx.pending[ctx.node.output[0]] = pending.then(divisor)


def batch_norm(ctx: QonnxContext) -> None:
    """BatchNormalization as onnxruntime has it: ``x * c + d`` with c and d in float32."""
    ctx.arity(5, 5)
    pending = ctx.value(0)
    scale, bias, mean, variance = (
        ctx.constant(i, what).astype(np.float32)
        for i, what in enumerate(("scale", "bias", "mean", "variance"), 1)
    )
    channels = pending.current[channel_axis(len(pending.current))]
    if any(each.shape != (channels,) for each in (scale, bias, mean, variance)):
        ctx.fail(f"scale, bias, mean and variance must have {channels} values")
    epsilon = np.float32(ctx.attribute("epsilon", 1e-5))
    if not np.all(np.isfinite(variance)) or np.any(variance + epsilon <= 0):
        ctx.fail("variance must be finite and not negative")
    factor = (np.float32(1) / np.sqrt(variance + epsilon)) * scale
    sides = (1, channels) + (1,) * (len(pending.current) - 2)
    ctx.append_step(pending, "mul", factor.reshape(sides))
    after = ctx.pending[ctx.node.output[0]]
    ctx.append_step(after, "add", (bias - mean * factor).reshape(sides))


def relu_or_clip(ctx: QonnxContext) -> None:
    """Relu; Clip with constant bounds; HardTanh as it is exported."""
    ctx.arity(1, 3)
    pending = ctx.value(0)
    if ctx.node.op_type == "Relu":
        ctx.append_step(pending, "least", 0.0)
        return
    bounds = [ctx.attribute("min", float("nan")), ctx.attribute("max", float("nan"))]
    for position in (1, 2):
        if position < len(ctx.node.input) and ctx.node.input[position]:
            bounds[position - 1] = float(ctx.constant(position, "bound").reshape(-1)[0])
    for op, bound in zip(("least", "most"), bounds, strict=True):
        if np.isfinite(bound):
            ctx.append_step(pending, op, bound)
            pending = ctx.pending[ctx.node.output[0]]
    ctx.pending[ctx.node.output[0]] = pending


def binary(op: str) -> Callable[[QonnxContext], None]:
    """Return the handler of Add, Sub, Mul or Div, of a constant or of two tensors of codes."""

    def handler(ctx: QonnxContext) -> None:
        ctx.arity(2, 2)
        first, second = (name in ctx.constants for name in ctx.node.input)
        if not first and not second:
            _pair(ctx, op)
        elif second:
            ctx.append_step(ctx.value(0), op, ctx.constant(1, "constant"))
        elif op == "div":
            ctx.unsupported("a constant divided by its values is not monotone")
        else:
            swapped = "rsub" if op == "sub" else op
            ctx.append_step(ctx.value(1), swapped, ctx.constant(0, "constant"))

    return handler


def _pair(ctx: QonnxContext, op: str) -> None:
    if op == "div":
        ctx.unsupported("its divisor must be a constant")
    sides = []
    for position in (0, 1):
        tensor, codes = ctx.quantized_input(position)
        sides.append((tensor, CodesBase(source=tensor.name, codes=codes)))
    (one, a), (two, b) = sides
    shape = one.source_shape
    if shape != two.source_shape:
        ctx.unsupported(f"operands must have one shape, not {shape} and {two.source_shape}")
    pair = PairBase(op=op, first=a, second=b)
    ctx.pending[ctx.node.output[0]] = Pending(
        base=pair, layer=ctx.layer, source_op=ctx.source_op, shape=shape, current=shape
    )
