"""How an output region is cut into accumulator tiles, and what that costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["COMMAND_CYCLES", "TILE_CYCLES", "Load", "Region", "Tiles", "cut_region", "growing"]

COMMAND_CYCLES = 24
"""Rough cost of one more MATMUL and STORE: fetching, and the tile pipeline's start."""
TILE_CYCLES = 2
"""Rough cost of one more tile, so that equal plans prefer fewer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A rectangle of output pixels."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiles:
    """Equal tiles, one below or beside the other: the loops t, my and mx of one command pair.

    Parameters
    ----------
    y, x: first pixel of the first tile.
    count: tiles.
    step_y, step_x: pixels from tile to tile.
    height, width: pixels of one tile.
    """

    y: int
    x: int
    count: int
    step_y: int
    step_x: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What one vector of a tile costs.

    Parameters
    ----------
    depth: vectors an accumulator bank holds.
    least: cycles of a pass at least (array rows; few when weights are held).
    passes: array passes a tile.
    beats: lane vectors of a full channel tile.
    channel_tiles: channel tiles.
    """

    depth: int
    least: int
    passes: int
    beats: int
    channel_tiles: int

    def cycles(self, pixels: int) -> int:
        """Steady cycles of one tile with all its channel tiles."""
        array = self.passes * max(pixels, self.least)
        return self.channel_tiles * (max(array, pixels * self.beats) + TILE_CYCLES)


def _balanced(total: int, most: int) -> Iterator[int]:
    """Tile extents worth trying."""
    yield from range(1, min(total, most) + 1)


@lru_cache(maxsize=4096)
def _best_extent(total: int, unit: int, load: Load) -> int:
    """Choose how many units of ``unit`` pixels (rows or pixels) a tile has."""

    def cost(extent: int) -> int:
        full, rest = divmod(total, extent)
        cycles = full * load.cycles(extent * unit) + COMMAND_CYCLES
        last = extent
        if rest:
            cycles += load.cycles(rest * unit) + COMMAND_CYCLES
            last = rest
        return cycles + last * unit * load.beats

    return min(_balanced(total, load.depth // unit), key=lambda e: (cost(e), e))


def cut_region(region: Region, load: Load, *, linear: bool) -> Sequence[Tiles]:
    """Cut a region into as few groups of equal tiles as cost least.

    Parameters
    ----------
    region: the output pixels.
    load: what tiles cost.
    linear: whether the region is one line of pixels in every stream; then ``x`` of the tiles
        counts pixels of that line, and ``y`` stays that of the region.
    """
    if linear:
        region = Region(y=region.y, x=region.x, height=1, width=region.height * region.width)
    if region.height == 1:
        return _cut_line(region, load)
    strips = -(-region.width // load.depth)
    result: list[Tiles] = []
    position = 0
    for index in range(strips):
        width = (region.width - position) // (strips - index)
        result += _cut_strip(region, region.x + position, width, load)
        position += width
    return result


def _cut_line(region: Region, load: Load) -> list[Tiles]:
    extent = _best_extent(region.width, 1, load)
    full, rest = divmod(region.width, extent)
    tiles = [
        Tiles(y=region.y, x=region.x, count=full, step_y=0, step_x=extent, height=1, width=extent)
    ]
    if rest:
        x = region.x + full * extent
        tiles.append(Tiles(y=region.y, x=x, count=1, step_y=0, step_x=0, height=1, width=rest))
    return tiles


def _cut_strip(region: Region, x: int, width: int, load: Load) -> list[Tiles]:
    extent = _best_extent(region.height, width, load)
    full, rest = divmod(region.height, extent)
    tiles = [
        Tiles(y=region.y, x=x, count=full, step_y=extent, step_x=0, height=extent, width=width)
    ]
    if rest:
        y = region.y + full * extent
        tiles.append(Tiles(y=y, x=x, count=1, step_y=0, step_x=0, height=rest, width=width))
    return tiles


def growing(height: int, least: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of parts of ``height`` rows, the first ``least`` rows, then doubling."""
    first, count = 0, least
    while first < height:
        yield first, min(count, height - first)
        first, count = first + count, min(2 * count, most)
