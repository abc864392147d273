"""Depthwise filters on the array's depthwise mode: convolutions and sums of windows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.depthwise import Scan, Side, scans
from systolith.compiler.emit import Job, Stream, emit_tiles, split_channels, store_stream
from systolith.compiler.ir import Pair
from systolith.compiler.lowering import Lowering
from systolith.compiler.mac import MacLayer
from systolith.compiler.problem import Requantizer
from systolith.compiler.steps import Step
from systolith.compiler.tiling import Region

__all__ = ["Depthwise", "depthwise_layer", "lower_depthwise", "plan_depthwise"]

_TAIL = 64
"""Cycles from the array's last vector to its last byte in memory."""
_AGAIN = 40
"""Cycles that reading rows twice may cost, to save that many."""
_EXPANSIONS = {1: 0, 2: 1, 4: 2, 8: 3}
"""Output channels of an input channel, and the MATMUL's field for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise:
    """Filters with one input channel each, over a rectangle of outputs.

    Parameters
    ----------
    step: what is lowered.
    kernel, strides, dilations: of the filters, rows first.
    start: pixel of the input at the first tap of output (0, 0).
    region: the outputs.
    weights: codes [channels, kh, kw], or [1, kh, kw] if all channels have the same.
    zero: the code that multiplies by zero.
    channels: output channels.
    expand: binary logarithm of the output channels of an input channel.
    fields: the MATMUL's weight fields.
    """

    step: Step
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    start: tuple[int, int]
    region: Region
    weights: NDArray[np.int64]
    zero: int
    channels: int
    expand: int
    fields: dict[str, int]


def tile_channels(low: Lowering, channels: int, expand: int) -> int:
    """Output channels of a tile: whole input channels, each a byte of the array's rows."""
    array = low.spec.array
    return min(channels, min(array.columns >> expand, array.rows) << expand)


def depthwise_layer(low: Lowering, layer: MacLayer) -> Depthwise | None:
    """Return the filters of a depthwise convolution that the array can hold, or None."""
    window, array = layer.window, low.spec.array
    expand = _EXPANSIONS.get(layer.outputs)
    alone = window.groups > 1 and layer.codes.shape[3] == 1
    if not array.depthwise_lines or not alone or expand is None or array.columns >> expand == 0:
        return None
    return Depthwise(
        step=layer.step,
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        start=(-window.pads[0], -window.pads[2]),
        region=low.region(layer.step),
        weights=layer.codes[..., 0],
        zero=layer.zero,
        channels=len(layer.codes),
        expand=expand,
        fields=layer.fields,
    )


