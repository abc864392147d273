"""TFLite operators without windows: elementwise, tables, softmax, moves and the float edges."""

from collections.abc import Callable
from typing import Any

import numpy as np

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    ConcatArithmetic,
    DequantizeArithmetic,
    LutArithmetic,
    PadArithmetic,
    QuantizeArithmetic,
    SoftmaxArithmetic,
)
from systolith.graph import Op
from systolith.importers.tflite_context import TfliteContext
from systolith.profiles.binary import binary_table
from systolith.profiles.lut import build_lut

__all__ = [
    "binary",
    "concatenation",
    "dequantize",
    "leaky_relu",
    "lut",
    "pad",
    "quantize",
    "relu",
    "reshape",
    "softmax",
]

Handler = Callable[[TfliteContext], None]
Shape = tuple[int, int, int]


def binary(op: Op, options: str) -> Handler:
    """Return the handler of ADD, SUB or MUL."""

    def handler(ctx: TfliteContext) -> None:
        ctx.arity(2, 2)
        activation = ctx.operator.options(options).FusedActivationFunction()
        first, second = ctx.operator.inputs
        out = ctx.codes(ctx.operator.outputs[0])
        low, high = ctx.limits(activation, out)
        arithmetic = BinaryArithmetic(
            formula=ctx.row(op.value).formula,
            a=ctx.codes(first),
            b=ctx.codes(second),
            out=out,
            low=low,
            high=high,
        )
        _add_binary(ctx, op, arithmetic)

    return handler


def _add_binary(ctx: TfliteContext, op: Op, arithmetic: BinaryArithmetic) -> None:
    """Append the node; a scalar constant operand makes it a table."""
    a, b, target = ctx.input(0), ctx.input(1), ctx.output()
    for operand, other, axis in ((a, b, 0), (b, a, 1)):
        if operand.data is not None and operand.size == 1 and other.data is None:
            byte = int(operand.data.reshape(-1)[0]) & 255
            table = np.take(binary_table(arithmetic), byte, axis=axis)
            lookup = LutArithmetic(table=(table & 255).astype(np.uint8), formula=arithmetic.formula)
            ctx.add_node(Op.LUT, (other.name,), (target.name,), lookup)
            return
    if a.data is not None and b.data is not None:
        ctx.unsupported("both operands are constant; store the result in the model")
    if not _broadcasts(a.shape, b.shape, target.shape):
        ctx.fail(f"operands {a.shape} and {b.shape} must broadcast to {target.shape}")
    ctx.add_node(op, (a.name, b.name), (target.name,), arithmetic)


def _broadcasts(a: Shape, b: Shape, out: Shape) -> bool:
    """Whether two canonical shapes broadcast to a third one."""
    sides = zip(a, b, out, strict=True)
    return all({m, n} <= {1, most} and max(m, n) == most for m, n, most in sides)


def _edges(ctx: TfliteContext) -> tuple[Codes, Codes]:
    return ctx.codes(ctx.operator.inputs[0]), ctx.codes(ctx.operator.outputs[0])


def _unary(ctx: TfliteContext, formula: str, **parameters: Any) -> None:
    """Append a table of the current operator's input and output codes."""
    source, out = _edges(ctx)
    table = build_lut(formula, source, out, **parameters)
    name = (ctx.input(0).name,), (ctx.output().name,)
    if ctx.input(0).size != ctx.output().size:
        ctx.fail("output must have the input's shape")
    ctx.add_node(Op.LUT, *name, LutArithmetic(table=table, formula=formula))


def lut(name: str) -> Handler:
    """Return the handler of a unary operator without parameters."""

    def handler(ctx: TfliteContext) -> None:
        ctx.arity(1, 1)
        _unary(ctx, ctx.row(name).formula)

    return handler


def relu(name: str, activation: int) -> Handler:
    """Return the handler of a standalone RELU, RELU6 or RELU_N1_TO_1 (`name` is the row's)."""

    def handler(ctx: TfliteContext) -> None:
        ctx.arity(1, 1)
        low, high = ctx.limits(activation, ctx.codes(ctx.operator.outputs[0]))
        _unary(ctx, ctx.row(name).formula, low=low, high=high)

    return handler


def leaky_relu(ctx: TfliteContext) -> None:
    """LEAKY_RELU."""
    ctx.arity(1, 1)
    alpha = ctx.operator.options("LeakyReluOptions").Alpha()
    if not np.isfinite(alpha) or alpha < 0:
        ctx.fail(f"alpha must be finite and not negative, not {alpha!r}")
    _unary(ctx, ctx.row("leaky_relu").formula, alpha=float(alpha))


