"""Nodes of what awaits a quantizer: sums with thresholds, and tables of one code or two."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    LutArithmetic,
    PoolArithmetic,
    Requant,
)
from systolith.float_steps import FloatStep, FloatSums
from systolith.graph import Op
from systolith.importers.geometry import Window
from systolith.importers.qonnx_context import QonnxContext
from systolith.importers.qonnx_edges import Target, emit_input, emit_later, fresh_layer, made_like
from systolith.importers.qonnx_pending import (
    CodesBase,
    InputBase,
    MacBase,
    PairBase,
    PoolBase,
)
from systolith.importers.qonnx_quantizers import constant_codes, read_quantizer
from systolith.importers.qonnx_sums import add_sums, pool_of_ones
from systolith.profiles.binary import code_values
from systolith.profiles.steps import (
    affine,
    apply_steps,
    fall_with,
    monotone_thresholds,
    sum_values,
)

__all__ = ["quantize"]

Int64Array = NDArray[np.int64]

_FARTHEST = 1 << 24
"""Greatest bias: the accumulator must have room for it."""


def quantize(ctx: QonnxContext) -> None:
    """Quant, IntQuant, BipolarQuant, Trunc, MultiThreshold or Sign."""
    if ctx.node.input and ctx.node.input[0] in ctx.constants:
        constant_codes(ctx)
        return
    pending = ctx.value(0)
    quantizer, codes = read_quantizer(ctx)
    target = Target(pending=pending, quantizer=quantizer, codes=codes)
    name = ctx.node.output[0]
    nodes = pending.later
    own, ctx.node = ctx.node, onnx.NodeProto()
    layer, source_op = ctx.layer, ctx.source_op
    if not isinstance(pending.base, InputBase | CodesBase):
        ctx.layer, ctx.source_op = fresh_layer(ctx, pending.layer), pending.source_op
    final = f"{name}/{ctx.layer}" if nodes else name
    base = pending.base
    if isinstance(base, MacBase):
        _emit_mac(ctx, target, base, final)
    elif isinstance(base, PoolBase):
        _emit_pool(ctx, target, base, final)
    elif isinstance(base, CodesBase):
        _emit_table(ctx, target, base, final)
    elif isinstance(base, PairBase):
        _emit_pair(ctx, target, base, final)
    else:
        emit_input(ctx, target, base, final)
    emit_later(ctx, nodes, final, name)
    ctx.node, ctx.layer, ctx.source_op = own, layer, source_op


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    """Sums that a quantizer reads.

    Parameters
    ----------
    worth: of the runtime's sums.
    signs: of the sums here, per channel: those whose codes would fall are negated.
    lo, hi: reachable sums here.
    bias: added to the sums here, per channel.
    """

    worth: FloatSums
    signs: Int64Array
    lo: Int64Array
    hi: Int64Array
    bias: Int64Array

    def values(self, sums: Int64Array, side: int = 0) -> NDArray[np.float32]:
        return sum_values((sums - self.bias) * self.signs, self.worth, side)


def _sums(
    target: Target, worth: FloatSums, lo: Int64Array, hi: Int64Array, *, biased: bool
) -> tuple[_Sums, NDArray[np.float64]]:
    """Return sums so turned and moved that codes are nearly a factor times them, and the factor."""
    channels = len(lo)
    steps = (*target.steps, *target.quantizer.steps)
    falls = fall_with(steps, channels)
    slope, offset = affine(steps, np.broadcast_to(worth.unit, (channels,)))
    known = slope != 0
    zero = np.where(known, offset / np.where(known, slope, 1.0), 0.0)
    signs = np.where(falls, -1, 1).astype(np.int64)
    near = biased & (np.abs(zero) < _FARTHEST)
    bias = np.where(near, np.rint(zero), 0).astype(np.int64) * signs
    ends = np.where(falls, -hi, lo) + bias, np.where(falls, -lo, hi) + bias
    found = _Sums(worth=worth, signs=signs, lo=ends[0], hi=ends[1], bias=bias)
    return found, np.where(known, np.abs(slope), 1.0)


def _thresholds(
    ctx: QonnxContext, target: Target, sums: _Sums, factor: NDArray[np.float64]
) -> tuple[Requant, Codes]:
    """Return the requantizer of sums, and the codes that it makes."""
    codes = target.codes
    if not codes.dtype:
        ends = target.of_floats(sums.values(np.stack([sums.lo, sums.hi])))
        low, high = int(ends.min()), int(ends.max())
        if low < -128 or high > (127 if low < 0 else 255):
            ctx.unsupported(f"its values must be codes of 8 bits, not {low} to {high}")
        codes = replace(codes, dtype="int8" if low < 0 else "uint8", limits=(low, high))

    def table(side: int) -> Int64Array:
        return monotone_thresholds(
            lambda a: target.of_floats(sums.values(a, side)),
            sums.lo,
            sums.hi,
            (codes.low, codes.high),
        )

    undecided = 0
    if not sums.worth.exact:
        sides = (np.clip(table(side), sums.lo, sums.hi + 1) for side in (-1, 1))
        undecided = int(np.abs(np.subtract(*sides)).sum())
    requant = Requant(
        formula="thresholds",
        zero_point=0,
        low=codes.low,
        high=codes.high,
        scale=factor,
        thresholds=table(0),
        undecided=undecided,
    )
    return requant, codes


def _emit_mac(ctx: QonnxContext, target: Target, base: MacBase, name: str) -> None:
    sums, factor = _sums(target, base.sums, base.lo, base.hi, biased=True)
    requant, codes = _thresholds(ctx, target, sums, factor)
    weights = base.weights * sums.signs[:, None, None, None]
    made = ctx.quantized(name, target.pending.shape, codes)
    add_sums(ctx, replace(base, weights=weights), made, requant, sums.bias)


def _emit_pool(ctx: QonnxContext, target: Target, base: PoolBase, name: str) -> None:
    codes, count = base.codes, base.window.kernel[0] * base.window.kernel[1]
    zero = codes.zero_point
    if not target.scalar or fall_with((*target.steps, *target.quantizer.steps), 1)[0]:
        _emit_mac(ctx, target, pool_of_ones(ctx, base), name)
        return
    lo = np.array([count * (codes.low - zero)], np.int64)
    hi = np.array([count * (codes.high - zero)], np.int64)
    requant, out = _thresholds(ctx, target, *_sums(target, base.sums, lo, hi, biased=False))
    made = ctx.quantized(name, target.pending.shape, out)
    arithmetic = PoolArithmetic(
        input_zero_point=zero, requants={count: requant}, source=(codes, out)
    )
    ctx.add_node(Op.AVG_POOL, (base.source,), (made.name,), arithmetic, base.window.attributes())


def _emit_table(ctx: QonnxContext, target: Target, base: CodesBase, name: str) -> None:
    """Codes to other codes: a table, or a pointwise layer if channels differ."""
    codes, out = base.codes, target.codes
    source = ctx.tensors[base.source]
    if not target.scalar or not out.dtype:
        image = len(source.source_shape) == 4
        if not image:
            ctx.unsupported("its constants must be one value each, or its input an image")
        plain = ctx.plain(source)
        sums = FloatSums(unit=np.array([codes.scale]), noise=np.zeros(1))
        pool = PoolBase(
            source=plain.name, codes=codes, window=Window(kernel=(1, 1), strides=(1, 1)), sums=sums
        )
        _emit_mac(ctx, target, pool_of_ones(ctx, pool), name)
        return
    stored = code_values(codes)
    real = (stored - codes.zero_point).astype(np.float32) * np.float32(codes.scale)
    table = target.of_floats(real[:, None])[:, 0]
    used = (stored >= codes.low) & (stored <= codes.high)
    ctx.known[name] = out
    made = made_like(ctx, source, name, out)
    if np.array_equal(table[used], stored[used]) and codes.dtype == out.dtype:
        ctx.add_node(Op.RESHAPE, (source.name,), (made.name,))
        return
    lookup = LutArithmetic(table=(table & 255).astype(np.uint8), formula="quantizer")
    ctx.add_node(Op.LUT, (source.name,), (made.name,), lookup)


def _emit_pair(ctx: QonnxContext, target: Target, base: PairBase, name: str) -> None:
    """A residual add (sub, mul): a function of two codes."""
    if not target.scalar or not target.codes.dtype:
        ctx.unsupported("what follows it must be the same for all channels: put a Quant behind it")
    sides = [(ctx.plain(ctx.tensors[e.source]), e.codes) for e in (base.first, base.second)]
    values = [
        (code_values(c) - c.zero_point).astype(np.float32) * np.float32(c.scale) for _, c in sides
    ]
    pair = apply_steps(
        values[0][:, None, None], [FloatStep(op=base.op, operand=values[1][:, None])]
    )
    table = target.of_floats(pair)[..., 0]
    gain = np.prod([_gain(step) for step in target.steps])
    first, second = (replace(c, scale=abs(float(c.scale * gain))) for _, c in sides)
    out = target.codes
    arithmetic = BinaryArithmetic(
        formula="table", a=first, b=second, out=out, low=out.low, high=out.high, table=table
    )
    made = ctx.quantized(name, target.pending.shape, out)
    op = {"add": Op.ADD, "sub": Op.SUB, "mul": Op.MUL}[base.op]
    ctx.add_node(op, tuple(tensor.name for tensor, _ in sides), (made.name,), arithmetic)


def _gain(step: FloatStep) -> float:
    value = float(step.operand.reshape(-1)[0])
    return value if step.op == "mul" else 1 / value if step.op == "div" else 1.0
