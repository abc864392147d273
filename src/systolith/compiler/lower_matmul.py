"""Convolutions and fully connected layers, dense, grouped and depthwise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import MacArithmetic
from systolith.compiler.constants import ChannelParameters
from systolith.compiler.emit import Job, Stream, emit_pairs, store_stream
from systolith.compiler.fit import accumulator_range
from systolith.compiler.ir import Pair
from systolith.compiler.lowering import Lowering, code_range
from systolith.compiler.reduction import Kernel, Reduction, best_reduction, pack_tiles
from systolith.compiler.requantize import Problem, Requantizer, choose_requantizer
from systolith.compiler.steps import Step
from systolith.compiler.tiling import Region
from systolith.graph import Node, Op

__all__ = ["lower_mac"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Window:
    """Geometry of a convolution; a fully connected layer is 1 x 1."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
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


def _window(node: Node) -> _Window:
    if node.op is Op.FULLY_CONNECTED:
        return _Window()
    a = node.attributes
    return _Window(
        kernel=tuple(a["kernel"]),
        strides=tuple(a["strides"]),
        dilations=tuple(a["dilations"]),
        pads=tuple(a["pads"]),
        groups=int(a["groups"]),
    )


def _codes(arithmetic: MacArithmetic) -> tuple[Int64Array, int, dict[str, int]]:
    """Weight codes, the code worth zero, and the MATMUL's weight fields."""
    w, zero = arithmetic.weights.astype(np.int64), arithmetic.weight_zero_point
    if w.size == 0 or (w - zero).min() >= -128 and (w - zero).max() <= 127:
        return w - zero, 0, {"w_signed": 1, "w_zero": 0}
    return w, zero, {"w_signed": int(arithmetic.weights.dtype == np.int8), "w_zero": zero}


def _dense(
    w: Int64Array, zero: int, kernel: Kernel, group: tuple[int, int], rows: int, columns: int
) -> _Part:
    """One group (first input and output channel in ``group``), cut into tiles of all columns."""
    count = len(w)
    tile = min(columns, count)
    tiles = -(-count // tile)
    padded = np.full((tiles * tile, *w.shape[1:]), zero, np.int64)
    padded[:count] = w
    return _Part(
        first_in=group[0],
        first_out=group[1],
        channels=count,
        tile=tile,
        x_tile=0,
        reduction=best_reduction(kernel, rows),
        blocks=padded.reshape(tiles, tile, *w.shape[1:]),
    )


def _diagonal(
    w: Int64Array, zero: int, groups: int, kernel: Kernel, rows: int, columns: int
) -> _Part:
    """Several whole groups a tile: blocks on the diagonal of a wider tap."""
    outputs, inputs = len(w) // groups, w.shape[3]

    def widened(side: int) -> Reduction:
        tap = Kernel(
            height=kernel.height,
            width=kernel.width,
            row=kernel.row,
            pixel=kernel.pixel,
            channels=side * inputs,
        )
        return best_reduction(tap, rows)

    sides = range(1, min(groups, columns // outputs) + 1)
    side = min(sides, key=lambda s: (-(-groups // s) * widened(s).passes, s))
    tiles = -(-groups // side)
    shape = (tiles * side, outputs, *w.shape[1:])
    padded = np.full(shape, zero, np.int64)
    padded[:groups] = w.reshape(groups, outputs, *w.shape[1:])
    padded = padded.reshape(tiles, side, outputs, *w.shape[1:])
    blocks = np.full((tiles, side, outputs, *w.shape[1:3], side, inputs), zero, np.int64)
    for index in range(side):
        blocks[:, index, :, :, :, index] = padded[:, index]
    return _Part(
        first_in=0,
        first_out=0,
        channels=len(w),
        tile=side * outputs,
        x_tile=side * inputs,
        reduction=widened(side),
        blocks=blocks.reshape(tiles, side * outputs, *w.shape[1:3], side * inputs),
    )


def _parts(
    w: Int64Array, zero: int, groups: int, kernel: Kernel, rows: int, columns: int
) -> Iterator[_Part]:
    outputs = len(w) // groups
    if groups > 1 and outputs <= columns:
        yield _diagonal(w, zero, groups, kernel, rows, columns)
        return
    for group in range(groups):
        own = w[group * outputs : (group + 1) * outputs]
        first = group * w.shape[3], group * outputs
        yield _dense(own, zero, kernel, first, rows, columns)


def _requantizer(low: Lowering, step: Step, arithmetic: MacArithmetic) -> Requantizer:
    w = arithmetic.weights.astype(np.int64) - arithmetic.weight_zero_point
    flat = w.reshape(len(w), -1)
    zero = arithmetic.input_zero_point
    bias = arithmetic.bias.astype(np.int64)
    x_low, x_high = code_range(low.graph.tensor(step.source).dtype)
    least, most = accumulator_range(flat.T, min(x_low, zero), max(x_high, zero), zero, bias)
    problem = Problem(
        requant=arithmetic.requant, bias=bias - zero * flat.sum(axis=1), lo=least, hi=most
    )
    return choose_requantizer(step.node, problem, low.spec.post.modes)


def _slice(channels: ChannelParameters, first: int, count: int) -> ChannelParameters:
    part = slice(first, first + count)
    return ChannelParameters(
        bias=channels.bias[part],
        multiplier=channels.multiplier[part],
        offset=channels.offset[part],
        shift=channels.shift[part],
    )


def _job(low: Lowering, step: Step, part: _Part, window: _Window, requantizer: Requantizer) -> Job:
    """The job of one part, but for its weights."""
    view = low.view(step.source)
    parameters = low.constants.parameters(
        _slice(requantizer.channels, part.first_out, part.channels), part.tile
    )
    return Job(
        layer=step.node.name,
        x=Stream(
            storage=view.storage,
            offset=view.at(-window.pads[0], -window.pads[2], part.first_in),
            row=window.strides[0] * view.row,
            pixel=window.strides[1] * view.pixel,
        ),
        y=store_stream(low.view(step.target), part.first_out),
        r=low.residual_stream(step, part.first_out),
        channels=part.channels,
        tile_channels=part.tile,
        x_tile=part.x_tile,
        counts=part.reduction.counts,
        strides=part.reduction.strides,
        load=low.load(part.reduction.passes, part.channels, part.tile, hold=False),
        matmul={"x_signed": int(low.signed(step.source))},
        store=low.store_fields(step, requantizer, parameters),
    )


def lower_mac(low: Lowering, step: Step) -> list[Pair]:
    """Return the command pairs of a convolution or fully connected layer."""
    arithmetic = step.node.arithmetic
    assert isinstance(arithmetic, MacArithmetic)
    window, view, array = _window(step.node), low.view(step.source), low.spec.array
    requantizer = _requantizer(low, step, arithmetic)
    codes, zero, fields = _codes(arithmetic)
    kernel = Kernel(
        height=window.kernel[0],
        width=window.kernel[1],
        row=view.row * window.dilations[0],
        pixel=view.pixel * window.dilations[1],
        channels=arithmetic.weights.shape[3],
    )
    height, width, _ = low.graph.tensor(step.target).shape
    regions = [Region(y=0, x=0, height=height, width=width)]
    parts = list(_parts(codes, zero, window.groups, kernel, array.rows, array.columns))
    pairs = []
    for part in parts:
        job = _job(low, step, part, window, requantizer)
        tiles = pack_tiles(part.reduction, part.blocks, zero, low.spec)
        job.matmul.update(fields, w_base=low.constants.weights(tiles))
        pairs += emit_pairs(job, low.regions(step, job) if len(parts) == 1 else regions)
    return pairs
