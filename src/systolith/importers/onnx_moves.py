"""ONNX operators that only rename or choose: where each element of the runtime's array goes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from systolith.graph import Tensor
from systolith.importers.channels_first import append_move, default_order, layout, moved
from systolith.importers.onnx_context import OnnxContext
from systolith.importers.onnx_resize import resize
from systolith.importers.places import all_places, depth_to_space, space_to_depth, static_slice

__all__ = ["MOVES", "input_layout", "move", "pad_widths", "place_results"]

Places = NDArray[np.int64]
Rule = Callable[[OnnxContext, Places], Places]


def _reshape(ctx: OnnxContext, places: Places) -> Places:
    if ctx.attribute("allowzero", 0):
        ctx.unsupported("allowzero must be 0")
    wanted = [int(side) for side in ctx.constant(1, "shape").reshape(-1)]
    if len(wanted) > places.ndim and 0 in wanted[places.ndim :]:
        ctx.fail(f"shape must copy only sides that exist, not {wanted}")
    return places.reshape([places.shape[i] if s == 0 else s for i, s in enumerate(wanted)])


def _flatten(ctx: OnnxContext, places: Places) -> Places:
    axis, rank = ctx.attribute("axis", 1), places.ndim
    if not -rank <= axis <= rank:
        ctx.fail(f"axis must be between {-rank} and {rank}, not {axis}")
    axis = axis + rank if axis < 0 else axis
    return places.reshape(int(np.prod(places.shape[:axis])), -1)


def _transpose(ctx: OnnxContext, places: Places) -> Places:
    return places.transpose(ctx.attribute("perm", tuple(reversed(range(places.ndim)))))


def _squeeze(ctx: OnnxContext, places: Places) -> Places:
    return places.squeeze(ctx.axes())


def _unsqueeze(ctx: OnnxContext, places: Places) -> Places:
    return np.expand_dims(places, ctx.axes() or ())


def _integers(ctx: OnnxContext, position: int, name: str) -> list[int] | None:
    """Return integers that newer opsets give as an input, older ones as an attribute."""
    if position < len(ctx.node.input) and ctx.node.input[position]:
        return [int(value) for value in ctx.constant(position, name).reshape(-1)]
    given = ctx.attribute(name, ())
    return [int(value) for value in given] or None


def _slice(ctx: OnnxContext, places: Places) -> Places:
    starts, ends = _integers(ctx, 1, "starts"), _integers(ctx, 2, "ends")
    if starts is None or ends is None:
        ctx.fail("must have starts and ends")
    axes = _integers(ctx, 3, "axes") or list(range(len(starts)))
    steps = _integers(ctx, 4, "steps") or [1] * len(starts)
    if len({len(numbers) for numbers in (starts, ends, axes, steps)}) > 1:
        ctx.fail(f"starts, ends, axes and steps must be as many, not {starts, ends, axes, steps}")
    cuts = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # ONNX counts from the end once; what is still before the first element is the first.
        size = places.shape[axis]
        last = end + size if end < 0 else end
        below = None if last < 0 else last
        first = start + size if start < 0 else start
        cuts.append((max(first, 0), below if step < 0 else max(last, 0), step))
    return static_slice(places, axes, cuts)


def _gather(ctx: OnnxContext, places: Places) -> Places:
    return np.take(places, ctx.constant(1, "indices"), axis=ctx.attribute("axis", 0))


def _expand(ctx: OnnxContext, places: Places) -> Places:
    shape = _integers(ctx, 1, "shape") or []
    return np.broadcast_to(places, np.broadcast_shapes(places.shape, tuple(shape)))


def _tile(ctx: OnnxContext, places: Places) -> Places:
    return np.tile(places, _integers(ctx, 1, "repeats") or ())


def _depth_to_space(ctx: OnnxContext, places: Places) -> Places:
    mode = ctx.attribute("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        ctx.fail(f"mode must be DCR or CRD, not {mode!r}")
    last = places.transpose(0, 2, 3, 1)
    moved = depth_to_space(last, ctx.attribute("blocksize", 0), columns_first=mode == "CRD")
    return moved.transpose(0, 3, 1, 2)


def _space_to_depth(ctx: OnnxContext, places: Places) -> Places:
    last = places.transpose(0, 2, 3, 1)
    return space_to_depth(last, ctx.attribute("blocksize", 0)).transpose(0, 3, 1, 2)


RENAMES: Mapping[str, Rule] = MappingProxyType(
    {
        "Reshape": _reshape,
        "Flatten": _flatten,
        "Transpose": _transpose,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Identity": lambda ctx, places: places,
    }
)
"""Operators that keep all elements: ``f(ctx, places)`` gives the places after the operator."""
CHOICES: Mapping[str, Rule] = MappingProxyType(
    {
        "Slice": _slice,
        "Gather": _gather,
        "Expand": _expand,
        "Tile": _tile,
        "DepthToSpace": _depth_to_space,
        "SpaceToDepth": _space_to_depth,
        "Resize": resize,
    }
)
"""Operators that choose elements, likewise."""


def _split(ctx: OnnxContext, places: Places) -> list[Places]:
    axis, number = ctx.attribute("axis", 0), len(ctx.node.output)
    sizes = _integers(ctx, 1, "split")
    if sizes is None:
        size = -(-places.shape[axis] // number)
        sizes = [size] * (number - 1) + [places.shape[axis] - size * (number - 1)]
    if sum(sizes) != places.shape[axis] or len(sizes) != number or min(sizes) < 1:
        ctx.fail(f"sizes must divide {places.shape[axis]} into {number}, not {sizes}")
    return np.split(places, np.cumsum(sizes)[:-1], axis)


def _pad(ctx: OnnxContext, places: Places) -> list[Places]:
    """Pad by repeating what is there (a constant is not: `systolith.importers.onnx_pad`)."""
    widths = pad_widths(ctx, places.ndim)
    mode: Any = ctx.attribute("mode", "")
    if mode not in ("reflect", "edge", "wrap"):
        ctx.fail(f"mode must be constant, reflect, edge or wrap, not {mode!r}")
    most = [size - (mode == "reflect") for size in places.shape]
    if mode != "edge" and any(max(w) > n for w, n in zip(widths, most, strict=True)):
        ctx.fail(f"pads of mode {mode} must be at most {most}, not {widths}")
    return [np.pad(places, widths, mode=mode)]


def pad_widths(ctx: OnnxContext, rank: int) -> list[tuple[int, int]]:
    """Return what a Pad adds before and after each axis."""
    pads = _integers(ctx, 1, "pads") or []
    axes = _integers(ctx, 3, "axes") or list(range(rank))
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0:
        ctx.unsupported(f"pads must be {2 * len(axes)} numbers, not negative, not {pads}")
    if len({axis % rank for axis in axes if -rank <= axis < rank}) != len(axes):
        ctx.fail(f"axes must be different ones of {rank}, not {axes}")
    widths = [(0, 0)] * rank
    for axis, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        widths[axis] = before, after
    return widths


MOVES = frozenset({*RENAMES, *CHOICES, "Split"})
"""Operators of `move`."""


def place_results(ctx: OnnxContext, places: Places) -> list[Places]:
    """Return the places of each output of the current node."""
    kind = ctx.node.op_type
    try:
        if kind == "Split":
            return _split(ctx, places)
        if kind == "Pad":
            return _pad(ctx, places)
        return [({**RENAMES, **CHOICES})[kind](ctx, places)]
    except (ValueError, IndexError) as error:
        ctx.fail(f"must fit its input of shape {list(places.shape)} ({error})")


def move(ctx: OnnxContext) -> None:
    """Choose elements of a tensor of codes, or of floats that are functions of codes."""
    source = ctx.input(0)
    for position, places in enumerate(place_results(ctx, all_places(source.source_shape))):
        if position < len(ctx.node.output) and ctx.node.output[position]:
            _move(ctx, source, places, position)


def _move(ctx: OnnxContext, source: Tensor, places: Places, position: int) -> None:
    """Make one output; with the codes behind it, if it is a function of them."""
    name = ctx.node.output[position]
    suffix = f"/{position}" if len(ctx.node.output) > 1 else ""
    target, index = moved(ctx, source, places, name)
    table = ctx.tables.get(source.name)
    if table is not None:
        codes = ctx.tensors[table.source]
        beside, same = moved(ctx, codes, places, f"{name}/codes")
        append_move(ctx, codes, beside, same, f"{suffix}/codes")
        ctx.tables[name] = replace(table, source=beside.name, layer=ctx.layer)
        if not ctx.is_made(source.name):
            return
    if source.name in ctx.from_input:
        ctx.from_input.add(name)
    append_move(ctx, source, target, index, suffix)


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
        if node.op_type in RENAMES:
            places = place_results(ctx, places)[0]
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
