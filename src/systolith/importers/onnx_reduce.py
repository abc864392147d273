"""ONNX maxima: MaxPool, GlobalMaxPool, ReduceMax, ReduceMin, of codes or of their values.

The greatest of some values is the value of the greatest code where values grow with the codes.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from systolith.arithmetic import Codes, MaxPoolArithmetic
from systolith.graph import Op, Tensor
from systolith.importers.channels_first import append_move, moved
from systolith.importers.onnx_context import OnnxContext
from systolith.importers.onnx_layers import check_ceil, window_of
from systolith.importers.places import all_places
from systolith.importers.reduce import add_maximum, canonical_axes
from systolith.profiles.binary import code_values

__all__ = ["extremum", "global_max_pool", "max_pool"]


def _codes_of(ctx: OnnxContext, source: Tensor) -> tuple[Tensor, Codes]:
    """Return the codes behind an input, which may be their values in float32."""
    table = ctx.tables.get(source.name)
    if table is not None:
        source = ctx.tensors[table.source]
    if source.dtype not in ("int8", "uint8"):
        ctx.unsupported(f"it is left in {source.dtype}")
    codes = ctx.known.get(source.name) or Codes(dtype=source.dtype, scale=1.0, zero_point=0)
    if table is not None:
        order = np.argsort(code_values(codes))
        if any(np.any(np.diff(each[order]) < 0) for each in (table.values, table.alone)):
            ctx.unsupported("the values of its codes must grow with them")
    return source, codes


def _final(ctx: OnnxContext) -> str:
    """Return the name of the output's codes."""
    name = ctx.node.output[0]
    return f"{name}/codes" if ctx.node.input[0] in ctx.tables else name


def _finish(ctx: OnnxContext, target: Tensor) -> None:
    """Make the output in float32 if the input was."""
    table, name = ctx.tables.get(ctx.node.input[0]), ctx.node.output[0]
    if table is not None:
        ctx.output(target.source_shape, None, like=target)
        ctx.tables[name] = replace(table, source=target.name, layer=ctx.layer)


def max_pool(ctx: OnnxContext) -> None:
    """MaxPool."""
    ctx.arity(1, 1)
    check_ceil(ctx)
    source, codes = _codes_of(ctx, ctx.input(0))
    source = ctx.plain_image(source)
    window = window_of(ctx, source, ctx.attribute("kernel_shape", ()))
    if min(window.counts(*source.shape[:2]), default=0) < 1:
        ctx.fail("every window must see at least one input")
    rows, columns = window.positions(*source.shape[:2])
    if rows < 1 or columns < 1:
        ctx.fail(f"window {window.kernel} must fit its input {source.shape[:2]}")
    target = ctx.tensor(_final(ctx), (1, source.shape[2], rows, columns), source, None)
    arithmetic = MaxPoolArithmetic(low=codes.low, high=codes.high)
    ctx.add_node(Op.MAX_POOL, (source.name,), (target.name,), arithmetic, window.attributes())
    _finish(ctx, target)


def _reduce(ctx: OnnxContext, axes: list[int], *, keep: bool, least: bool) -> None:
    source, codes = _codes_of(ctx, ctx.input(0))
    source = ctx.plain(source)
    shape = source.source_shape
    rank = len(shape)
    if rank > 4 or not all(-rank <= axis < rank for axis in axes):
        ctx.unsupported(f"axes must be among those of at most 4 sides, not {axes}")
    found = {axis % rank for axis in axes}
    sides = tuple(1 if axis in found else side for axis, side in enumerate(shape))
    final = _final(ctx)
    target = ctx.tensor(final if keep else f"{final}/kept", sides, source, None)
    reduced = canonical_axes(found, rank, channels_first=True)
    if reduced:
        add_maximum(ctx, source, target, reduced, codes, least=least)
    else:
        ctx.add_node(Op.RESHAPE, (source.name,), (target.name,))
    if not keep:
        inner, places = target, all_places(sides).squeeze(tuple(found))
        target, index = moved(ctx, inner, places, final)
        append_move(ctx, inner, target, index, "/squeezed")
    _finish(ctx, target)


def global_max_pool(ctx: OnnxContext) -> None:
    """GlobalMaxPool: over all sides but the batch and the channels."""
    ctx.arity(1, 1)
    rank = len(ctx.input(0).source_shape)
    _reduce(ctx, list(range(2, rank)), keep=True, least=False)


def extremum(*, least: bool) -> Callable[[OnnxContext], None]:
    """Return the handler of ReduceMax, or of ReduceMin."""

    def handler(ctx: OnnxContext) -> None:
        ctx.arity(1, 2)
        axes = ctx.axes()
        if axes is None:
            if ctx.attribute("noop_with_empty_axes", 0):
                ctx.unsupported("it must reduce something")
            axes = tuple(range(len(ctx.input(0).source_shape)))
        _reduce(ctx, list(axes), keep=bool(ctx.attribute("keepdims", 1)), least=least)

    return handler
