"""Convolutions and fully connected layers, dense, grouped and depthwise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.emit import (
    Job,
    Stream,
    emit_pairs,
    job_cycles,
    split_channels,
    store_stream,
)
from systolith.compiler.ir import Pair
from systolith.compiler.lower_depthwise import depthwise_layer, lower_depthwise, plan_depthwise
from systolith.compiler.lower_im2col import lower_gathered, plan_gather
from systolith.compiler.lowering import Lowering
from systolith.compiler.mac import (
    MacLayer,
    mac_layer,
    mac_requantizer,
    packings,
    part_of,
    precisions,
)
from systolith.compiler.precision import columns_at_once
from systolith.compiler.reduction import Kernel, Reduction, best_reduction, pack_tiles
from systolith.compiler.requantize import Requantizer
from systolith.compiler.steps import Step
from systolith.graph import Op
from systolith.spec.array import ArraySpec
from systolith.spec.precision import Precision

__all__ = [
    "MacPart",
    "add_constants",
    "add_weights",
    "dense_part",
    "diagonal_part",
    "lower_mac",
    "part_job",
]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class MacPart:
    """Channel tiles that one command computes.

    Parameters
    ----------
    first_in, first_out, channels: first input channel, first output channel, output channels.
    tile: output channels of a tile; x_tile: input channels from tile to tile.
    reduction: loops over the window.
    blocks: weight codes [n, tile, kh, kw, channels of a tap].
    """

    first_in: int
    first_out: int
    channels: int
    tile: int
    x_tile: int
    reduction: Reduction
    blocks: Int64Array


def dense_part(
    w: Int64Array, layer: MacLayer, kernel: Kernel, group: tuple[int, int], array: ArraySpec
) -> MacPart:
    """One group (first input and output channel in ``group``), cut into tiles of all columns."""
    count = len(w)
    tile = min(columns_at_once(array, layer.precision), count)
    tiles = -(-count // tile)
    padded = np.full((tiles * tile, *w.shape[1:]), layer.zero, np.int64)
    padded[:count] = w
    return MacPart(
        first_in=group[0],
        first_out=group[1],
        channels=count,
        tile=tile,
        x_tile=0,
        reduction=best_reduction(kernel, array.rows, layer.precision),
        blocks=padded.reshape(tiles, tile, *w.shape[1:]),
    )


def diagonal_part(
    layer: MacLayer, groups: int, kernel: Kernel, array: ArraySpec, *, together: bool = False
) -> MacPart:
    """Several whole groups a tile, or all ``together``: blocks on the diagonal of a wider tap."""
    w, zero, columns = layer.codes, layer.zero, columns_at_once(array, layer.precision)
    outputs, inputs = len(w) // groups, w.shape[3]

    def widened(side: int) -> Reduction:
        tap = Kernel(
            height=kernel.height,
            width=kernel.width,
            row=kernel.row,
            pixel=kernel.pixel,
            channels=side * inputs,
        )
        return best_reduction(tap, array.rows, layer.precision)

    sides = [groups] if together else range(1, min(groups, columns // outputs) + 1)
    side = min(sides, key=lambda s: (-(-groups // s) * widened(s).passes, s))
    tiles = -(-groups // side)
    shape = (tiles * side, outputs, *w.shape[1:])
    padded = np.full(shape, zero, np.int64)
    padded[:groups] = w.reshape(groups, outputs, *w.shape[1:])
    padded = padded.reshape(tiles, side, outputs, *w.shape[1:])
    blocks = np.full((tiles, side, outputs, *w.shape[1:3], side, inputs), zero, np.int64)
    for index in range(side):
        blocks[:, index, :, :, :, index] = padded[:, index]
    return MacPart(
        first_in=0,
        first_out=0,
        channels=len(w),
        tile=side * outputs,
        x_tile=side * inputs,
        reduction=widened(side),
        blocks=blocks.reshape(tiles, side * outputs, *w.shape[1:3], side * inputs),
    )


def _parts(layer: MacLayer, kernel: Kernel, array: ArraySpec) -> Iterator[MacPart]:
    w, groups = layer.codes, layer.window.groups
    outputs = len(w) // groups
    if groups > 1 and outputs <= columns_at_once(array, layer.precision):
        yield diagonal_part(layer, groups, kernel, array)
        return
    for group in range(groups):
        own = w[group * outputs : (group + 1) * outputs]
        first = group * w.shape[3], group * outputs
        yield dense_part(own, layer, kernel, first, array)


def part_job(low: Lowering, layer: MacLayer, part: MacPart) -> Job:
    """The job of one part, but for its weights."""
    step, window, view = layer.step, layer.window, low.view(layer.step.source)
    residual = low.residual_stream(step, part.first_out)
    return Job(
        layer=step.node.name,
        x=Stream(
            storage=view.storage,
            offset=view.at(-window.pads[0], -window.pads[2], part.first_in),
            row=window.strides[0] * view.row,
            pixel=window.strides[1] * view.pixel,
        ),
        y=store_stream(low.view(step.target), part.first_out).packed(layer.packed),
        r=residual.packed(layer.packed) if residual else None,
        channels=part.channels,
        tile_channels=part.tile,
        x_tile=part.x_tile,
        counts=part.reduction.counts,
        strides=part.reduction.strides,
        load=low.load(part.reduction.passes, part.channels, part.tile, hold=False),
    )


def add_weights(low: Lowering, layer: MacLayer, part: MacPart, job: Job) -> None:
    """Store the weights of one part and complete the MATMUL of its job."""
    tiles = pack_tiles(part.reduction, part.blocks, layer.zero, low.spec, layer.precision)
    job.matmul.update(
        layer.fields,
        x_signed=int(low.signed(layer.step.source)),
        w_base=low.constants.weights(tiles),
    )


def add_constants(
    low: Lowering, layer: MacLayer, part: MacPart, job: Job, requantizer: Requantizer
) -> None:
    """Store the weights and parameters of one part and complete its job."""
    channels = part_of(requantizer.channels, part.first_out, part.channels, layer.packed)
    parameters = low.constants.parameters(channels, part.tile)
    add_weights(low, layer, part, job)
    job.store.update(low.store_fields(layer.step, requantizer, parameters))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Option:
    """A way to compute a layer.

    Parameters
    ----------
    cycles: estimate.
    words: of weights.
    lower: makes its commands.
    depthwise: whether the array streams all pixels of a channel tile before the next tile.
    """

    cycles: int
    words: int
    lower: Callable[[Requantizer], list[Pair]]
    depthwise: bool = False


def _words(low: Lowering, part: MacPart) -> int:
    """Weight words of a part."""
    return len(part.blocks) * part.reduction.passes * low.spec.array.rows


def _ordinary(low: Lowering, layer: MacLayer) -> _Option:
    """Every channel tile reads the window where it lies."""
    window, view, array = layer.window, low.view(layer.step.source), low.spec.array
    kernel = Kernel(
        height=window.kernel[0],
        width=window.kernel[1],
        row=view.row * window.dilations[0],
        pixel=view.pixel * window.dilations[1],
        channels=layer.codes.shape[3],
    )
    parts = list(_parts(layer, kernel, array))
    jobs = [part_job(low, layer, part) for part in parts]
    region = low.region(layer.step, layer.packed)

    def lower(requantizer: Requantizer) -> list[Pair]:
        pairs, alone = [], len(parts) == 1
        by_tile = _is_depthwise(low, low.splitter.after(layer.step), layer.step.target)
        for part, job in zip(parts, jobs, strict=True):
            regions = [region]
            if alone:
                regions = low.regions(layer.step, job, layer.packed, ahead=not by_tile)
            add_constants(low, layer, part, job, requantizer)
            pairs += emit_pairs(job, regions)
        return _by_tile(low, layer.step, pairs) if by_tile and alone else pairs

    cycles = sum(job_cycles(job, region) for job in jobs)
    return _Option(cycles=cycles, words=sum(_words(low, part) for part in parts), lower=lower)


def _gathered(low: Lowering, layer: MacLayer, direct: int) -> _Option | None:
    """COPY gathers the windows first, if that takes fewer cycles than ``direct``."""
    array, size = low.spec.array, layer.codes[0].size
    kernel = Kernel(height=1, width=1, row=0, pixel=0, channels=size)
    w = layer.codes.reshape(-1, 1, 1, size)
    part = dense_part(w, layer, kernel, (0, 0), array)
    job = part_job(low, layer, part)
    plan = plan_gather(low, layer, job, direct)
    if plan is None:
        return None

    def lower(requantizer: Requantizer) -> list[Pair]:
        add_constants(low, layer, part, job, requantizer)
        pairs = lower_gathered(plan, job)
        by_tile = _is_depthwise(low, low.splitter.after(layer.step), layer.step.target)
        return _by_tile(low, layer.step, pairs) if by_tile and plan.resident else pairs

    return _Option(cycles=plan.cycles, words=_words(low, part), lower=lower)


def _depthwise(low: Lowering, layer: MacLayer) -> _Option | None:
    """The array's depthwise mode, where it can hold the layer."""
    filters = depthwise_layer(low, layer)
    plan = plan_depthwise(low, filters) if filters else None
    if filters is None or plan is None:
        return None

    def lower(requantizer: Requantizer) -> list[Pair]:
        return lower_depthwise(low, filters, plan[0], requantizer)

    return _Option(cycles=plan[1], words=0, lower=lower, depthwise=True)


