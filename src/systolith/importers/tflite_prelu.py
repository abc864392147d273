"""TFLite's PRELU: a table where all slopes are the same, else a filter of slopes and an addition.

Codes at or above the zero point and those below never meet: a table makes its result of the ones,
and the zero point of the others; a filter of slopes makes its of the others, and is clamped to the
zero point on the ones. The sum of both, less one zero point, is the result.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import BinaryArithmetic, Codes, LutArithmetic, MacArithmetic, Requant
from systolith.graph import Op, Tensor
from systolith.importers.geometry import Window
from systolith.importers.tflite_context import TfliteContext
from systolith.importers.tflite_pointwise import add_table
from systolith.profiles.binary import code_values
from systolith.profiles.lut import prelu_lut
from systolith.profiles.multipliers import quantize_multiplier

__all__ = ["prelu"]


def prelu(ctx: TfliteContext) -> None:
    """PRELU with constant slopes, one for all or one a channel."""
    ctx.arity(2, 2)
    ctx.row("prelu")
    source, target = ctx.input(0), ctx.output()
    slopes, slope = ctx.raw(ctx.operator.inputs[1]).data, ctx.codes(ctx.operator.inputs[1])
    own, out = (ctx.codes(i) for i in (ctx.operator.inputs[0], ctx.operator.outputs[0]))
    if slopes is None or slopes.size not in (1, slopes.shape[-1]):
        ctx.unsupported("its slopes must be constant, one for all or one a channel")
    if np.unique(slopes).size == 1:
        add_table(ctx, prelu_lut(own, slope, int(slopes.reshape(-1)[0]), out), "prelu")
        return
    if slopes.size != source.shape[2] or source.shape != target.shape:
        ctx.fail(f"must have {source.shape[2]} slopes and an output of its input's shape")
    if np.any(slopes.astype(np.int64) < slope.zero_point):
        ctx.unsupported("slopes that differ between channels must not be negative")
    _by_channel(ctx, slopes.reshape(-1), own, slope, out)


def _between(ctx: TfliteContext, target: Tensor, name: str) -> Tensor:
    """Return a tensor like the target."""
    own = f"{target.name}/{name}"
    return ctx.add_tensor(replace(target, name=own, source_name=own))


def _by_channel(
    ctx: TfliteContext, slopes: NDArray[np.int8], own: Codes, slope: Codes, out: Codes
) -> None:
    source, target = ctx.input(0), ctx.output()
    above, below = (_between(ctx, target, name) for name in ("above", "below"))
    table = prelu_lut(own, slope, slope.zero_point, out)
    positive = code_values(own) >= own.zero_point
    table = np.where(positive, table, out.zero_point & 255).astype(np.uint8)
    lookup = LutArithmetic(table=table, formula="prelu")
    ctx.add_node(Op.LUT, (source.name,), (above.name,), lookup, suffix="/above")
    window = Window(kernel=(1, 1), strides=(1, 1)).attributes(groups=slopes.size)
    arithmetic = MacArithmetic(
        weights=slopes.reshape(-1, 1, 1, 1),
        weight_zero_point=slope.zero_point,
        bias=np.zeros(slopes.size, np.int32),
        input_zero_point=own.zero_point,
        requant=_falling(own, slope, out),
    )
    names = (source.name,), (below.name,)
    ctx.add_node(Op.CONV2D, *names, arithmetic, window, suffix="/below")
    total = BinaryArithmetic(formula="codes_sum", a=out, b=out, out=out, low=out.low, high=out.high)
    ctx.add_node(Op.ADD, (below.name, above.name), (target.name,), total)


def _falling(own: Codes, slope: Codes, out: Codes) -> Requant:
    """M1 of ``x * slope``, at most the zero point."""
    steep = float(np.float32(own.scale)) * float(np.float32(slope.scale))
    factor = np.atleast_1d(np.float64(steep / float(np.float32(out.scale))))
    q, shift = quantize_multiplier(factor)
    return Requant(
        formula="double",
        zero_point=out.zero_point,
        low=out.low,
        high=out.zero_point,
        scale=factor,
        multiplier=q,
        shift=shift,
    )
