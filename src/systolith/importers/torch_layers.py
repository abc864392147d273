"""The layers of quantized PyTorch modules: a handler each, on calls of a traced program."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    ConcatArithmetic,
    DequantizeArithmetic,
    LutArithmetic,
    MaxPoolArithmetic,
    QuantizeArithmetic,
    Requant,
)
from systolith.graph import Op, Tensor
from systolith.importers.geometry import Window
from systolith.importers.torch_context import Filters, TorchContext, pair
from systolith.importers.torch_program import Ref, import_torch

__all__ = [
    "adaptive_pool",
    "average_pool",
    "binary",
    "concat",
    "conv",
    "dequantize",
    "linear",
    "max_pool",
    "quantize",
    "rename",
    "unary",
]

Handler = Callable[[TorchContext], None]
_F = np.float32


def _codes(ctx: TorchContext, name: str) -> Codes:
    """Return the codes that PyTorch gave a value."""
    value = ctx.program.values[name]
    if value.scale is None or value.zero_point is None:
        ctx.unsupported(f"{name!r} is float32 in the middle of the network; quantize it")
    if value.dtype != "uint8":
        ctx.unsupported(f"activations must be quint8, {name!r} is {value.dtype}")
    return ctx.checked(value.scale, value.zero_point, "uint8")


def _input(ctx: TorchContext, position: int = 0) -> Tensor:
    name = ctx.name(position)
    if name not in ctx.known:
        ctx.unsupported(f"its input {name!r} is not quantized")
    return ctx.tensors[name]


def _shape(ctx: TorchContext) -> tuple[int, ...]:
    return ctx.program.values[ctx.call.output].shape


def _filters(ctx: TorchContext, weights: Any, bias: Any) -> Filters:
    """Return what was packed."""
    torch = import_torch()
    if weights.dtype != torch.qint8:
        ctx.unsupported(f"weights must be qint8, not {weights.dtype}")
    if weights.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scales = weights.q_per_channel_scales().numpy().astype(_F)
        zeros = weights.q_per_channel_zero_points().numpy()
        if weights.q_per_channel_axis() != 0:
            ctx.unsupported("weights must be quantized along their output channels")
    else:
        scales, zeros = np.array([weights.q_scale()], _F), np.array([weights.q_zero_point()])
    if np.any(zeros != 0):
        ctx.unsupported("weights must be symmetric (zero point 0)")
    if not np.all(np.isfinite(scales) & (scales > 0)):
        ctx.fail("weights' scales must be finite and positive")
    codes = weights.int_repr().numpy()
    floats = np.zeros(len(codes), _F) if bias is None else bias.detach().numpy().astype(_F)
    return Filters(codes, scales, floats)


def _limits(out: Codes, relu: bool) -> tuple[int, int]:
    return (out.zero_point if relu else out.low, out.high)


def conv(relu: bool) -> Handler:
    """Return the handler of quantized::conv2d, or of conv2d_relu."""

    def handler(ctx: TorchContext) -> None:
        packed, out = ctx.argument(1), _codes(ctx, ctx.call.output)
        source = _input(ctx)
        top, left = pair(packed.padding())
        window = Window(
            kernel=(1, 1),
            strides=pair(packed.stride()),
            dilations=pair(packed.dilation()),
            pads=(top, top, left, left),
        )
        filters = _filters(ctx, *packed.unpack())
        window = replace(window, kernel=pair(filters.codes.shape[2:]))
        if packed.transpose():
            ctx.unsupported("it must not be transposed")
        limits = _limits(out, relu)
        groups = int(packed.groups())
        ctx.convolution(source, filters, window, groups, out, limits, ctx.call.output)

    return handler


def linear(relu: bool) -> Handler:
    """Return the handler of quantized::linear, or of linear_relu."""

    def handler(ctx: TorchContext) -> None:
        packed, out = ctx.argument(1), _codes(ctx, ctx.call.output)
        filters = _filters(ctx, *packed.unpack())
        ctx.linear(_input(ctx), filters, out, _limits(out, relu), ctx.call.output)

    return handler


def binary(op: Op, relu: bool) -> Handler:
    """Return the handler of quantized::add or mul, or of those with relu."""

    def handler(ctx: TorchContext) -> None:
        if not all(isinstance(each, Ref) for each in ctx.call.arguments[:2]):
            ctx.unsupported("both operands must be computed by the network")
        a, b = (ctx.plain(_input(ctx, position)) for position in (0, 1))
        out = _codes(ctx, ctx.call.output)
        low, high = _limits(out, relu)
        arithmetic = BinaryArithmetic(
            formula=ctx.row(op.value).formula,
            a=ctx.known[a.name],
            b=ctx.known[b.name],
            out=out,
            low=low,
            high=high,
        )
        if op is Op.ADD and a.shape != b.shape:
            ctx.unsupported(f"operands {a.source_shape}, {b.source_shape} must be alike")
        target = ctx.make(ctx.call.output, _shape(ctx), out)
        ctx.add_node(op, (a.name, b.name), (target.name,), arithmetic)

    return handler


def unary(ctx: TorchContext) -> None:
    """A function of codes: its table is PyTorch's own result on every code."""
    source, out = _input(ctx), _codes(ctx, ctx.call.output)
    ctx.row("unary")
    tables = []
    for repeats in (1, 0):
        # All codes at once, by vectors; and one after the other, as what is left over is.
        parts = np.arange(256, dtype=np.uint8)
        rows = [parts] if repeats else [parts[i : i + 1] for i in range(256)]
        tables.append(np.concatenate([_applied(ctx, row) for row in rows]))
    if not np.array_equal(tables[0], tables[1]):
        ctx.unsupported("PyTorch's result depends on a code's place; change a scale slightly")
    target = ctx.make(ctx.call.output, source.source_shape, out, like=source)
    table = LutArithmetic(table=tables[0].astype(np.uint8), formula=ctx.call.op)
    ctx.add_node(Op.LUT, (source.name,), (target.name,), table)


