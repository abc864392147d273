"""ONNX means that onnxruntime leaves in float32, up to the QuantizeLinear behind them."""

import numpy as np

from systolith.arithmetic import Codes, Requant
from systolith.importers.channels_first import append_move, moved
from systolith.importers.onnx_context import FloatMean, OnnxContext
from systolith.importers.places import all_places
from systolith.importers.reduce import add_mean, canonical_axes

__all__ = ["global_average_pool", "quantize_mean", "reduce_mean"]


def reduce_mean(ctx: OnnxContext) -> None:
    """ReduceMean of dequantized codes: noted, for the QuantizeLinear behind it."""
    ctx.arity(1, 2)
    rank = len(ctx.input(0, "float32").source_shape)
    axes = ctx.axes()
    if axes is None:
        if ctx.attribute("noop_with_empty_axes", 0):
            ctx.unsupported("it must reduce something")
        axes = tuple(range(rank))
    _note(ctx, axes, keep=bool(ctx.attribute("keepdims", 1)))


def global_average_pool(ctx: OnnxContext) -> None:
    """GlobalAveragePool of dequantized codes."""
    ctx.arity(1, 1)
    _note(ctx, tuple(range(2, len(ctx.input(0, "float32").source_shape))), keep=True)


def _note(ctx: OnnxContext, axes: tuple[int, ...], *, keep: bool) -> None:
    source = ctx.input(0, "float32")
    if source.name not in ctx.dequantized:
        ctx.left_in_float()
    rank = len(source.source_shape)
    if not 1 <= rank <= 4 or not all(-rank <= axis < rank for axis in axes):
        ctx.unsupported(f"axes must be among those of at most 4 sides, not {axes}")
    found = tuple(sorted({axis % rank for axis in axes}))
    sides = [
        1 if axis in found else side
        for axis, side in enumerate(source.source_shape)
        if keep or axis not in found
    ]
    name = ctx.node.output[0]
    ctx.output(tuple(sides), None)
    ctx.means[name] = FloatMean(
        source=ctx.tables[source.name].source,
        codes=ctx.dequantized[source.name],
        axes=found,
        layer=ctx.layer,
    )


def quantize_mean(ctx: OnnxContext, mean: FloatMean, out: Codes) -> None:
    """Append the mean of codes, with the current QuantizeLinear's output."""
    source = ctx.plain(ctx.tensors[mean.source])
    shape, name = source.source_shape, ctx.node.output[0]
    kept = tuple(1 if axis in mean.axes else side for axis, side in enumerate(shape))
    wanted = ctx.tensors[ctx.node.input[0]].source_shape
    final = ctx.output(wanted, out) if wanted == kept else None
    target = final or ctx.quantized(f"{name}/kept", kept, out)
    count = int(np.prod([shape[axis] for axis in mean.axes]))
    requant = Requant(
        formula=ctx.row("mean").formula,
        zero_point=out.zero_point,
        low=out.low,
        high=out.high,
        scale=np.array([mean.codes.scale], np.float32),
        divisor=count,
        output_scale=out.scale,
    )
    axes = canonical_axes(mean.axes, len(shape), channels_first=True)
    codes = (mean.codes, out)
    add_mean(ctx, source, target, axes, mean.codes.zero_point, requant, codes)
    if final is None:
        places = all_places(kept).reshape(wanted)
        squeezed, index = moved(ctx, target, places, name)
        append_move(ctx, target, squeezed, index, "/squeezed")
