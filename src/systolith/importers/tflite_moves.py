"""TFLite operators that only choose elements: transposes, slices, splits, repetitions."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import tflite

from systolith.arithmetic import ConcatArithmetic
from systolith.graph import Op
from systolith.importers.builder import canonical_shape
from systolith.importers.places import all_places, depth_to_space, space_to_depth, static_slice
from systolith.importers.tflite_context import TfliteContext
from systolith.strides import Int64Array

__all__ = ["MOVES", "move", "pack"]

Rule = Callable[[TfliteContext, Int64Array], list[Int64Array]]


def _constants(ctx: TfliteContext, position: int, what: str) -> list[int]:
    """Return the integers of a constant input."""
    operands = ctx.operator.inputs
    data = ctx.raw(operands[position]).data if 0 <= position < len(operands) else None
    if data is None:
        ctx.unsupported(f"{what} must be constant")
    return [int(value) for value in data.reshape(-1)]


def _transpose(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    return [places.transpose(_constants(ctx, 1, "the permutation"))]


def _slice(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    begins, sizes = _constants(ctx, 1, "begin"), _constants(ctx, 2, "size")
    cuts = [(b, None if n < 0 else b + n, 1) for b, n in zip(begins, sizes, strict=True)]
    return [static_slice(places, range(places.ndim), cuts)]


def _strided_slice(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    """Masks are bits by axis: begins and ends to ignore, axes of one element to drop."""
    options = ctx.operator.options("StridedSliceOptions")
    if options.EllipsisMask() or options.NewAxisMask() or options.Offset():
        ctx.unsupported("it must have no ellipsis, no new axis and no offset")
    begins, ends, steps = (_constants(ctx, k, "begin, end and strides") for k in (1, 2, 3))
    shrink, cuts = options.ShrinkAxisMask(), list[tuple[int | None, int | None, int]]()
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        bit = 1 << axis
        if shrink & bit:
            cuts.append((begin, None if begin == -1 else begin + 1, 1))
            continue
        first = None if options.BeginMask() & bit else begin
        cuts.append((first, None if options.EndMask() & bit else end, step))
    result = static_slice(places, range(len(cuts)), cuts)
    dropped = tuple(axis for axis in range(len(cuts)) if shrink >> axis & 1)
    return [result.squeeze(dropped)]


def _split(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    axis = _constants(ctx, 0, "the axis")[0]
    return np.split(places, ctx.operator.options("SplitOptions").NumSplits(), axis)


def _split_v(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    sizes, axis = _constants(ctx, 1, "sizes"), _constants(ctx, 2, "the axis")[0]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = places.shape[axis] - sum(sizes) - 1
    if sum(sizes) != places.shape[axis]:
        ctx.fail(f"sizes must add up to {places.shape[axis]}, not {sizes}")
    return np.split(places, np.cumsum(sizes)[:-1], axis)


def _gather(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    options = ctx.operator.options("GatherOptions")
    if options.BatchDims():
        ctx.unsupported("batch_dims must be 0")
    chosen = np.array(_constants(ctx, 1, "indices"), np.int64)
    shape = ctx.raw(ctx.operator.inputs[1]).shape
    return [np.take(places, chosen.reshape(shape), axis=options.Axis())]


def _unpack(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    options = ctx.operator.options("UnpackOptions")
    return list(np.moveaxis(places, options.Axis(), 0))


def _depth_to_space(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    block = ctx.operator.options("DepthToSpaceOptions").BlockSize()
    return [depth_to_space(places, block)]


def _space_to_depth(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    block = ctx.operator.options("SpaceToDepthOptions").BlockSize()
    return [space_to_depth(places, block)]


def _mirror_pad(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    reflect = ctx.operator.options("MirrorPadOptions").Mode() == tflite.MirrorPadMode.REFLECT
    widths = np.reshape(_constants(ctx, 1, "paddings"), (places.ndim, 2))
    most = np.array(places.shape) - reflect
    if (widths > most[:, None]).any() or (widths < 0).any():
        ctx.fail(f"paddings must be between 0 and {most.tolist()}, not {widths.tolist()}")
    return [np.pad(places, widths, mode="reflect" if reflect else "symmetric")]


def _reverse(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    return [np.flip(places, tuple(_constants(ctx, 1, "the axes")))]


def _tile(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    return [np.tile(places, _constants(ctx, 1, "multiples"))]


def _broadcast(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    return [np.broadcast_to(places, _constants(ctx, 1, "the shape"))]


def _nearest(size: int, count: int, *, corners: bool, centers: bool) -> Int64Array:
    """Return which of ``size`` elements each of ``count`` is: TFLite's float32 steps."""
    if count < 1:
        raise ValueError(f"sides must be at least 1, not {count}")
    ends = corners and count > 1
    scale = np.float32(size - 1 if ends else size) / np.float32(count - 1 if ends else count)
    places = (np.arange(count, dtype=np.float32) + np.float32(0.5 if centers else 0)) * scale
    whole = np.floor(places + np.float32(0.5)) if corners else np.floor(places)
    return np.clip(whole.astype(np.int64), 0, size - 1)