def _applied(ctx: TorchContext, codes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what the current call makes of some codes of its input."""
    torch = import_torch()
    known = ctx.program.values[ctx.name(0)]
    tensor = torch._make_per_tensor_quantized_tensor(
        torch.from_numpy(codes.copy()), known.scale, known.zero_point
    )
    with ctx.program.running():
        result = ctx.call.function(tensor, *ctx.call.arguments[1:], **ctx.call.keywords)
    answer: np.ndarray[Any, Any] = result.int_repr().numpy()
    return answer


def _window(ctx: TorchContext, kernel: Any, strides: Any, pads: Any, dilations: Any = 1) -> Window:
    top, left = pair(pads)
    window = Window(
        kernel=pair(kernel),
        strides=pair(strides or kernel),
        dilations=pair(dilations),
        pads=(top, top, left, left),
    )
    if not window.valid():
        ctx.fail(f"kernel, strides, dilations and pads must be in range, not {window}")
    return window


def max_pool(ctx: TorchContext) -> None:
    """aten::max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)."""
    source = ctx.plain_image(_input(ctx))
    get = ctx.argument
    window = _window(ctx, get(1), get(2), get(3, 0), get(4, 1))
    if get(5, False):
        ctx.unsupported("ceil_mode must be False")
    codes = ctx.known[source.name]
    target = ctx.make(ctx.call.output, _shape(ctx), codes)
    arithmetic = MaxPoolArithmetic(low=codes.low, high=codes.high)
    ctx.add_node(Op.MAX_POOL, (source.name,), (target.name,), arithmetic, window.attributes())


def average_pool(ctx: TorchContext) -> None:
    """aten::avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor)."""
    source = ctx.plain_image(_input(ctx))
    get = ctx.argument
    window = _window(ctx, get(1), get(2), get(3, 0))
    if get(4, False) or get(6) is not None or max(window.pads):
        ctx.unsupported("it must have no padding, no ceil_mode and no divisor of its own")
    _averaged(ctx, source, window, False)


def adaptive_pool(ctx: TorchContext) -> None:
    """aten::adaptive_avg_pool2d(x, size): windows of one size, if they come out even."""
    source = ctx.plain_image(_input(ctx))
    size = pair(ctx.argument(1))
    height, width, _ = source.shape
    if height % size[0] or width % size[1]:
        ctx.unsupported(f"its {size} outputs must divide {(height, width)} inputs")
    kernel = (height // size[0], width // size[1])
    _averaged(ctx, source, Window(kernel=kernel, strides=kernel), size == (1, 1))


def _averaged(ctx: TorchContext, source: Tensor, window: Window, everything: bool) -> None:
    codes, count = ctx.known[source.name], window.kernel[0] * window.kernel[1]
    row = ctx.row("avg_pool")
    scale = _F(1) / _F(count)
    if everything and ctx.profile.name == "torch-qnnpack":
        scale = _F(codes.scale) / _F(_F(codes.scale) * _F(count))
    # Kernels for images whose channels lie apart round with the zero point inside of the sum.
    name = source.name.removesuffix("/plain")
    inside = not ctx.program.values[name].channels_last and ctx.profile.name == "torch-x86"
    zero = 0 if inside and not everything else codes.zero_point
    requant = Requant(
        formula=row.formula,
        zero_point=zero,
        low=codes.low,
        high=codes.high,
        scale=np.array([scale], _F),
    )
    ctx.pool(source, window, {count: requant}, zero, codes, ctx.call.output)


def concat(ctx: TorchContext) -> None:
    """quantized::cat(tensors, dim, scale, zero_point), or aten::cat."""
    parts = ctx.call.arguments[0]
    if not isinstance(parts, list) or not all(isinstance(part, Ref) for part in parts):
        ctx.unsupported("its inputs must be computed by the network")
    sources = [ctx.plain(ctx.tensors[part.name]) for part in parts if part.name in ctx.known]
    out = _codes(ctx, ctx.call.output)
    if len(sources) != len(parts) or any(ctx.known[s.name] != out for s in sources):
        ctx.unsupported("its inputs must have the output's scale and zero point")
    rank = len(sources[0].source_shape)
    axis = int(ctx.argument(1, 0)) % rank
    if axis == 0 or rank > 4:
        ctx.unsupported("it must not join batches")
    target = ctx.make(ctx.call.output, _shape(ctx), out)
    arithmetic = ConcatArithmetic(tables=(None,) * len(sources))
    canonical = {1: 2, 2: 0, 3: 1}[axis] if rank == 4 else axis + 3 - rank
    names = [source.name for source in sources]
    ctx.add_node(Op.CONCAT, names, (target.name,), arithmetic, {"axis": canonical})


def rename(ctx: TorchContext) -> None:
    """Operators that keep all elements in their order: flatten, reshape, view, dropout ..."""
    ctx.move(_input(ctx), ctx.call.output, _shape(ctx))


def quantize(ctx: TorchContext) -> None:
    """aten::quantize_per_tensor of an input."""
    name = ctx.name(0)
    if name not in ctx.program.inputs:
        ctx.unsupported(f"its input {name!r} is float32 in the middle of the network")
    out, source = _codes(ctx, ctx.call.output), ctx.tensors[name]
    target = ctx.make(ctx.call.output, source.source_shape, out, like=source)
    arithmetic = QuantizeArithmetic(formula=ctx.row("quantize").formula, out=out)
    ctx.add_node(Op.QUANTIZE, (source.name,), (target.name,), arithmetic)


def dequantize(ctx: TorchContext) -> None:
    """aten::dequantize, to a graph's output."""
    source = _input(ctx)
    target = ctx.make(ctx.call.output, source.source_shape, None, like=source)
    formula = ctx.row("dequantize").formula
    arithmetic = DequantizeArithmetic(formula=formula, codes=ctx.known[source.name])
    ctx.add_node(Op.DEQUANTIZE, (source.name,), (target.name,), arithmetic)
