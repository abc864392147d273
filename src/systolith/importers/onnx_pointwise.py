"""ONNX operators without windows: elementwise, tables, softmax, concatenation, float edges."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    ConcatArithmetic,
    DequantizeArithmetic,
    LutArithmetic,
    QuantizeArithmetic,
    SoftmaxArithmetic,
)
from systolith.graph import Op, Tensor
from systolith.importers.channels_first import default_order, layout
from systolith.importers.onnx_context import FloatTable, OnnxContext
from systolith.importers.onnx_mean import quantize_mean
from systolith.profiles.binary import binary_table, code_values
from systolith.profiles.edges import dequantize_codes, quantize_codes
from systolith.profiles.lut import build_lut

__all__ = [
    "binary",
    "concat",
    "concat_codes",
    "dequantize",
    "leaky_relu",
    "lut",
    "quantize",
    "softmax",
]

Handler = Callable[[OnnxContext], None]


def binary(op: Op) -> Handler:
    """Return the handler of com.microsoft QLinearAdd or QLinearMul."""

    def handler(ctx: OnnxContext) -> None:
        ctx.arity(7, 8)
        out = ctx.codes(6, "output")
        arithmetic = BinaryArithmetic(
            formula=ctx.row(op.value).formula,
            a=ctx.codes(1, "first input"),
            b=ctx.codes(4, "second input"),
            out=out,
            low=out.low,
            high=out.high,
        )
        for position, axis in ((0, 0), (3, 1)):
            value = ctx.constants.get(ctx.node.input[position])
            if value is not None and value.size == 1:
                _add_constant(ctx, arithmetic, int(value.reshape(-1)[0]) & 255, axis)
                return
        _add_pair(ctx, op, arithmetic)

    return handler


def _add_constant(ctx: OnnxContext, arithmetic: BinaryArithmetic, byte: int, axis: int) -> None:
    """Append a table: one operand is a scalar constant."""
    codes = arithmetic.b if axis == 0 else arithmetic.a
    source = ctx.input(3 if axis == 0 else 0, codes.dtype)
    table = (np.take(binary_table(arithmetic), byte, axis=axis) & 255).astype(np.uint8)
    target = ctx.output(source.source_shape, arithmetic.out, like=source)
    lookup = LutArithmetic(table=table, formula=arithmetic.formula)
    ctx.add_node(Op.LUT, (source.name,), (target.name,), lookup)


def _add_pair(ctx: OnnxContext, op: Op, arithmetic: BinaryArithmetic) -> None:
    a, b = (_operand(ctx, *each) for each in ((0, arithmetic.a), (3, arithmetic.b)))
    if a.data is not None and b.data is not None:
        ctx.unsupported("both operands are constant; store the result in the model")
    if a.source_shape == b.source_shape and a.data is None and b.data is None:
        one, two = (np.arange(t.size) if t.order is None else t.order for t in (a, b))
        if a.shape != b.shape or not np.array_equal(one, two):
            a, b = ctx.plain(a), ctx.plain(b)
        target = ctx.output(a.source_shape, arithmetic.out, like=a)
    else:
        a, b = (t if t.data is not None else ctx.plain(t) for t in (a, b))
        target = _broadcast(ctx, a, b, arithmetic.out)
    ctx.add_node(op, (a.name, b.name), (target.name,), arithmetic)


def _broadcast(ctx: OnnxContext, a: Tensor, b: Tensor, out: Codes) -> Tensor:
    """Return the output of operands of two shapes, or of a constant one."""
    rank = len(max(a.source_shape, b.source_shape, key=len))
    if min(len(a.source_shape), len(b.source_shape)) < rank:
        ctx.unsupported(f"operands {a.source_shape}, {b.source_shape} must have the same rank")
    try:
        shape = np.broadcast_shapes(a.source_shape, b.source_shape)
    except ValueError:
        ctx.fail(f"operands must broadcast, not {a.source_shape} and {b.source_shape}")
    return ctx.output(shape, out)


def _operand(ctx: OnnxContext, position: int, codes: Codes) -> Tensor:
    """Return an operand that is computed, or a constant in the layout of the other operand."""
    name = ctx.node.input[position]
    value = ctx.constants.get(name)
    if value is None:
        return ctx.input(position, codes.dtype)
    if value.dtype != np.dtype(codes.dtype):
        ctx.fail(f"operand {name!r} must be {codes.dtype}, not {value.dtype}")
    other = ctx.node.input[3 - position]
    rank = len(ctx.tensors[other].source_shape) if other in ctx.tensors else value.ndim
    value = value.reshape((1,) * max(0, rank - value.ndim) + value.shape)
    order = default_order(value.shape)
    flat = value.ravel() if order is None else value.ravel()[order]
    shape = layout(value.shape, f"operand {name!r}")
    return ctx.add_tensor(
        Tensor(
            name=f"{ctx.layer}/{name}",
            shape=shape,
            dtype=codes.dtype,
            data=flat.reshape(shape),
            source_name=name,
            source_shape=value.shape,
            order=order,
        )
    )


def _table(ctx: OnnxContext, source: Tensor, out: Codes, formula: str, alpha: float = 0.0) -> None:
    if not np.isfinite(alpha):
        ctx.fail(f"alpha must be finite, not {alpha!r}")
    codes = ctx.known[source.name]
    table = build_lut(formula, codes, out, alpha=alpha)
    target = ctx.output(source.source_shape, out, like=source)
    lookup = LutArithmetic(table=table, formula=formula)
    ctx.add_node(Op.LUT, (source.name,), (target.name,), lookup)


def lut(name: str) -> Handler:
    """Return the handler of a com.microsoft QLinear unary operator."""

    def handler(ctx: OnnxContext) -> None:
        ctx.arity(4, 5)
        codes, out = ctx.codes(1, "input"), ctx.codes(3, "output")
        source = ctx.input(0, codes.dtype)
        ctx.known[source.name] = codes
        _table(ctx, source, out, ctx.row(name).formula, ctx.attribute("alpha", 0.01))

    return handler


leaky_relu = lut("leaky_relu")
"""com.microsoft QLinearLeakyRelu."""


def softmax(ctx: OnnxContext) -> None:
    """com.microsoft QLinearSoftmax over the last axis."""
    ctx.arity(5, 5)
    codes, out = ctx.codes(1, "input"), ctx.codes(3, "output")
    source = ctx.input(0, codes.dtype)
    rank = len(source.source_shape)
    axis = ctx.attribute("axis", -1)
    if rank > 3 or axis not in (-1, rank - 1):
        ctx.unsupported("it must be over the last axis of a matrix")
    source = ctx.plain(source)
    arithmetic = SoftmaxArithmetic(
        formula=ctx.row("softmax").formula, beta=1.0, codes=codes, out=out
    )
    target = ctx.output(source.source_shape, out, like=source)
    ctx.add_node(Op.SOFTMAX, (source.name,), (target.name,), arithmetic)


def concat(ctx: OnnxContext) -> None:
    """com.microsoft QLinearConcat: each input is rescaled by a table unless it need not be."""
    if len(ctx.node.input) < 5 or (len(ctx.node.input) - 2) % 3 or len(ctx.node.output) != 1:
        ctx.fail("must have an output scale and zero point and three values an input")
    out, formula = ctx.codes(0, "output"), ctx.row("requantize").formula
    sources, tables = [], []
    for position in range(2, len(ctx.node.input), 3):
        codes = ctx.codes(position + 1, "input")
        source = ctx.input(position, codes.dtype)
        sources.append(ctx.plain(source))
        tables.append(None if codes == out else build_lut(formula, codes, out))
    shape, axis = _joined(ctx, sources)
    arithmetic = ConcatArithmetic(tables=tuple(tables))
    names = [source.name for source in sources]
    ctx.add_node(Op.CONCAT, names, (ctx.output(shape, out).name,), arithmetic, {"axis": axis})


def concat_codes(ctx: OnnxContext) -> None:
    """Concat of codes, or of floats that are the same function of codes."""
    given = [ctx.input(position) for position in range(len(ctx.node.input))]
    tables = [ctx.tables.get(tensor.name) for tensor in given]
    known = [table for table in tables if table is not None]
    name = ctx.node.output[0]
    sources, final = given, name
    if known and len(known) == len(given):
        same = all(
            np.array_equal(table.values, known[0].values)
            and np.array_equal(table.alone, known[0].alone)
            for table in known
        )
        if not same:
            ctx.unsupported("inputs left in float32 must have the same quantization")
        sources, final = [ctx.tensors[table.source] for table in known], f"{name}/codes"
    sources = [ctx.plain(source) for source in sources]
    if len({source.dtype for source in sources}) != 1 or sources[0].dtype == "float32":
        ctx.left_in_float()
    shape, axis = _joined(ctx, sources)
    target = ctx.tensor(final, shape, sources[0], None)
    arithmetic = ConcatArithmetic(tables=(None,) * len(sources))
    names = [source.name for source in sources]
    ctx.add_node(Op.CONCAT, names, (target.name,), arithmetic, {"axis": axis})
    if known:
        ctx.output(shape, None, like=target)
        ctx.tables[name] = replace(known[0], source=target.name, layer=ctx.layer)


def _joined(ctx: OnnxContext, sources: list[Tensor]) -> tuple[tuple[int, ...], int]:
    """Return the shape of tensors joined along the node's axis, and the canonical axis."""
    shapes = [source.source_shape for source in sources]
    rank = len(shapes[0])
    axis = ctx.attribute("axis", 0) % max(rank, 1)
    sides = {(shape[:axis], shape[axis + 1 :]) for shape in shapes}
    if rank < 2 or axis == 0 or len(sides) != 1:
        ctx.unsupported(f"inputs {shapes} must agree but on one axis that is not the batch")
    if rank > 4:
        ctx.unsupported(f"inputs must have at most 4 sides, not {rank}")
    total = sum(shape[axis] for shape in shapes)
    joined = (*shapes[0][:axis], total, *shapes[0][axis + 1 :])
    return joined, {1: 2, 2: 0, 3: 1}[axis] if rank == 4 else axis + 3 - rank


