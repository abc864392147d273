"""Sums of a tile whose window does not fit on chip: parts of the window, one after the other.

The accumulators keep the sums of a tile from one partial MATMUL to the next, so that only a part of
the source has to be on chip at a time: some rows of taps, some taps of a row, or some channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from systolith.arithmetic import MacArithmetic
from systolith.compiler.pieces import Box, Span, source_channels
from systolith.compiler.steps import Step

__all__ = ["Part", "cut_window", "least_part", "part_span", "window_taps"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some taps of a window, and channels of the source: first and count of each."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    channels: tuple[int, int]


def _sides(step: Step) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Strides, dilations, and padding above and on the left."""
    a = step.node.attributes
    if "kernel" not in a:
        return (1, 1), (1, 1), (0, 0)
    dilations = a.get("dilations", (1, 1))
    return tuple(a["strides"]), tuple(dilations), (a["pads"][0], a["pads"][2])


def window_taps(step: Step, box: Box, source: tuple[int, int, int]) -> tuple[range, range]:
    """Rows and columns of taps: all of a convolution's, those inside the tensor of a pool's.

    Parameters
    ----------
    box: the outputs; of a pool a single one.
    source: shape.
    """
    kernel = step.node.attributes.get("kernel", (1, 1))
    if isinstance(step.node.arithmetic, MacArithmetic):
        return range(kernel[0]), range(kernel[1])
    found = []
    strides, dilations, pads = _sides(step)
    for axis, first in enumerate((box.y, box.x)):
        start, dilation = first * strides[axis] - pads[axis], dilations[axis]
        low = max(0, -(start // dilation))
        high = min(kernel[axis], -(-(source[axis] - start) // dilation))
        found.append(range(low, high))
    return found[0], found[1]


def part_span(step: Step, axis: int, first: int, count: int, taps: tuple[int, int]) -> Span:
    """Rows (axis 0) or columns (1) of the source that some taps of outputs read, halo included."""
    strides, dilations, pads = _sides(step)
    stride, dilation = strides[axis], dilations[axis]
    start = first * stride - pads[axis] + taps[0] * dilation
    return Span(first=start, count=(count - 1) * stride + (taps[1] - 1) * dilation + 1)


def _channels(
    step: Step, box: Box, source: tuple[int, int, int], outputs: int
) -> tuple[Span, bool]:
    """Channels of the source that a box needs, and whether they may be cut: of one group."""
    span = source_channels(step, box, source[2], outputs)
    arithmetic = step.node.arithmetic
    alone = isinstance(arithmetic, MacArithmetic) and span.count == arithmetic.weights.shape[3]
    return span, alone


def least_part(step: Step, box: Box, source: tuple[int, int, int], outputs: int, rows: int) -> int:
    """Bytes of the smallest part: one tap, and as many channels as the array has rows."""
    span, alone = _channels(step, box, source, outputs)
    strides, _, _ = _sides(step)
    pixels = ((box.height - 1) * strides[0] + 1) * ((box.width - 1) * strides[1] + 1)
    return pixels * (min(span.count, rows) if alone else span.count)


def _cuts(taps: range, most: int) -> Iterator[tuple[int, int]]:
    pieces = -(-len(taps) // max(1, most))
    edges = [taps.start + len(taps) * i // pieces for i in range(pieces + 1)]
    for a, b in zip(edges, edges[1:], strict=False):
        yield a, b - a


def _most(step: Step, axis: int, count: int, extent: int) -> int:
    """Taps along an axis whose elements, for so many outputs, are at most ``extent``; may be 0."""
    strides, dilations, _ = _sides(step)
    room = extent - (count - 1) * strides[axis] - 1
    return room // dilations[axis] + 1 if room >= 0 else 0


def cut_window(
    step: Step, box: Box, most: int, source: tuple[int, int, int], outputs: int
) -> list[Part]:
    """Cut the window of a box into as few parts of at most ``most`` bytes as simple cuts allow.

    Parameters
    ----------
    source: shape of the source.
    outputs: channels of the target.
    """
    ys, xs = window_taps(step, box, source)
    span, alone = _channels(step, box, source, outputs)
    whole = span.first, span.count
    wide = part_span(step, 1, box.x, box.width, (xs.start, len(xs))).count
    taps = _most(step, 0, box.height, most // (wide * span.count))
    if taps:
        return [Part(rows=y, columns=(xs.start, len(xs)), channels=whole) for y in _cuts(ys, taps)]
    high = part_span(step, 0, box.y, box.height, (0, 1)).count
    taps = _most(step, 1, box.width, most // (high * span.count))
    if taps or not alone:
        across = list(_cuts(xs, max(1, taps)))
        return [Part(rows=(y, 1), columns=x, channels=whole) for y in ys for x in across]
    wide = part_span(step, 1, box.x, box.width, (0, 1)).count
    some = range(span.first, span.first + span.count)
    return [
        Part(rows=(y, 1), columns=(x, 1), channels=c)
        for y in ys
        for x in xs
        for c in _cuts(some, max(1, most // (high * wide)))
    ]
