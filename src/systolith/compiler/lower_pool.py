"""Average and max pooling; windows are clipped at the border.

Identity weights, one pass a tap; or for averages, a depthwise filter of ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from systolith.arithmetic import MaxPoolArithmetic, PoolArithmetic
from systolith.compiler.emit import Job, Stream, emit_pairs, job_cycles, store_stream
from systolith.compiler.errors import layer_error
from systolith.compiler.ir import Pair
from systolith.compiler.lower_depthwise import Depthwise, lower_depthwise, plan_depthwise
from systolith.compiler.lower_elementwise import identity_tile
from systolith.compiler.lowering import Lowering
from systolith.compiler.problem import Requantizer
from systolith.compiler.requantize import average_requantizer, identity_requantizer
from systolith.compiler.steps import Step
from systolith.compiler.tiling import Region

__all__ = [
    "Taps",
    "add_constants",
    "add_weights",
    "lower_pool",
    "pool_job",
    "pool_requantizer",
    "turned_job",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taps:
    """Outputs along one axis whose windows are clipped alike.

    Parameters
    ----------
    first, count: the outputs.
    skipped, taps: taps cut off in front, and taps left.
    """

    first: int
    count: int
    skipped: int
    taps: int


def _spans(
    outputs: int, size: int, kernel: int, stride: int, pad: int, dilation: int
) -> list[Taps]:
    """Group the outputs of one axis by what is left of their window."""
    spans: list[Taps] = []
    for index in range(outputs):
        start = index * stride - pad
        skipped = max(0, -(start // dilation))
        taps = min(kernel, -(-(size - start) // dilation)) - skipped
        last = spans[-1] if spans else None
        if last and (last.skipped, last.taps) == (skipped, taps):
            spans[-1] = Taps(first=last.first, count=last.count + 1, skipped=skipped, taps=taps)
        else:
            spans.append(Taps(first=index, count=1, skipped=skipped, taps=taps))
    return spans


def _windows(low: Lowering, step: Step) -> Iterator[tuple[Taps, Taps]]:
    """Every combination of a row span and a column span."""
    a = step.node.attributes
    height, width, _ = low.graph.tensor(step.source).shape
    rows, columns, _ = low.graph.tensor(step.node.outputs[0]).shape
    (kh, kw), (sh, sw), (top, _, left, _) = a["kernel"], a["strides"], a["pads"]
    dh, dw = a["dilations"]
    for y in _spans(rows, height, kh, sh, top, dh):
        for x in _spans(columns, width, kw, sw, left, dw):
            if y.taps < 1 or x.taps < 1:
                raise layer_error(step.node, "a window lies in the padding", "pad less")
            yield y, x


def pool_requantizer(low: Lowering, step: Step, count: int, channels: int) -> Requantizer:
    """Return the requantizer of windows of ``count`` valid codes."""
    arithmetic, post = step.node.arithmetic, low.spec.post
    if isinstance(arithmetic, MaxPoolArithmetic):
        return identity_requantizer(channels, arithmetic.low, arithmetic.high, post)
    assert isinstance(arithmetic, PoolArithmetic)
    if count not in arithmetic.requants:
        raise layer_error(
            step.node, f"has no requantizer for {count} codes", "check the window and its padding"
        )
    return average_requantizer(step.node, arithmetic, count, channels, post)


def turned_job(job: Job, region: Region) -> tuple[Job, Region]:
    """Make channel tiles of few outputs pixels, as all share their parameters.

    A pass over one pixel would wait for the sum of the pass before it.
    """
    tile, tiles = job.tile_channels, job.channel_tiles
    if min(region.height, region.width) > 1 or tiles == 1 or job.channels % tile:
        return job, region
    along = region.height == 1

    def turned(stream: Stream) -> Stream:
        storage, offset = stream.base(region.y, region.x)
        row = stream.pixel if along else stream.row
        return Stream(storage=storage, offset=offset, row=row, pixel=tile)

    narrow = replace(
        job,
        x=turned(job.x),
        y=turned(job.y),
        r=turned(job.r) if job.r else None,
        channels=tile,
        load=replace(job.load, channel_tiles=1),
    )
    outputs = region.width if along else region.height
    return narrow, Region(y=0, x=0, height=outputs, width=tiles)


def pool_job(low: Lowering, step: Step, y: Taps, x: Taps) -> Job:
    """The job of the outputs whose windows are clipped alike, but for its constants."""
    view, a = low.view(step.source), step.node.attributes
    (sh, sw), (dh, dw), (top, _, left, _) = a["strides"], a["dilations"], a["pads"]
    tile = min(low.spec.array.rows, low.spec.array.columns)
    return Job(
        layer=step.node.name,
        x=Stream(
            storage=view.storage,
            offset=view.at(y.skipped * dh - top, x.skipped * dw - left),
            row=sh * view.row,
            pixel=sw * view.pixel,
        ),
        y=store_stream(low.view(step.target)),
        r=low.residual_stream(step),
        channels=view.shape[2],
        tile_channels=tile,
        x_tile=tile,
        counts=(y.taps, x.taps, 1),
        strides=(view.row * dh, view.pixel * dw, 0),
        load=low.load(y.taps * x.taps, view.shape[2], tile, hold=True),
    )


def add_weights(low: Lowering, step: Step, job: Job) -> None:
    """Store the identity weights and complete the MATMUL of a job."""
    job.matmul.update(
        x_signed=int(low.signed(step.source)),
        w_signed=1,
        w_hold=1,
        maximum=int(isinstance(step.node.arithmetic, MaxPoolArithmetic)),
        w_base=identity_tile(low)[0],
    )


def add_constants(low: Lowering, step: Step, requantizer: Requantizer, job: Job) -> None:
    """Store the identity weights and the parameters and complete a job."""
    add_weights(low, step, job)
    parameters = low.constants.parameters(requantizer.channels, identity_tile(low)[1])
    job.store.update(low.store_fields(step, requantizer, parameters))


def _sums(low: Lowering, step: Step, y: Taps, x: Taps) -> Depthwise | None:
    """An average as a depthwise filter of ones, if the array has that mode."""
    a, channels = step.node.attributes, low.view(step.source).shape[2]
    if not low.spec.array.depthwise_lines or isinstance(step.node.arithmetic, MaxPoolArithmetic):
        return None
    (dh, dw), (top, _, left, _) = a["dilations"], a["pads"]
    return Depthwise(
        step=step,
        kernel=(y.taps, x.taps),
        strides=a["strides"],
        dilations=(dh, dw),
        start=(y.skipped * dh - top, x.skipped * dw - left),
        region=Region(y=y.first, x=x.first, height=y.count, width=x.count),
        weights=np.ones((channels, y.taps, x.taps), np.int64),
        zero=0,
        channels=channels,
        expand=0,
        fields={"w_signed": 1},
    )


def _lower(low: Lowering, step: Step, y: Taps, x: Taps, requantizer: Requantizer) -> list[Pair]:
    """Compute the outputs whose windows are clipped alike, in the cheaper of two ways."""
    region = Region(y=y.first, x=x.first, height=y.count, width=x.count)
    job, outputs = turned_job(pool_job(low, step, y, x), region)
    filters = _sums(low, step, y, x)
    plan = plan_depthwise(low, filters) if filters else None
    if filters and plan and plan[1] < job_cycles(job, outputs):
        return lower_depthwise(low, filters, plan[0], requantizer)
    add_constants(low, step, requantizer, job)
    return emit_pairs(job, [outputs])


def lower_pool(low: Lowering, step: Step) -> list[Pair]:
    """Return the command pairs of a pooling layer, one for each way its windows are clipped."""
    channels = low.view(step.source).shape[2]
    known: dict[int, Requantizer] = {}
    pairs = []
    for y, x in _windows(low, step):
        count = y.taps * x.taps
        if count not in known:
            known[count] = pool_requantizer(low, step, count, channels)
        pairs += _lower(low, step, y, x, known[count])
    return pairs
