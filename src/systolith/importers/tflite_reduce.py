"""TFLite reductions: MEAN, REDUCE_MAX, REDUCE_MIN over constant axes."""

from collections.abc import Callable

import numpy as np

from systolith.importers.reduce import add_maximum, add_mean, canonical_axes
from systolith.importers.tflite_context import TfliteContext
from systolith.profiles.pooling import mean_double, mean_xnnpack

__all__ = ["extremum", "mean"]


def _axes(ctx: TfliteContext) -> frozenset[int]:
    """Return the canonical axes, after checking the output's size."""
    ctx.arity(2, 2)
    source, target = ctx.input(0), ctx.output()
    axes = ctx.raw(ctx.operator.inputs[1]).data
    rank = len(source.source_shape)
    if axes is None or not 1 <= rank <= 4:
        ctx.unsupported("its axes must be constant, and its input of 1 to 4 sides")
    found = canonical_axes([int(a) for a in axes.reshape(-1)], rank, channels_first=False)
    kept = int(np.prod([side for axis, side in enumerate(source.shape) if axis not in found]))
    if target.size != kept:
        ctx.fail(f"output must have {kept} values, not {target.size}")
    return found


def mean(ctx: TfliteContext) -> None:
    """MEAN over any axes, with or without keep_dims."""
    axes = _axes(ctx)
    source, target = ctx.input(0), ctx.output()
    codes, out = ctx.codes(ctx.operator.inputs[0]), ctx.codes(ctx.operator.outputs[0])
    formula = ctx.row("mean").formula
    count = int(np.prod([source.shape[axis] for axis in axes]))
    build = mean_double if formula == "double" else mean_xnnpack
    zero_point = codes.zero_point if formula == "double" else 0
    requant = build(codes, out, count)
    add_mean(ctx, source, target, axes, zero_point, requant, (codes, out))


def extremum(*, least: bool) -> Callable[[TfliteContext], None]:
    """Return the handler of REDUCE_MAX, or of REDUCE_MIN."""

    def handler(ctx: TfliteContext) -> None:
        axes = _axes(ctx)
        ctx.row("reduce_max")
        ctx.same_codes("input and output must have the same quantization")
        codes = ctx.codes(ctx.operator.outputs[0])
        add_maximum(ctx, ctx.input(0), ctx.output(), axes, codes, least=least)

    return handler
