"""Nodes of what awaits a quantizer: sums with thresholds, tables, and floats at both edges."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.arithmetic import (
    BinaryArithmetic,
    Codes,
    FloatOutputArithmetic,
    FloatQuantizeArithmetic,
    LutArithmetic,
    PoolArithmetic,
    Requant,
)
from systolith.float_steps import FloatStep, FloatSums, Quantizer
from systolith.graph import Op, Tensor
from systolith.importers.channels_first import default_order, layout
from systolith.importers.geometry import Window
from systolith.importers.onnx_moves import MOVES, move
from systolith.importers.onnx_reduce import global_max_pool, max_pool
from systolith.importers.qonnx_context import QonnxContext, channel_axis
from systolith.importers.qonnx_pending import (
    CodesBase,
    InputBase,
    MacBase,
    PairBase,
    Pending,
    PoolBase,
)
from systolith.importers.qonnx_quantizers import constant_codes, read_quantizer
from systolith.importers.qonnx_sums import add_sums, sum_bytes
from systolith.profiles.binary import code_values
from systolith.profiles.steps import (
    apply_steps,
    fall_with,
    monotone_thresholds,
    quantizer_codes,
    sum_values,
)

__all__ = ["emit_output", "quantize"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Target:
    """What a quantizer makes of something pending."""

    pending: Pending
    quantizer: Quantizer
    codes: Codes

    @property
    def steps(self) -> tuple[FloatStep, ...]:
        return self.pending.steps

    @property
    def scalar(self) -> bool:
        """Whether all channels have one function."""
        steps = (*self.steps, *self.quantizer.steps)
        return len(self.quantizer.thresholds) == 1 and all(s.operand.size == 1 for s in steps)

    def of_floats(self, value: NDArray[np.float32]) -> Int64Array:
        return quantizer_codes(apply_steps(value, self.steps), self.quantizer)


def quantize(ctx: QonnxContext) -> None:
    """Quant, IntQuant, BipolarQuant, Trunc, MultiThreshold or Sign."""
    if ctx.node.input and ctx.node.input[0] in ctx.constants:
        constant_codes(ctx)
        return
    pending = ctx.value(0)
    quantizer, codes = read_quantizer(ctx)
    target = _Target(pending=pending, quantizer=quantizer, codes=codes)
    name = ctx.node.output[0]
    nodes = pending.later
    own, ctx.node = ctx.node, onnx.NodeProto()
    layer, source_op = ctx.layer, ctx.source_op
    if not isinstance(pending.base, InputBase | CodesBase):
        ctx.layer, ctx.source_op = _fresh(ctx, pending.layer), pending.source_op
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
        _emit_input(ctx, target, base, final)
    _emit_later(ctx, nodes, final, name)
    ctx.node, ctx.layer, ctx.source_op = own, layer, source_op


def _fresh(ctx: QonnxContext, layer: str) -> str:
    """Return a layer's name that no node has yet."""
    taken = {node.name for node in ctx.nodes}
    return next(n for n in (layer, *(f"{layer}_{i}" for i in range(1, 1 << 20))) if n not in taken)


def _emit_later(
    ctx: QonnxContext, nodes: tuple[onnx.NodeProto, ...], first: str, last: str
) -> None:
    """Append the postponed moves and maxima, from tensor `first` to tensor `last`."""
    current = first
    for position, node in enumerate(nodes):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0] = current
        ending = position == len(nodes) - 1
        copy.output[0] = last if ending else f"{last}/{position}"
        ctx.node, ctx.layer, ctx.source_op = copy, _fresh(ctx, node.name), node.op_type
        if node.op_type in MOVES:
            move(ctx)
        elif node.op_type == "MaxPool":
            max_pool(ctx)
        else:
            global_max_pool(ctx)
        current = copy.output[0]


def _thresholds(
    ctx: QonnxContext, target: _Target, sums: FloatSums, lo: Int64Array, hi: Int64Array,
    signs: Int64Array,
) -> tuple[Requant, Codes]:  # fmt: skip
    """Return the requantizer of sums, which come with `signs`, and the codes that it makes."""

    def code(side: int) -> Int64Array:
        quantizer = target.codes
        return monotone_thresholds(
            lambda a: target.of_floats(sum_values(a * signs, sums, side)), lo, hi,
            (quantizer.low, quantizer.high),
        )  # fmt: skip

    codes = target.codes
    if not codes.dtype:
        ends = target.of_floats(sum_values(np.stack([lo, hi]) * signs, sums))
        low, high = int(ends.min()), int(ends.max())
        if low < -128 or high > (127 if low < 0 else 255):
            ctx.unsupported(f"its values must be codes of 8 bits, not {low} to {high}")
        codes = replace(codes, dtype="int8" if low < 0 else "uint8", limits=(low, high))
        target = replace(target, codes=codes)
    table = code(0)
    undecided = 0
    if not sums.exact:
        ends = (np.clip(code(side), lo, hi + 1) for side in (-1, 1))
        undecided = int(np.abs(np.subtract(*ends)).sum())
    requant = Requant(
        formula="thresholds",
        zero_point=0,
        low=codes.low,
        high=codes.high,
        scale=np.ones(table.shape[1]),
        thresholds=table,
        undecided=undecided,
    )
    return requant, codes


