"""ONNX Pad with a constant code, or with a float that is the value of one."""

from dataclasses import replace

import numpy as np

from systolith.arithmetic import PadArithmetic
from systolith.graph import Op, Tensor
from systolith.importers.onnx_context import OnnxContext
from systolith.importers.onnx_moves import move, pad_widths

__all__ = ["pad"]


def pad(ctx: OnnxContext) -> None:
    """Pad: constant values are filled in, others are elements that repeat."""
    if ctx.attribute("mode", "constant") != "constant":
        move(ctx)
        return
    source = ctx.input(0)
    widths = pad_widths(ctx, len(source.source_shape))
    shape = tuple(n + a + b for n, (a, b) in zip(source.source_shape, widths, strict=True))
    given = len(ctx.node.input) > 2 and ctx.node.input[2]
    value = ctx.constant(2, "the padding value").reshape(-1) if given else np.zeros(1)
    name, table = ctx.node.output[0], ctx.tables.get(source.name)
    if table is None:
        if source.dtype == "float32":
            ctx.unsupported("quantize its input and output")
        _pad(ctx, source, widths, shape, name, int(value[0]))
        return
    wanted = np.float32(value[0])
    found = np.flatnonzero((table.values == wanted) & (table.alone == wanted))
    if not found.size:
        ctx.unsupported(f"the padding value {value[0]!r} must be the value of a code")
    codes = ctx.tensors[table.source]
    byte = int(found[0])
    code = byte - 256 if codes.dtype == "int8" and byte > 127 else byte
    beside = _pad(ctx, codes, widths, shape, f"{name}/codes", code)
    ctx.tensor(name, shape, source, beside)
    ctx.tables[name] = replace(table, source=beside.name, layer=ctx.layer)


def _pad(
    ctx: OnnxContext,
    source: Tensor,
    widths: list[tuple[int, int]],
    shape: tuple[int, ...],
    name: str,
    code: int,
) -> Tensor:
    """Append the pad of codes."""
    source = ctx.plain(source)
    rank = len(shape)
    if rank > 4 or (rank == 4 and widths[0] != (0, 0)):
        ctx.unsupported("it must pad at most three sides besides the batch")
    order = (2, 3, 1) if rank == 4 else range(rank)
    pairs = [(0, 0)] * (3 - len(order)) + [widths[axis] for axis in order]
    target = ctx.tensor(name, shape, source, None)
    attributes = {"pads": (*pairs[0], *pairs[1]), "channel_pads": pairs[2]}
    arithmetic = PadArithmetic(value=code)
    ctx.add_node(Op.PAD, (source.name,), (target.name,), arithmetic, attributes)
    return target
