"""How a depthwise layer becomes streams of pixels: axes, passes, row pitch, tiles, cycles.

The array filters every channel by itself: it keeps `depthwise_lines` lines of the image and takes
`depthwise_taps` neighbouring pixels of each. All sizes here count *positions* of a stream, which
are pixels, or with a dilation d every d-th pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from systolith.compiler.tiling import COMMAND_CYCLES, TILE_CYCLES, Tiles
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Axis", "Scan", "Side", "phases", "scans"]

_LARGEST_STEP = 15
"""Positions between outputs that a command can name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """Rows or columns of a filter before they become streams.

    Parameters
    ----------
    outputs: along this side.
    taps, stride, dilation: of the filter.
    start: pixel of the first output's first tap; negative in the padding.
    pixel: bytes from a pixel of the input to the next.
    paired: whether two of them can be read at a time.
    """

    outputs: int
    taps: int
    stride: int
    dilation: int
    start: int
    pixel: int
    paired: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis of a stream: outputs ``first``, ``first + every`` ... of a side.

    Parameters
    ----------
    outputs, taps: of this stream.
    first, every: which outputs of the side.
    start: pixel of position 0.
    step: positions between outputs.
    pitch: bytes between positions.
    padding: positions in front of the image.
    block: most taps of a pass.
    """

    outputs: int
    taps: int
    first: int
    every: int
    start: int
    step: int
    pitch: int
    padding: int
    block: int

    @property
    def passes(self) -> int:
        """Passes that cover the taps."""
        return -(-self.taps // self.block)

    @property
    def span(self) -> int:
        """Taps of a pass; the last pass may have fewer."""
        return -(-self.taps // self.passes)

    def last(self, outputs: int) -> int:
        """Position that the last of so many outputs needs last, in each pass."""
        return self.span - 1 + (outputs - 1) * self.step


def phases(side: Side, block: int) -> list[Axis]:
    """Split a side by dilation: outputs whose taps fall on the same positions share a stream."""
    dilation = side.dilation if side.taps > 1 else 1
    common = gcd(side.stride, dilation)
    every = dilation // common
    result = []
    for first in range(min(every, side.outputs)):
        outputs = -(-(side.outputs - first) // every)
        start = side.start + first * side.stride
        result.append(
            Axis(
                outputs=outputs,
                taps=side.taps,
                first=first,
                every=every,
                start=start,
                step=side.stride // common if outputs > 1 else 1,
                pitch=dilation * side.pixel,
                padding=max(0, -(start // dilation)),
                block=block,
            )
        )
    return result


def _groups(total: int, extent: int) -> Iterator[tuple[int, int, int]]:
    """(first, count, extent) of equal parts, and of the rest."""
    full, rest = divmod(total, extent)
    yield 0, full, extent
    if rest:
        yield total - rest, 1, rest


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """Outputs that are computed from streams over the same positions.

    Parameters
    ----------
    outer, inner: axes; the inner one runs along the array's taps.
    turned: whether the outer axis is the image's columns.
    depth: vectors an accumulator bank holds.
    width: positions the line buffers hold.
    least: cycles of a pass at least.
    beats, channel_tiles: lane vectors of a full channel tile, and channel tiles.
    paired: whether the outer axis is read two positions at a time, which needs even steps.
    """

    outer: Axis
    inner: Axis
    turned: bool
    depth: int
    width: int
    least: int
    beats: int
    channel_tiles: int
    paired: bool = False

    @property
    def lead(self) -> int:
        """Positions in front of the outer axis, so that outputs end with the second of a pair."""
        return self.outer.span % 2 if self.paired else 0

    @property
    def passes(self) -> int:
        """Streams a tile."""
        return self.outer.passes * self.inner.passes

    def row(self, outputs: int) -> int:
        """Positions of a stream's row that holds so many outputs.

        A row may end in the next one, in positions that are padding of both: the array may pause
        there, which only equal bytes survive. Not so with pairs: the next row is one pair away.
        """
        last = self.inner.last(outputs)
        pitch, rest = divmod(self.outer.pitch, self.inner.pitch)
        padding = self.inner.padding - (self.inner.passes - 1) * self.inner.span
        shares = not self.paired and outputs == self.inner.outputs and not rest and pitch > 1
        # Windows and outputs must not skip a whole row.
        near = max(self.inner.span, (outputs - 1) * self.inner.step + 1) <= pitch
        if shares and near and last - padding < pitch <= last:
            return pitch
        return max(2, last + 1)

    def rows(self, height: int, width: int) -> int:
        """Rows of a stream that holds ``height * width`` outputs."""
        return self.lead + self.outer.last(height) + 1 + self.inner.last(width) // self.row(width)

    def cycles(self, height: int, width: int) -> int:
        """Steady cycles of a tile of so many outputs, with all its channel tiles."""
        lines = (self.lead + self.outer.last(height)) >> self.paired
        stream = lines * self.row(width) + self.inner.last(width) + 1
        array = self.passes * max(stream, self.least)
        return self.channel_tiles * (max(array, height * width * self.beats) + TILE_CYCLES)

    def _fits(self, height: int, width: int) -> bool:
        row = self.row(width)
        held = width if self.passes == 1 else height * width
        return row <= self.width and held <= self.depth

    def _extents(self) -> Iterator[tuple[int, int]]:
        """Tile sizes worth trying: even strips, and within them even blocks of rows."""
        strips = 0
        for count in range(1, self.inner.outputs + 1):
            width = -(-self.inner.outputs // count)
            if not self._fits(1, width):
                continue
            strips += 1
            most = self.outer.outputs if self.passes == 1 else self.depth // width
            blocks = -(-self.outer.outputs // min(most, self.outer.outputs))
            yield -(-self.outer.outputs // blocks), width
            if strips == 8 or self.passes == 1:
                return

    def _cost(self, height: int, width: int) -> int:
        total = 0
        for _, rows, h in _groups(self.outer.outputs, height):
            for _, strips, w in _groups(self.inner.outputs, width):
                total += rows * strips * self.cycles(h, w) + min(rows, strips) * COMMAND_CYCLES
        return total

    def _best(self) -> tuple[int, int] | None:
        return min(self._extents(), key=lambda e: (self._cost(*e), e), default=None)

    @property
    def cost(self) -> int | None:
        """Cycles of all tiles; None if there is no way to cut them."""
        best = self._best()
        return None if best is None else self._cost(*best)

    def tiles(self) -> Iterator[Tiles]:
        """The tiles; ``y`` and ``x`` count outputs of the outer and of the inner axis."""
        best = self._best()
        assert best is not None
        for y, rows, h in _groups(self.outer.outputs, best[0]):
            for x, strips, w in _groups(self.inner.outputs, best[1]):
                for index in range(min(rows, strips)):
                    down = rows >= strips
                    yield Tiles(
                        y=y if down else y + index * h,
                        x=x + index * w if down else x,
                        count=max(rows, strips),
                        step_y=h if down else 0,
                        step_x=0 if down else w,
                        height=h,
                        width=w,
                    )


def scans(
    rows: Side, columns: Side, spec: AcceleratorSpec, *, least: int, beats: int, channel_tiles: int
) -> tuple[list[Scan], int] | None:
    """Return the cheaper of both orientations and its cycles, None if the array can do neither."""
    array = spec.array
    found = []
    for turned in (False, True):
        outer, inner = (columns, rows) if turned else (rows, columns)
        made = [
            Scan(
                outer=y,
                inner=x,
                turned=turned,
                depth=spec.memory.accumulator_depth,
                width=array.depthwise_width,
                least=least,
                beats=beats,
                channel_tiles=channel_tiles,
                paired=outer.paired and y.step % 2 == 0,
            )
            for y in phases(outer, array.depthwise_lines)
            for x in phases(inner, min(array.depthwise_taps, array.depthwise_width))
        ]
        costs = [scan.cost for scan in made]
        steps = max(max(s.outer.step, s.inner.step) for s in made)
        if steps <= _LARGEST_STEP and None not in costs:
            found.append((sum(c for c in costs if c is not None), turned, made))
    if not found:
        return None
    cost, _, made = min(found, key=lambda f: f[:2])
    return made, cost
