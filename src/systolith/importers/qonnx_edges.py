"""Both edges of a QONNX network: a float input becomes codes, sums become a float output."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.arithmetic import (
    Codes,
    FloatQuantizeArithmetic,
    QuantizeArithmetic,
)
from systolith.float_steps import (
    FloatOutputArithmetic,
    FloatStep,
    Quantizer,
)
from systolith.graph import Op, Tensor
from systolith.importers.channels_first import default_order, layout
from systolith.importers.onnx_moves import MOVES, move
from systolith.importers.onnx_reduce import global_max_pool, max_pool
from systolith.importers.qonnx_context import QonnxContext, channel_axis
from systolith.importers.qonnx_pending import InputBase, MacBase, Pending, PoolBase
from systolith.importers.qonnx_sums import pool_of_ones, sum_bytes
from systolith.profiles.steps import apply_steps, quantizer_codes

__all__ = ["Target", "emit_input", "emit_later", "emit_output", "fresh_layer", "made_like"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """What a quantizer makes of something pending."""

    pending: Pending
    quantizer: Quantizer
    codes: Codes

    @property
    def steps(self) -> tuple[FloatStep, ...]:
        """What lies between the base and the quantizer."""
        return self.pending.steps

    @property
    def scalar(self) -> bool:
        """Whether all channels have one function."""
        steps = (*self.steps, *self.quantizer.steps)
        return len(self.quantizer.thresholds) == 1 and all(s.operand.size == 1 for s in steps)

    def of_floats(self, value: NDArray[np.float32]) -> Int64Array:
        """Return the codes of the base's values."""
        return quantizer_codes(apply_steps(value, self.steps), self.quantizer)


def fresh_layer(ctx: QonnxContext, layer: str) -> str:
    """Return a layer's name that no node has yet."""
    taken = {node.name for node in ctx.nodes}
    return next(n for n in (layer, *(f"{layer}_{i}" for i in range(1, 1 << 20))) if n not in taken)


def emit_later(ctx: QonnxContext, nodes: tuple[onnx.NodeProto, ...], first: str, last: str) -> None:
    """Append the postponed moves and maxima, from tensor `first` to tensor `last`."""
    current = first
    for position, node in enumerate(nodes):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0] = current
        ending = position == len(nodes) - 1
        copy.output[0] = last if ending else f"{last}/{position}"
        ctx.node, ctx.layer, ctx.source_op = copy, fresh_layer(ctx, node.name), node.op_type
        if node.op_type in MOVES:
            move(ctx)
        elif node.op_type == "MaxPool":
            max_pool(ctx)
        else:
            global_max_pool(ctx)
        current = copy.output[0]


def made_like(ctx: QonnxContext, source: Tensor, name: str, codes: Codes) -> Tensor:
    """Make a tensor of codes that lies as the source does."""
    plain = ctx.quantized(f"{name}", source.source_shape, codes)
    if plain.shape == source.shape and plain.order is source.order:
        return plain
    del ctx.tensors[name]
    return ctx.add_tensor(replace(plain, shape=source.shape, order=source.order))


def emit_input(ctx: QonnxContext, target: Target, base: InputBase, name: str) -> None:
    """The network's input becomes codes, on the host."""
    source = ctx.tensors[base.source]
    plain = len(source.source_shape) < 4 or source.order is default_order(source.source_shape)
    channels = source.shape[2] == target.pending.shape[channel_axis(len(target.pending.shape))]
    if not target.scalar and not (channels or plain):
        ctx.unsupported("its constants must be one value each: its input is reshaped")
    if not target.codes.dtype:
        ctx.unsupported("the network's input must go through a Quant")
    even = target.quantizer.rounding in ("ROUND", "HALF_EVEN")
    arithmetic: FloatQuantizeArithmetic | QuantizeArithmetic
    if even and not target.steps and not target.codes.zero_point:
        # Without a zero point, when it is added does not matter: this is ONNX's own quantizer.
        arithmetic = QuantizeArithmetic(formula="onnxruntime", out=target.codes)
    else:
        arithmetic = FloatQuantizeArithmetic(
            steps=target.steps, quantizer=target.quantizer, out=target.codes
        )
    ctx.known[name] = target.codes
    made = made_like(ctx, source, name, target.codes)
    ctx.add_node(Op.QUANTIZE, (source.name,), (made.name,), arithmetic)


def emit_output(ctx: QonnxContext, name: str) -> None:
    """Make a float output of the network: sums in one byte or two, then the host's floats."""
    pending = ctx.pending[name]
    ctx.layer, ctx.source_op = fresh_layer(ctx, pending.layer), pending.source_op
    base = pending.base
    if isinstance(base, PoolBase):
        base = pool_of_ones(ctx, base)
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
    emit_later(ctx, pending.later, final, name)