def _resize(ctx: TfliteContext, places: Int64Array) -> list[Int64Array]:
    options = ctx.operator.options("ResizeNearestNeighborOptions")
    corners, centers = options.AlignCorners(), options.HalfPixelCenters()
    height, width = _constants(ctx, 1, "the size")
    rows = _nearest(places.shape[1], height, corners=corners, centers=centers)
    columns = _nearest(places.shape[2], width, corners=corners, centers=centers)
    return [places[:, rows][:, :, columns]]


MOVES: Mapping[str, Rule] = MappingProxyType(
    {
        "TRANSPOSE": _transpose,
        "SLICE": _slice,
        "STRIDED_SLICE": _strided_slice,
        "SPLIT": _split,
        "SPLIT_V": _split_v,
        "GATHER": _gather,
        "UNPACK": _unpack,
        "DEPTH_TO_SPACE": _depth_to_space,
        "SPACE_TO_DEPTH": _space_to_depth,
        "MIRROR_PAD": _mirror_pad,
        "RESIZE_NEAREST_NEIGHBOR": _resize,
        "REVERSE_V2": _reverse,
        "TILE": _tile,
        "BROADCAST_TO": _broadcast,
    }
)
"""``f(ctx, places)``: places of each output, in the runtime's shape."""


def move(ctx: TfliteContext) -> None:
    """Append a gather (or reshape) for every output."""
    ctx.row("gather")
    position = 1 if ctx.operator.kind == "SPLIT" else 0
    source = ctx.input(position)
    try:
        results = MOVES[ctx.operator.kind](ctx, all_places(source.source_shape))
    except (ValueError, IndexError) as error:
        ctx.fail(f"must fit its input of shape {list(source.source_shape)} ({error})")
    if len(results) != len(ctx.operator.outputs):
        ctx.fail(f"must have {len(results)} outputs, not {len(ctx.operator.outputs)}")
    for number, (index, places) in enumerate(zip(ctx.operator.outputs, results, strict=True)):
        target = ctx.tensor(index)
        if places.shape != tuple(target.source_shape):
            ctx.fail(f"output must be {list(places.shape)}, not {list(target.source_shape)}")
        if source.dtype != "float32" and ctx.codes(index) != ctx.codes(
            ctx.operator.inputs[position]
        ):
            ctx.fail("input and output must have the same quantization")
        suffix = f"/{number}" if len(results) > 1 else ""
        ctx.add_choice(source.name, target.name, places, suffix)


def pack(ctx: TfliteContext) -> None:
    """PACK: a concatenation along an axis of its own."""
    ctx.row("concat")
    target = ctx.output()
    rank = len(target.source_shape)
    axis = ctx.operator.options("PackOptions").Axis() % max(rank, 1)
    if rank > 4 or axis + 3 - rank < 0:
        ctx.unsupported("its output must have at most 4 sides, and must not join batches")
    sides = [1 if k == axis else side for k, side in enumerate(target.source_shape)]
    shape = canonical_shape(sides, "input")
    names = []
    for position, index in enumerate(ctx.operator.inputs):
        if ctx.codes(index) != ctx.codes(ctx.operator.outputs[0]):
            ctx.unsupported("inputs and output must have the same quantization")
        part = ctx.input(position)
        if part.size != int(np.prod(sides)):
            ctx.fail(f"inputs must have {int(np.prod(sides))} elements, not {part.size}")
        names.append(ctx.reshaped(part, shape, f"/{ctx.layer}_{position}").name)
    if len(names) != target.source_shape[axis]:
        ctx.fail(f"must have {target.source_shape[axis]} inputs, not {len(names)}")
    arithmetic = ConcatArithmetic(tables=(None,) * len(names))
    ctx.add_node(Op.CONCAT, names, (target.name,), arithmetic, {"axis": axis + 3 - rank})