def softmax(ctx: TfliteContext) -> None:
    """SOFTMAX over the last axis."""
    ctx.arity(1, 1)
    beta = float(ctx.operator.options("SoftmaxOptions").Beta())
    source, out = _edges(ctx)
    if not np.isfinite(beta) or beta <= 0:
        ctx.fail(f"beta must be positive, not {beta!r}")
    if (out.scale, out.zero_point) != (1 / 256, -128):
        ctx.fail(f"output must have scale 1/256 and zero point -128, not {out}")
    if ctx.input(0).shape != ctx.output().shape:
        ctx.fail("output must have the input's shape")
    arithmetic = SoftmaxArithmetic(
        formula=ctx.row("softmax").formula, beta=beta, codes=source, out=out
    )
    ctx.add_node(Op.SOFTMAX, (ctx.input(0).name,), (ctx.output().name,), arithmetic)


def quantize(ctx: TfliteContext) -> None:
    """QUANTIZE of floats (a graph's edge), or of codes (a table)."""
    ctx.arity(1, 1)
    if ctx.raw(ctx.operator.inputs[0]).dtype != "FLOAT32":
        _unary(ctx, ctx.row("requantize").formula)
        return
    arithmetic = QuantizeArithmetic(
        formula=ctx.row("quantize").formula, out=ctx.codes(ctx.operator.outputs[0])
    )
    ctx.add_node(Op.QUANTIZE, (ctx.input(0).name,), (ctx.output().name,), arithmetic)


def dequantize(ctx: TfliteContext) -> None:
    """DEQUANTIZE: a graph's edge."""
    ctx.arity(1, 1)
    arithmetic = DequantizeArithmetic(
        formula=ctx.row("dequantize").formula, codes=ctx.codes(ctx.operator.inputs[0])
    )
    ctx.add_node(Op.DEQUANTIZE, (ctx.input(0).name,), (ctx.output().name,), arithmetic)


def reshape(ctx: TfliteContext) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes under another shape."""
    source, target = ctx.input(0), ctx.output()
    if source.dtype != "float32":
        ctx.same_codes("input and output must have the same quantization")
    ctx.add_node(Op.RESHAPE, (source.name,), (target.name,))


def pad(ctx: TfliteContext) -> None:
    """PAD with the zero point, PADV2 with a constant code."""
    ctx.arity(2, 3)
    source, target = ctx.input(0), ctx.output()
    ctx.same_codes("input and output must have the same quantization")
    value = ctx.codes(ctx.operator.outputs[0]).zero_point
    if len(ctx.operator.inputs) == 3:
        constant = ctx.raw(ctx.operator.inputs[2]).data
        if constant is None or constant.size != 1:
            ctx.unsupported("the padding value must be one constant")
        value = int(constant.reshape(-1)[0])
    rank = len(source.source_shape)
    paddings = ctx.raw(ctx.operator.inputs[1]).data
    if paddings is None or paddings.shape != (rank, 2) or np.any(paddings < 0):
        ctx.fail(f"paddings must be constants of shape [{rank}, 2], not negative")
    pairs = [(0, 0)] * (4 - rank) + [(int(a), int(b)) for a, b in paddings]
    if rank < 3 or pairs[0] != (0, 0):
        ctx.unsupported("it must pad height, width or channels")
    grown = tuple(n + a + b for n, (a, b) in zip(source.shape, pairs[1:], strict=True))
    if grown != target.shape:
        ctx.fail(f"output must be {grown}, not {target.shape}")
    attributes = {"pads": (*pairs[1], *pairs[2]), "channel_pads": pairs[3]}
    ctx.add_node(Op.PAD, (source.name,), (target.name,), PadArithmetic(value=value), attributes)


def concatenation(ctx: TfliteContext) -> None:
    """CONCATENATION of tensors with one quantization (the runtime demands it)."""
    options = ctx.operator.options("ConcatenationOptions")
    if options.FusedActivationFunction() != 0 or min((*ctx.operator.inputs, 0)) < 0:
        ctx.unsupported("it must have no fused activation and no absent input")
    out, target = ctx.codes(ctx.operator.outputs[0]), ctx.output()
    rank = len(target.source_shape)
    axis = options.Axis() % max(rank, 1) + 3 - rank
    if axis < 0:
        ctx.unsupported("it must not join batches")
    names = []
    for position, index in enumerate(ctx.operator.inputs):
        if ctx.codes(index) != out:
            ctx.unsupported("inputs and output must have the same quantization")
        names.append(ctx.input(position).name)
    shapes = [ctx.tensors[name].shape for name in names]
    if sum(shape[axis] for shape in shapes) != target.shape[axis]:
        ctx.fail(f"inputs {shapes} must make {target.shape} along axis {axis}")
    arithmetic = ConcatArithmetic(tables=(None,) * len(names))
    ctx.add_node(Op.CONCAT, names, (target.name,), arithmetic, {"axis": axis})
