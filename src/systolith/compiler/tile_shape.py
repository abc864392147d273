"""How a step's outputs are cut into tiles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from systolith.compiler.pieces import Box, channel_cuts
from systolith.compiler.steps import Step
from systolith.compiler.tiling import growing

__all__ = ["Choice", "TileShape", "boxes", "packs"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TileShape:
    """How the outputs of a step are cut.

    Parameters
    ----------
    rows, columns, channels: outputs of a tile.
    by_channel: all tiles of some channels come before those of others: their weights stay, and
        inputs are loaded again. Else inputs stay and weights are loaded again.
    part: most bytes of the source that are on chip at a time; 0: what the tile needs.
    """

    rows: int
    columns: int
    channels: int
    by_channel: bool = False
    part: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A shape of tiles.

    Parameters
    ----------
    shape: the shape.
    slabs: bytes on chip of every external operand of a tile.
    cycles: estimate for the step, tiles loaded and saved beside the array, or one by one.
    """

    shape: TileShape
    slabs: tuple[int, ...]
    cycles: tuple[float, float]


def boxes(
    step: Step, shape: TileShape, target: tuple[int, int, int], *, first: int = 0
) -> Iterator[Box]:
    """The tiles of a step's outputs, in order.

    Parameters
    ----------
    first: rows of the first tile if that is less; 0 for no less. The next ones double.
    """
    height, width, channels = target
    least = min(first or shape.rows, shape.rows)
    rows = list(growing(height, least, shape.rows))
    places = [(y, x) for y in rows for x in range(0, width, shape.columns)]
    cuts = list(channel_cuts(step, channels, shape.channels))
    pairs = [(p, c) for c in cuts for p in places]
    if not shape.by_channel:
        pairs = [(p, c) for p in places for c in cuts]
    for ((y, high), x), (c, count) in pairs:
        yield Box(
            y=y,
            x=x,
            c=c,
            height=high,
            width=min(shape.columns, width - x),
            channels=count,
        )


def packs(sizes: Sequence[int], regions: int, capacity: int) -> bool:
    """Whether a few storages fit the regions, the largest first."""
    free = [capacity] * regions
    for size in sorted(sizes, reverse=True):
        room = next((i for i, have in enumerate(free) if have >= size), None)
        if room is None:
            return False
        free[room] -= size
    return True