def _emit_mac(ctx: QonnxContext, target: _Target, base: MacBase, name: str) -> None:
    channels = len(base.weights)
    falls = fall_with((*target.steps, *target.quantizer.steps), channels)
    signs = np.where(falls, -1, 1).astype(np.int64)
    lo, hi = np.where(falls, -base.hi, base.lo), np.where(falls, -base.lo, base.hi)
    requant, codes = _thresholds(ctx, target, base.sums, lo, hi, signs)
    weights = base.weights * signs[:, None, None, None]
    made = ctx.quantized(name, target.pending.shape, codes)
    add_sums(ctx, replace(base, weights=weights), made, requant)


def _emit_pool(ctx: QonnxContext, target: _Target, base: PoolBase, name: str) -> None:
    codes, count = base.codes, base.window.kernel[0] * base.window.kernel[1]
    zero = codes.zero_point
    if not target.scalar or fall_with((*target.steps, *target.quantizer.steps), 1)[0]:
        _emit_mac(ctx, target, _ones(ctx, base), name)
        return
    lo = np.array([count * (codes.low - zero)], np.int64)
    hi = np.array([count * (codes.high - zero)], np.int64)
    requant, out = _thresholds(ctx, target, base.sums, lo, hi, np.ones(1, np.int64))
    made = ctx.quantized(name, target.pending.shape, out)
    arithmetic = PoolArithmetic(
        input_zero_point=zero, requants={count: requant}, source=(codes, out)
    )
    ctx.add_node(Op.AVG_POOL, (base.source,), (made.name,), arithmetic, base.window.attributes())


def _ones(ctx: QonnxContext, base: PoolBase) -> MacBase:
    """Return the pool as a depthwise convolution with ones, which has a function a channel."""
    channels, codes = ctx.tensors[base.source].shape[2], base.codes
    kernel = base.window.kernel
    count, zero = kernel[0] * kernel[1], codes.zero_point
    full = np.ones(channels, np.int64)
    ends = (min(codes.low, zero) - zero, max(codes.high, zero) - zero)
    return MacBase(
        source=base.source,
        weights=np.ones((channels, *kernel, 1), np.int64),
        window=base.window,
        groups=channels,
        sums=base.sums,
        lo=full * count * ends[0],
        hi=full * count * ends[1],
    )


def _emit_table(ctx: QonnxContext, target: _Target, base: CodesBase, name: str) -> None:
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
        _emit_mac(ctx, target, _ones(ctx, pool), name)
        return
    stored = code_values(codes)
    real = (stored - codes.zero_point).astype(np.float32) * np.float32(codes.scale)
    table = target.of_floats(real[:, None])[:, 0]
    used = (stored >= codes.low) & (stored <= codes.high)
    ctx.known[name] = out
    made = _like(ctx, source, name, out)
    if np.array_equal(table[used], stored[used]) and codes.dtype == out.dtype:
        ctx.add_node(Op.RESHAPE, (source.name,), (made.name,))
        return
    lookup = LutArithmetic(table=(table & 255).astype(np.uint8), formula="quantizer")
    ctx.add_node(Op.LUT, (source.name,), (made.name,), lookup)


def _like(ctx: QonnxContext, source: Tensor, name: str, codes: Codes) -> Tensor:
    """Make a tensor of codes that lies as the source does."""
    plain = ctx.quantized(f"{name}", source.source_shape, codes)
    if plain.shape == source.shape and plain.order is source.order:
        return plain
    del ctx.tensors[name]
    return ctx.add_tensor(replace(plain, shape=source.shape, order=source.order))


def _emit_pair(ctx: QonnxContext, target: _Target, base: PairBase, name: str) -> None:
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


def _emit_input(ctx: QonnxContext, target: _Target, base: InputBase, name: str) -> None:
    """The network's input becomes codes, on the host."""
    source = ctx.tensors[base.source]
    plain = len(source.source_shape) < 4 or source.order is default_order(source.source_shape)
    channels = source.shape[2] == target.pending.shape[channel_axis(len(target.pending.shape))]
    if not target.scalar and not (channels or plain):
        ctx.unsupported("its constants must be one value each: its input is reshaped")
    if not target.codes.dtype:
        ctx.unsupported("the network's input must go through a Quant")
    arithmetic = FloatQuantizeArithmetic(
        steps=target.steps, quantizer=target.quantizer, out=target.codes
    )
    ctx.known[name] = target.codes
    made = _like(ctx, source, name, target.codes)
    ctx.add_node(Op.QUANTIZE, (source.name,), (made.name,), arithmetic)


def emit_output(ctx: QonnxContext, name: str) -> None:
    """Make a float output of the network: sums in one byte or two, then the host's floats."""
    pending = ctx.pending[name]
    ctx.layer, ctx.source_op = _fresh(ctx, pending.layer), pending.source_op
    base = pending.base
    if isinstance(base, PoolBase):
        base = _ones(ctx, base)
    if not isinstance(base, MacBase):
        ctx.unsupported(f"output {name!r} must come from a layer with weights or a Quant")
    if pending.maximum:
        ctx.unsupported(f"output {name!r} must not be a maximum of floats; put a Quant before it")
    codes = sum_bytes(ctx, base, pending.shape, f"{name}/sums")
    final = f"{name}/{ctx.layer}" if pending.later else name
    shape = pending.shape
    ctx.add_tensor(
        Tensor(
            name=final,
            shape=layout(shape, f"output {name!r}"),
            dtype="float32",
            source_name=final,
            source_shape=shape,
            order=default_order(shape),
        )
    )
    arithmetic = FloatOutputArithmetic(sums=base.sums, steps=pending.steps, offset=codes[1])
    ctx.add_node(Op.DEQUANTIZE, codes[0], (final,), arithmetic, suffix="/float")
    _emit_later(ctx, pending.later, final, name)