def plan_depthwise(low: Lowering, filters: Depthwise) -> tuple[list[Scan], int] | None:
    """Return the streams and their cycles; None if the depthwise mode cannot hold them."""
    view, region = low.view(filters.step.source), filters.region
    sides = [
        Side(
            outputs=outputs,
            taps=filters.kernel[i],
            stride=filters.strides[i],
            dilation=filters.dilations[i],
            start=filters.start[i] + first * filters.strides[i],
            pixel=pitch,
            paired=paired,
        )
        for i, (outputs, first, pitch, paired) in enumerate(
            (
                (region.height, region.y, view.row, _in_pairs(low, filters)),
                (region.width, region.x, view.pixel, False),
            )
        )
    ]
    tile = tile_channels(low, filters.channels, filters.expand)
    return scans(
        sides[0],
        sides[1],
        low.spec,
        least=low.spec.array.rows,
        beats=-(-tile // low.spec.post.lanes),
        channel_tiles=-(-filters.channels // tile),
    )


def _in_pairs(low: Lowering, filters: Depthwise) -> bool:
    """Whether rows of the input can be read two at a time, as its layout has them."""
    tile = tile_channels(low, filters.channels, filters.expand)
    whole = tile == filters.channels or (tile >> filters.expand) % low.spec.line_bytes == 0
    return filters.step.source in low.layout.paired and filters.dilations[0] == 1 and whole


def _tiles(low: Lowering, filters: Depthwise, scan: Scan) -> NDArray[np.int64]:
    """Weight tiles [n, pass, rows, columns]: the last tap of a pass lies in its last place."""
    array, span = low.spec.array, (scan.outer.span, scan.inner.span)
    tile = tile_channels(low, filters.channels, filters.expand)
    count = -(-filters.channels // tile)
    w = filters.weights.swapaxes(1, 2) if scan.turned else filters.weights
    _, lines, taps = w.shape
    whole = np.full((count * tile, scan.outer.passes * span[0], scan.inner.passes * span[1]),
                    filters.zero)  # fmt: skip
    whole[: filters.channels, :lines, :taps] = w
    blocks = whole.reshape(count, tile, scan.outer.passes, span[0], scan.inner.passes, span[1])
    lanes = (array.depthwise_lines, array.depthwise_taps)
    shape = (count, scan.outer.passes, scan.inner.passes, *lanes, array.columns)
    packed = np.full(shape, filters.zero)
    place = packed[..., lanes[0] - span[0] :, lanes[1] - span[1] :, :tile]
    place[...] = blocks.transpose(0, 2, 4, 3, 5, 1)
    result = np.full((count, scan.passes, array.rows, array.columns), filters.zero)
    used = lanes[0] * lanes[1]
    result[:, :, :used] = packed.reshape(count, scan.passes, used, array.columns)
    return result


def _outputs(stream: Stream, filters: Depthwise, scan: Scan) -> Stream:
    """The part of a stream over the layer's outputs that a scan computes."""
    outer, inner = scan.outer, scan.inner
    y, x = (inner, outer) if scan.turned else (outer, inner)
    row, pixel = stream.row * y.every, stream.pixel * x.every
    storage, offset = stream.base(filters.region.y + y.first, filters.region.x + x.first)
    if scan.turned:
        row, pixel = pixel, row
    return Stream(storage=storage, offset=offset, row=row, pixel=pixel)


def _job(low: Lowering, filters: Depthwise, scan: Scan, requantizer: Requantizer) -> Job:
    view = low.view(filters.step.source)
    residual = low.residual_stream(filters.step)
    tile = tile_channels(low, filters.channels, filters.expand)
    parameters = low.constants.parameters(requantizer.channels, tile)
    outer, inner = scan.outer, scan.inner
    first = outer.start - scan.lead
    start = (inner.start, first) if scan.turned else (first, inner.start)
    return Job(
        layer=filters.step.node.name,
        x=Stream(
            storage=view.storage,
            offset=view.at(*start),
            row=outer.step * outer.pitch,
            pixel=inner.step * inner.pitch,
        ),
        y=_outputs(store_stream(low.view(filters.step.target)), filters, scan),
        r=_outputs(residual, filters, scan) if residual else None,
        channels=filters.channels,
        tile_channels=tile,
        x_tile=tile >> filters.expand,
        counts=(outer.passes, inner.passes, 1),
        strides=(outer.span * outer.pitch, inner.span * inner.pitch, 0),
        load=low.load(scan.passes, filters.channels, tile, hold=False),
        matmul=filters.fields
        | {
            "x_signed": int(low.signed(filters.step.source)),
            "depthwise": 1,
            "expand": filters.expand,
            "pairs": int(scan.paired),
            "y_first": scan.lead + outer.span - 1,
            "x_first": inner.span - 1,
            "y_step": outer.step,
            "x_step": inner.step,
            "w_base": low.constants.weights(_tiles(low, filters, scan)),
        },
        store=low.store_fields(filters.step, requantizer, parameters),
    )


def lower_depthwise(
    low: Lowering, filters: Depthwise, plan: list[Scan], requantizer: Requantizer
) -> list[Pair]:
    """Return the command pairs of planned streams."""
    pairs = []
    for scan in plan:
        job = _job(low, filters, scan, requantizer)
        for tiles in scan.tiles():
            pair = emit_tiles(job, tiles)
            pair.matmul.values.update(
                my_count=scan.rows(tiles.height, tiles.width),
                mx_count=scan.row(tiles.width),
                x_my_stride=scan.outer.pitch,
                x_mx_stride=scan.inner.pitch,
                oy_count=tiles.height,
                ox_count=tiles.width,
            )
            pairs.append(pair)
    return _staged(low, filters, pairs, turned=plan[0].turned)


def _staged(low: Lowering, filters: Depthwise, pairs: list[Pair], *, turned: bool) -> list[Pair]:
    """Order commands by what the layer before stores first, and the next one can use first.

    The last tiles may wait for channels that the layer before stores last. They may be cut in two
    by rows, so that the next layer starts on the upper rows of all channels.
    """
    rows = low.spec.array.rows
    tile = tile_channels(low, filters.channels, filters.expand)
    tiles = -(-filters.channels // tile)
    early = min(low.early.get(filters.step.source, 0) // (tile >> filters.expand), tiles - 1)
    cut = _lower_rows(pairs, tiles, early, rows)
    if turned or cut is None or not low.splitter.reads_rows(filters.step):
        return split_channels(pairs, early, rows) if early else pairs
    first, upper = cut
    *before, last = split_channels(pairs, first, rows) if first else pairs
    low.splitter.stored_early(filters.step, upper, _TAIL)
    return [*before, *_split_rows(last, upper)]


def _lower_rows(pairs: list[Pair], tiles: int, early: int, vectors: int) -> tuple[int, int] | None:
    """Choose (channel tiles not cut, upper rows of the others), if cutting is worth its rows.

    The lower rows must take the array as long as storing the upper ones; the next layer needs at
    least ``vectors`` outputs to be busy with.
    """
    m = pairs[0].matmul.values
    if not len(pairs) == m["t_count"] == m["ky_count"] * m["kx_count"] == 1:
        return None
    last = m["x_first"] + (m["ox_count"] - 1) * m["x_step"] + 1
    for cut in range(tiles - early if early else 1, tiles + 1):
        again = cut * ((m["y_first"] + 1 - m["y_step"]) >> m["pairs"]) * m["mx_count"]
        for lower in range(1, m["oy_count"]):
            lines = (m["y_first"] + (lower - 1) * m["y_step"]) >> m["pairs"]
            stream = lines * m["mx_count"] + last
            upper = m["oy_count"] - lower
            useful = cut * stream >= _TAIL and upper * m["ox_count"] >= vectors
            if useful and again <= _AGAIN:
                return tiles - cut, upper
    return None


def _split_rows(pair: Pair, upper: int) -> list[Pair]:
    """Cut a pair of one tile into its upper rows of outputs and the others."""
    m, s = pair.matmul, pair.store
    made = []
    for first, count in ((0, upper), (upper, m.values["oy_count"] - upper)):
        left = m.values["oy_count"] - count
        down = {
            "x_base": first * m.values["y_step"] * m.values["x_my_stride"],
            **{name: first * s.values[f"{name[0]}_my_stride"] for name in s.bases},
        }
        fewer = {
            "oy_count": count,
            "my_count": m.values["my_count"] - left * m.values["y_step"],
        }
        made.append(Pair(matmul=m.moved(down, fewer), store=s.moved(down, {"my_count": count})))
    return made
