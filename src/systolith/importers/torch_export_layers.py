"""The layers of exported PyTorch programs: a handler each."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    ConcatArithmetic,
    MaxPoolArithmetic,
    Requant,
)
from systolith.graph import Op
from systolith.importers.geometry import Window
from systolith.importers.torch_context import Filters, pair
from systolith.importers.torch_program import Ref, import_torch
from systolith.importers.torch_symbols import ExportContext, Pending, Real, Weights
from systolith.profiles.binary import code_values

__all__ = [
    "average",
    "binary",
    "clamp",
    "concat",
    "conv",
    "elementwise",
    "linear",
    "max_pool",
    "rename",
]

_F = np.float32


def _filters(ctx: ExportContext) -> Filters:
    weights = ctx.symbol(1)
    if not isinstance(weights, Weights):
        ctx.unsupported("weights must be quantized")
    bias = ctx.argument(2)
    floats = np.zeros(len(weights.codes), _F) if bias is None else bias.detach().numpy().astype(_F)
    return Filters(weights.codes, weights.scales, floats)


def conv(ctx: ExportContext) -> None:
    """aten::conv2d(x, weight, bias, stride, padding, dilation, groups)."""
    filters, source = _filters(ctx), ctx.real(0).source
    get = ctx.argument
    if isinstance(get(4), str):
        ctx.unsupported("its padding must be numbers")
    (top, left), groups = pair(get(4, 0)), int(get(6, 1))
    window = Window(
        kernel=pair(filters.codes.shape[2:]),
        strides=pair(get(3, 1)),
        dilations=pair(get(5, 1)),
        pads=(top, top, left, left),
    )
    ctx.pend(
        lambda out, limits, name: ctx.convolution(
            source, filters, window, groups, out, limits, name
        )
    )


def linear(ctx: ExportContext) -> None:
    """aten::linear(x, weight, bias)."""
    filters, source = _filters(ctx), ctx.real(0).source
    ctx.pend(lambda out, limits, name: ctx.linear(source, filters, out, limits, name))


def binary(op: Op) -> Callable[[ExportContext], None]:
    """Return the handler of a sum or product of two tensors."""

    def handler(ctx: ExportContext) -> None:
        parts = [ctx.real(position) for position in (0, 1)]
        if parts[0].source.source_shape != parts[1].source.source_shape:
            ctx.unsupported("operands must have the same shape")
        a, b = (ctx.plain(part.source) for part in parts)
        formula = ctx.row(op.value).formula
        shape = a.source_shape

        def finish(out: Codes, limits: tuple[int, int], name: str) -> None:
            arithmetic = BinaryArithmetic(
                formula=formula,
                a=ctx.known[a.name],
                b=ctx.known[b.name],
                out=out,
                low=limits[0],
                high=limits[1],
            )
            target = ctx.make(name, shape, out)
            ctx.add_node(op, (a.name, b.name), (target.name,), arithmetic)

        ctx.pend(finish)

    return handler


def clamp(low: float, high: float) -> Callable[[ExportContext], None]:
    """Return the handler of an activation that clamps, with bounds unless the call has its own."""

    def handler(ctx: ExportContext) -> None:
        value = ctx.symbol(0)
        least = float(ctx.argument(1, low))
        most = float(ctx.argument(2, high))
        if isinstance(value, Pending):
            ctx.symbols[ctx.call.output] = replace(
                value, low=max(value.low, least), high=min(value.high, most)
            )
        else:
            elementwise(ctx)

    return handler


def elementwise(ctx: ExportContext) -> None:
    """A function of one float32 value: PyTorch computes it for every code."""
    torch = import_torch()
    value, rest = ctx.real(0, exact=False), ctx.call.arguments[1:]
    with ctx.program.running():
        part = torch.from_numpy(value.values.copy())
        together = ctx.call.function(part, *rest, **ctx.call.keywords).numpy()
        ones = [ctx.call.function(part[i : i + 1], *rest, **ctx.call.keywords) for i in range(256)]
    alone = torch.cat(ones).numpy()
    # Vectors and what is left over may differ in the last bit: that matters for ties only.
    if np.any(np.abs(together - alone) > np.spacing(np.abs(together))):
        ctx.unsupported("what PyTorch makes of a code depends on its place")
    ctx.symbols[ctx.call.output] = Real(
        source=value.source, values=together.astype(_F), exact=False
    )


def rename(ctx: ExportContext) -> None:
    """Operators that keep all elements in their order."""
    value, shape = ctx.symbol(0), ctx.program.values[ctx.call.output].shape
    name = ctx.call.output
    if isinstance(value, Real):
        moved = ctx.move(value.source, f"{name}/codes", shape)
        ctx.symbols[name] = replace(value, source=moved)
    elif isinstance(value, Pending) and shape == value.shape:
        ctx.symbols[name] = value
    elif isinstance(value, Pending):
        inner = value

        def finish(out: Codes, limits: tuple[int, int], final: str) -> None:
            inner.finish(out, limits, f"{final}/before")
            ctx.layer = f"{inner.layer}/{name}"
            ctx.move(ctx.tensors[f"{final}/before"], final, shape)

        ctx.symbols[name] = replace(value, finish=finish, shape=shape)
    else:
        ctx.unsupported("its input must be float32")


def max_pool(ctx: ExportContext) -> None:
    """aten::max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)."""
    value = ctx.real(0, exact=False)
    order = np.argsort(code_values(ctx.known[value.source.name]))
    if np.any(np.diff(value.values[order]) < 0):
        ctx.unsupported("the values of its codes must grow with them")
    source, get = ctx.plain_image(value.source), ctx.argument
    (top, left), codes = pair(get(3, 0)), ctx.known[value.source.name]
    window = Window(
        kernel=pair(get(1)),
        strides=pair(get(2) or get(1)),
        dilations=pair(get(4, 1)),
        pads=(top, top, left, left),
    )
    if get(5, False):
        ctx.unsupported("ceil_mode must be False")
    shape = ctx.program.values[ctx.call.output].shape
    target = ctx.make(f"{ctx.call.output}/codes", shape, codes)
    arithmetic = MaxPoolArithmetic(low=codes.low, high=codes.high)
    ctx.add_node(Op.MAX_POOL, (source.name,), (target.name,), arithmetic, window.attributes())
    ctx.symbols[ctx.call.output] = replace(value, source=target)


def average(kind: str) -> Callable[[ExportContext], None]:
    """Return the handler of avg_pool2d, adaptive_avg_pool2d or mean."""

    def handler(ctx: ExportContext) -> None:
        value, get = ctx.real(0), ctx.argument
        source = ctx.plain_image(value.source)
        height, width, channels = source.shape
        if kind == "avg_pool2d":
            kernel, strides = pair(get(1)), pair(get(2) or get(1))
            if get(3, 0) not in (0, [0, 0]) or get(4, False) or get(6) is not None:
                ctx.unsupported("it must have no padding, no ceil_mode and no divisor of its own")
        else:
            size = pair(get(1)) if kind == "adaptive_avg_pool2d" else (1, 1)
            if kind == "mean" and sorted(axis % 4 for axis in get(1)) != [2, 3]:
                ctx.unsupported("it must be over height and width")
            if height % size[0] or width % size[1]:
                ctx.unsupported(f"its {size} outputs must divide {(height, width)} inputs")
            strides = kernel = (height // size[0], width // size[1])
        window = Window(kernel=kernel, strides=strides)
        codes, count = ctx.known[source.name], kernel[0] * kernel[1]
        shape = ctx.program.values[ctx.call.output].shape

        def finish(out: Codes, limits: tuple[int, int], name: str) -> None:
            requant = Requant(
                formula=ctx.row("avg_pool").formula,
                zero_point=out.zero_point,
                low=limits[0],
                high=limits[1],
                scale=np.array([_F(codes.scale) / _F(count)], _F),
                output_scale=out.scale,
                addend=np.zeros(1, _F),
                whole=np.zeros(1, np.int64),
            )
            image = len(shape) == 4
            made = name if image else f"{name}/image"
            ctx.pool(source, window, {count: requant}, codes.zero_point, out, made)
            if not image:
                ctx.layer = f"{ctx.layer}/rows"
                ctx.move(ctx.tensors[made], name, shape)

        ctx.pend(finish)

    return handler


def concat(ctx: ExportContext) -> None:
    """aten::cat(tensors, dim)."""
    parts = ctx.call.arguments[0]
    values = [ctx.symbols.get(part.name) for part in parts if isinstance(part, Ref)]
    reals = [value for value in values if isinstance(value, Real)]
    if len(reals) != len(parts) or any(
        not np.array_equal(real.values, reals[0].values) for real in reals
    ):
        ctx.unsupported("its inputs must be quantized with one scale and zero point")
    shape = ctx.program.values[ctx.call.output].shape
    rank, axis = len(shape), int(ctx.argument(1, 0)) % len(shape)
    if axis == 0 or rank > 4:
        ctx.unsupported("it must not join batches")
    sources = [ctx.plain(real.source) for real in reals]
    target = ctx.make(f"{ctx.call.output}/codes", shape, ctx.known[sources[0].name])
    arithmetic = ConcatArithmetic(tables=(None,) * len(sources))
    canonical = {1: 2, 2: 0, 3: 1}[axis] if rank == 4 else axis + 3 - rank
    names = [source.name for source in sources]
    ctx.add_node(Op.CONCAT, names, (target.name,), arithmetic, {"axis": canonical})
    ctx.symbols[ctx.call.output] = replace(reals[0], source=target)
