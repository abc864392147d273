"""What a box of outputs reads: parts of operands along every axis, and their bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from systolith.arithmetic import MacArithmetic, Requant
from systolith.compiler.ir import View
from systolith.compiler.steps import Step
from systolith.graph import Op

__all__ = [
    "WINDOWED",
    "Box",
    "Piece",
    "Slab",
    "Span",
    "box_view",
    "channel_cuts",
    "is_run",
    "other_piece",
    "piece_bytes",
    "piece_view",
    "slab_of",
    "sliced",
    "source_channels",
    "source_piece",
    "window_span",
]

WINDOWED = frozenset({Op.CONV2D, Op.AVG_POOL, Op.MAX_POOL})
"""Operators whose outputs read windows of their input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Outputs that are computed together: first element and extent along every axis."""

    y: int
    x: int
    c: int
    height: int
    width: int
    channels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Elements of an operand along an axis.

    Parameters
    ----------
    first, count: elements of the tensor.
    before, after: elements of padding that are read beside them.
    """

    first: int
    count: int
    before: int = 0
    after: int = 0

    @property
    def total(self) -> int:
        """Elements, padding included."""
        return self.before + self.count + self.after


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A part of an operand; channels have no padding."""

    rows: Span
    columns: Span
    channels: Span

    @property
    def shape(self) -> tuple[int, int, int]:
        """Extents without padding."""
        return self.rows.count, self.columns.count, self.channels.count


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Slab:
    """Bytes of an external storage, one after the other, that hold rows with their halo.

    Parameters
    ----------
    start, size: bytes of the storage.
    lead, tail: bytes around them on chip that are read but do not matter: a row's other of a pair.
    """

    start: int
    size: int
    lead: int = 0
    tail: int = 0

    @property
    def room(self) -> int:
        """Bytes on chip."""
        return self.lead + self.size + self.tail


def window_span(step: Step, axis: int, size: int, first: int, count: int, *, raw: bool) -> Span:
    """Rows (axis 0) or columns (1) of the source, of ``size``, that outputs need.

    Parameters
    ----------
    raw: count the halo as elements, which it is in memory; else what lies outside is padding.
    """
    if step.node.op not in WINDOWED:
        # One element of an axis serves all outputs.
        return Span(first=0, count=1) if size == 1 else Span(first=first, count=count)
    a = step.node.attributes
    kernel, stride = a["kernel"][axis], a["strides"][axis]
    dilation, pad = a.get("dilations", (1, 1))[axis], a["pads"][2 * axis]
    start = first * stride - pad
    end = (first + count - 1) * stride - pad + (kernel - 1) * dilation + 1
    if raw:
        return Span(first=start, count=end - start)
    low, high = min(max(start, 0), size - 1), max(min(end, size), 1)
    return Span(first=low, count=high - low, before=low - start, after=end - high)


def source_channels(step: Step, box: Box, inputs: int, outputs: int) -> Span:
    """Channels of the source that output channels need."""
    if step.node.op is Op.FULLY_CONNECTED:
        return Span(first=0, count=inputs)
    if step.node.op is not Op.CONV2D:
        one = inputs == 1
        return Span(first=0 if one else box.c, count=1 if one else box.channels)
    groups = step.node.attributes["groups"]
    made = outputs // groups
    first, last = box.c // made, (box.c + box.channels - 1) // made
    each = inputs // groups
    return Span(first=first * each, count=(last + 1 - first) * each)


def source_piece(step: Step, box: Box, source: View, target: tuple[int, int, int]) -> Piece:
    """The part of the source that a box of outputs, of a tensor of shape ``target``, needs.

    Whole rows keep their padding apart; in narrower boxes of a convolution it is elements.
    """
    height, width, inputs = source.shape
    channels = source_channels(step, box, inputs, target[2])
    whole = box.width == target[1] and channels.count == inputs
    raw = step.node.op is Op.CONV2D and not whole
    columns = window_span(step, 1, width, box.x, box.width, raw=raw)
    if whole:
        pads = step.node.attributes["pads"][2:] if step.node.op in WINDOWED else (0, 0)
        columns = Span(first=0, count=width, before=pads[0], after=pads[1])
    rows = window_span(step, 0, height, box.y, box.height, raw=raw)
    return Piece(rows=rows, columns=columns, channels=channels)


def other_piece(box: Box, other: View) -> Piece:
    """The part of a residual operand, which may be broadcast."""
    high, wide, deep = (extent > 1 for extent in other.shape)
    return Piece(
        rows=Span(first=box.y if high else 0, count=box.height if high else 1),
        columns=Span(first=box.x if wide else 0, count=box.width if wide else 1),
        channels=Span(first=box.c if deep else 0, count=box.channels if deep else 1),
    )


def is_run(view: View, piece: Piece) -> bool:
    """Whether a piece is whole rows, loaded one after the other with all that lies between.

    Between rows is padding; of a piece that reads none, and of a slice, it may be anything.
    """
    whole = piece.shape[1:] == view.shape[1:] and piece.columns.first == 0
    spans = piece.rows, piece.columns
    padded = any(span.before or span.after for span in spans) or view.storage.aligned
    gapless = view.row == view.shape[1] * view.pixel
    return whole and view.pixel == view.shape[2] and (padded or gapless)


def slab_of(view: View, rows: Span) -> Slab:
    """The bytes of rows and their halo, padding left and right included."""
    width, channels = view.shape[1:]
    gap = max(0, view.row - (width - 1) * view.pixel - channels)
    start = max(0, view.at(rows.first - rows.before, 0) - gap)
    last = rows.first + rows.count - 1 + rows.after
    end = min(view.storage.size, view.at(last, width - 1) + channels + gap)
    if not view.storage.aligned:
        return Slab(start=start, size=end - start)
    return Slab(start=start, size=end - start, lead=view.row, tail=view.row + view.pixel)


def piece_bytes(view: View, piece: Piece) -> int:
    """Bytes on chip of a piece of a tensor in external memory."""
    return slab_of(view, piece.rows).room if is_run(view, piece) else prod(piece.shape)


def piece_view(view: View, piece: Piece) -> View:
    """The elements of a piece, in the same storage."""
    return View(
        storage=view.storage,
        offset=view.at(piece.rows.first, piece.columns.first, piece.channels.first),
        shape=piece.shape,
        row=view.row,
        pixel=view.pixel,
    )


def box_view(view: View, box: Box) -> View:
    """The elements of a box of a tensor, in the same storage."""
    return View(
        storage=view.storage,
        offset=view.at(box.y, box.x, box.c),
        shape=(box.height, box.width, box.channels),
        row=view.row,
        pixel=view.pixel,
    )


def channel_cuts(step: Step, total: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut output channels into parts (first, count) of about ``most``; no part of a group more.

    Groups stay whole if ``most`` channels hold at least one.
    """
    groups = step.node.attributes["groups"] if step.node.op is Op.CONV2D else 1
    made = total // groups
    if groups > 1 and most < made:
        for group in range(groups):
            for first in range(0, made, most):
                yield group * made + first, min(most, made - first)
        return
    unit = most // made * made if groups > 1 else most
    for first in range(0, total, unit):
        yield first, min(unit, total - first)


def _requant_part(requant: Requant, channels: slice) -> Requant:
    if requant.channels == 1:
        return requant
    many = requant.multiplier.size > 1
    return replace(
        requant,
        scale=requant.scale[channels],
        multiplier=requant.multiplier[channels] if many else requant.multiplier,
        shift=requant.shift[channels] if many else requant.shift,
    )


def sliced(step: Step, first: int, count: int, total: int) -> Step:
    """The step that computes some of its ``total`` output channels, from the inputs they need."""
    node, arithmetic = step.node, step.node.arithmetic
    if count == total or not isinstance(arithmetic, MacArithmetic):
        return step
    part = slice(first, first + count)
    made = total // node.attributes.get("groups", 1)
    groups = (first + count - 1) // made + 1 - first // made
    arithmetic = replace(
        arithmetic,
        weights=arithmetic.weights[part],
        bias=arithmetic.bias[part],
        requant=_requant_part(arithmetic.requant, part),
    )
    attributes = {**node.attributes, "groups": groups} if node.attributes else node.attributes
    return replace(step, node=replace(node, arithmetic=arithmetic, attributes=attributes))
