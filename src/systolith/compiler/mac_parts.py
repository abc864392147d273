"""How the output channels of a layer with weights share the array's columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.mac import MacLayer
from systolith.compiler.precision import columns_at_once
from systolith.compiler.reduction import Kernel, Reduction, best_reduction
from systolith.spec.array import ArraySpec

__all__ = ["MacPart", "channel_parts", "dense_part", "diagonal_part"]

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

    @property
    def passes(self) -> int:
        """Array passes over all channel tiles."""
        return len(self.blocks) * self.reduction.passes


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
    if layer.step.packed:
        sides = [side for side in sides if side * outputs % 2 == 0]
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


def channel_parts(layer: MacLayer, kernel: Kernel, array: ArraySpec) -> Iterator[MacPart]:
    """Yield the parts of a layer: one for all groups if several fit a tile, else one a group."""
    w, groups = layer.codes, layer.window.groups
    outputs = len(w) // groups
    if groups > 1 and outputs <= columns_at_once(array, layer.precision):
        yield diagonal_part(layer, groups, kernel, array)
        return
    for group in range(groups):
        own = w[group * outputs : (group + 1) * outputs]
        first = group * w.shape[3], group * outputs
        yield dense_part(own, layer, kernel, first, array)
