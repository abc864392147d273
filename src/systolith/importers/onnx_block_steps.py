"""Elementwise operators behind MatMulNBits: float32 steps that the host adds to its epilogue."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from systolith.float_steps import FloatStep
from systolith.graph import Op, Tensor
from systolith.importers.onnx_context import OnnxContext

__all__ = ["block_step"]

_STEPS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Add": ("add", "add"),
        "Sub": ("sub", "rsub"),
        "Mul": ("mul", "mul"),
        "Div": ("div", ""),
        "Max": ("least", "least"),
        "Min": ("most", "most"),
    }
)
"""Steps of operators whose second operand is a constant, and whose first one is."""


def _limits(ctx: OnnxContext) -> list[FloatStep]:
    """Return the steps of a Clip."""
    ctx.arity(1, 3)
    steps = []
    for position, op in ((1, "least"), (2, "most")):
        if position < len(ctx.node.input) and ctx.node.input[position]:
            value = ctx.constant(position, "limit")
            if value.dtype != np.float32 or value.size != 1:
                ctx.fail(f"limit must be one float32 value, not {value.dtype} {list(value.shape)}")
            value = value.reshape(())
            steps.append(FloatStep(op=op, operand=value))
    return steps


def _constant_step(ctx: OnnxContext, source: Tensor) -> FloatStep:
    """Return the step of an operator on the layer's output and a constant."""
    ctx.arity(2, 2)
    position = next((i for i, n in enumerate(ctx.node.input) if n in ctx.constants), None)
    if position is None:
        ctx.unsupported("one of its operands must be a constant, behind MatMulNBits")
    op = _STEPS[ctx.node.op_type][1 - position]
    value = ctx.constant(position, "operand")
    channels = source.shape[2]
    fits = value.size == 1 or value.size == channels == value.shape[-1]
    if not op or not fits or value.dtype != np.float32 or value.ndim > len(source.source_shape):
        ctx.unsupported(
            f"its constant {list(value.shape)} must be the second operand, float32, and one value "
            f"or {channels}, behind MatMulNBits"
        )
    return FloatStep(op=op, operand=value.reshape(-1) if value.size > 1 else value.reshape(()))


def block_step(ctx: OnnxContext) -> None:
    """Continue the float output of a MatMulNBits by an elementwise operator, on the host."""
    kind = ctx.node.op_type
    name = next(name for name in ctx.node.input if name in ctx.blocks)
    names, k = ctx.blocks[name]
    source = ctx.tensors[name]
    if kind == "Relu":
        ctx.arity(1, 1)
        steps = [FloatStep(op="least")]
    elif kind == "Clip":
        steps = _limits(ctx)
    elif kind in _STEPS:
        steps = [_constant_step(ctx, source)]
    else:
        ctx.unsupported("behind MatMulNBits it must be one with a constant, Relu or Clip")
    target = ctx.output(source.source_shape, None, like=source)
    more = replace(k, steps=(*k.steps, *steps))
    ctx.blocks[target.name] = names, more
    attributes = next(node.attributes for node in ctx.nodes if name in node.outputs)
    ctx.add_node(Op.DEQUANTIZE, names, (target.name,), more, attributes)