def quantize(ctx: OnnxContext) -> None:
    """QuantizeLinear of an input, or of dequantized codes (a table)."""
    ctx.arity(2, 3)
    out = ctx.codes(1, "output")
    source = ctx.input(0, "float32")
    arithmetic = QuantizeArithmetic(formula=ctx.row("quantize").formula, out=out)
    chain = ctx.tables.get(source.name)
    if chain is not None:
        table, alone = (
            (quantize_codes(values, arithmetic) & 255).astype(np.uint8)
            for values in (chain.values, chain.alone)
        )
        if not np.array_equal(table, alone):
            ctx.unsupported(
                f"what onnxruntime makes of {chain.layer!r} depends on the place in the tensor: "
                "the last bit of a float decides a code; change a scale slightly"
            )
        target = ctx.output(source.source_shape, out, like=source)
        same = ctx.tensors[chain.source].dtype == out.dtype
        if same and np.array_equal(table, np.arange(256)):
            ctx.add_node(Op.RESHAPE, (chain.source,), (target.name,))
            return
        lookup = LutArithmetic(table=table, formula=f"onnxruntime:{chain.layer}")
        ctx.add_node(Op.LUT, (chain.source,), (target.name,), lookup)
        return
    if source.name in ctx.means:
        quantize_mean(ctx, ctx.means[source.name], out)
        return
    if source.name not in ctx.from_input:
        ctx.unsupported(f"its input {source.name!r} is float32 in the middle of the network")
    target = ctx.output(source.source_shape, out, like=source)
    ctx.add_node(Op.QUANTIZE, (source.name,), (target.name,), arithmetic)


def dequantize(ctx: OnnxContext) -> None:
    """DequantizeLinear of codes, to a graph's output."""
    ctx.arity(2, 3)
    source = ctx.input(0)
    if source.dtype not in ("int8", "uint8"):
        ctx.unsupported(f"its input must be int8 or uint8, not {source.dtype}")
    zero = 0
    if len(ctx.node.input) > 2 and ctx.node.input[2]:
        zero = ctx.codes(1, "input").zero_point
    scale = ctx.scales(1, "input")
    if scale.size != 1:
        ctx.unsupported("its input must have one scale")
    codes = Codes(dtype=source.dtype, scale=float(scale[0]), zero_point=zero)
    target = ctx.output(source.source_shape, None, like=source)
    arithmetic = DequantizeArithmetic(formula=ctx.row("dequantize").formula, codes=codes)
    values = dequantize_codes(code_values(codes), arithmetic)
    ctx.tables[target.name] = FloatTable(
        source=source.name, values=values, alone=values, layer=ctx.layer
    )
    ctx.dequantized[target.name] = codes
    ctx.add_node(Op.DEQUANTIZE, (source.name,), (target.name,), arithmetic)