def _by_tile(low: Lowering, step: Step, pairs: list[Pair]) -> list[Pair]:
    """Compute the last channel tile last, for a layer that reads tile by tile."""
    store = pairs[0].store.values
    first = store["n_count"] - 1
    if not first:
        return pairs
    low.early[step.target] = first * store["tile_channels"]
    return split_channels(pairs, first, low.spec.array.rows)


def _cheapest(low: Lowering, step: Step) -> _Option:
    """The way that takes fewest cycles."""
    layer = mac_layer(low, step)
    whole = layer.window.dilations[0] == 1 or layer.window.kernel[0] == 1
    windows = layer.window.groups == 1 and layer.window.kernel != (1, 1) and whole
    options = []
    for own in precisions(low, layer):
        if own.precision is Precision.W8A8:
            options.append(_depthwise(low, own))
        for variant in packings(low, own):
            direct = _ordinary(low, variant)
            options.append(direct)
            if windows:
                options.append(_gathered(low, variant, direct.cycles))
    return min((o for o in options if o is not None), key=lambda o: (o.cycles, o.words))


def _is_depthwise(low: Lowering, step: Step | None, source: str) -> bool:
    """Whether a step reads a tensor channel tile by channel tile."""
    if step is None or step.source != source or step.node.op is not Op.CONV2D:
        return False
    return step.node.attributes["groups"] > 1 and _cheapest(low, step).depthwise


def lower_mac(low: Lowering, step: Step) -> list[Pair]:
    """Return the command pairs of a convolution or fully connected layer, the cheapest found."""
    return _cheapest(low, step).lower(mac_requantizer(low, step))
