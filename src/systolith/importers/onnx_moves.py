"""ONNX operators that only rename: where each element of the runtime's array goes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.graph import Op, Tensor
from systolith.importers.onnx_context import OnnxContext, default_order, layout

__all__ = ["MOVES", "input_layout", "move"]

Places = NDArray[np.int64]


def _reshape(ctx: OnnxContext, places: Places) -> Places:
    if ctx.attribute("allowzero", 0):
        ctx.unsupported("allowzero must be 0")
    wanted = [int(side) for side in ctx.constant(1, "shape").reshape(-1)]
    if len(wanted) > places.ndim and 0 in wanted[places.ndim :]:
        ctx.fail(f"shape must copy only sides that exist, not {wanted}")
    return places.reshape([places.shape[i] if s == 0 else s for i, s in enumerate(wanted)])


def _flatten(ctx: OnnxContext, places: Places) -> Places:
    axis = ctx.attribute("axis", 1)
    axis = axis + places.ndim if axis < 0 else axis
    return places.reshape(int(np.prod(places.shape[:axis])), -1)


def _transpose(ctx: OnnxContext, places: Places) -> Places:
    return places.transpose(ctx.attribute("perm", tuple(reversed(range(places.ndim)))))


def _axes(ctx: OnnxContext) -> tuple[int, ...] | None:
    if len(ctx.node.input) > 1 and ctx.node.input[1]:
        return tuple(int(axis) for axis in ctx.constant(1, "axes").reshape(-1))
    return ctx.attribute("axes", ()) or None


def _squeeze(ctx: OnnxContext, places: Places) -> Places:
    return places.squeeze(_axes(ctx))


def _unsqueeze(ctx: OnnxContext, places: Places) -> Places:
    return np.expand_dims(places, _axes(ctx) or ())


MOVES: Mapping[str, Callable[[OnnxContext, Places], Places]] = MappingProxyType(
    {
        "Reshape": _reshape,
        "Flatten": _flatten,
        "Transpose": _transpose,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Identity": lambda ctx, places: places,
    }
)
"""``f(ctx, places)``: the array of source positions after the operator."""


def _moved(ctx: OnnxContext, places: Places) -> Places:
    try:
        return MOVES[ctx.node.op_type](ctx, places)
    except ValueError as error:
        ctx.fail(f"must fit its input of shape {list(places.shape)} ({error})")


def move(ctx: OnnxContext) -> None:
    """Append a renaming: the canonical bytes stay, the runtime's order is tracked."""
    source = ctx.input(0)
    start = np.arange(source.size, dtype=np.int64)
    places = _moved(ctx, start.reshape(source.source_shape))
    inverse = np.empty_like(start)
    inverse[places.ravel()] = start
    order = inverse if source.order is None else inverse[source.order]
    target = _renamed(ctx, source, places.shape, order)
    if source.name in ctx.from_input:
        ctx.from_input.add(target.name)
    ctx.add_node(Op.RESHAPE, (source.name,), (target.name,))


def _renamed(ctx: OnnxContext, source: Tensor, shape: tuple[int, ...], order: Places) -> Tensor:
    """Make the output: in the default layout where the bytes lie so, else as the source lies."""
    identity = np.arange(source.size, dtype=np.int64)
    wanted = default_order(shape)
    codes = ctx.known.get(source.name)
    if len(shape) <= 4 and np.array_equal(order, identity if wanted is None else wanted):
        return ctx.output(shape, codes)
    flat = len(shape) <= 2 and int(np.prod(shape[:-1])) == 1
    like = Tensor(
        name="",
        shape=(1, 1, source.size) if flat else source.shape,
        dtype=source.dtype,
        order=order,
    )
    return ctx.output(shape, codes, like=like)


def input_layout(
    ctx: OnnxContext, name: str, shape: tuple[int, ...], nodes: list[onnx.NodeProto]
) -> Tensor:
    """Return a graph input's tensor so laid out that renamings before the first layer are free.

    An input's canonical layout is ours to choose: it follows renamings (and QuantizeLinear) up to
    the first other operator and takes what is the default there.
    """
    places = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    current = name
    while True:
        users = [(i, node) for i, node in enumerate(nodes) if current in node.input]
        if len(users) != 1 or not users[0][1].output:
            break
        index, node = users[0]
        ctx.enter(node, index)
        if node.op_type in MOVES:
            places = _moved(ctx, places)
        elif node.op_type != "QuantizeLinear":
            break
        current = node.output[0]
    final = default_order(places.shape)
    order = places.ravel() if final is None else places.ravel()[final]
    plain = np.array_equal(order, np.arange(order.size))
    return Tensor(
        name=name,
        shape=layout(places.shape, f"input {name!r}"),
        dtype="float32",
        source_name=name,
        source_shape=shape,
        order=None if plain else order,
    )
