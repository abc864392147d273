"""Convolutions and fully connected layers with two of four weights: which can be, and their tiles.

A vector is two bytes a row of the array, from a line's beginning on, and half of its products are
never made: a layer takes half the passes of a dense one.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.emit import Job
from systolith.compiler.errors import layer_error
from systolith.compiler.lowering import Lowering
from systolith.compiler.mac import MacLayer
from systolith.compiler.mac_parts import MacPart, dense_part
from systolith.compiler.reduction import Kernel, line_reduction, pack_tiles
from systolith.compiler.tiling import Region
from systolith.compiler.weight_choice import permitted_formats, wanted_format
from systolith.errors import CompileError
from systolith.spec.precision import Precision, WeightFormat

__all__ = [
    "is_two_of_four",
    "is_wanted",
    "may_be_sparse",
    "on_lines",
    "sparse_error",
    "sparse_parts",
]

_FOUR, _KEPT = 4, 2


def is_wanted(layer: MacLayer) -> bool:
    """Whether a layer asks for two of four weights."""
    return wanted_format(layer.step.node) is WeightFormat.TWO_OF_FOUR


def may_be_sparse(low: Lowering, layer: MacLayer) -> bool:
    """Whether a layer, in some precision, could have commands with two of four weights."""
    return (
        low.spec.array.sparse
        and WeightFormat.TWO_OF_FOUR in permitted_formats(layer.step.node)
        and layer.precision is Precision.W8A8
        and layer.step.packed_source is None
        and _group_fault(low, layer) is None
    )


def is_two_of_four(layer: MacLayer) -> bool:
    """Whether a layer of one group, free to have any format, has two of four weights."""
    whole = layer.codes.shape[3] % _FOUR == 0 and layer.window.groups == 1
    free = wanted_format(layer.step.node) is None
    return free and whole and not _fours(layer.codes, layer.zero).any()


def sparse_parts(
    low: Lowering, layer: MacLayer, kernel: Kernel, pixel: int
) -> list[MacPart] | None:
    """Return the parts of a layer, one a group; None if its vectors or weights do not allow it.

    Parameters
    ----------
    layer: see `may_be_sparse`.
    kernel: its window.
    pixel: bytes between neighbours that are read together.
    """
    reduction = line_reduction(kernel, low.spec.array.rows, low.spec.line_bytes)
    if reduction is None or _crowded(layer, pixel):
        return None
    parts, w = [], layer.codes
    for group in range(layer.window.groups):
        own = w[group * layer.outputs : (group + 1) * layer.outputs]
        first = group * w.shape[3], group * layer.outputs
        part = dense_part(own, layer, kernel, first, low.spec.array)
        part = replace(part, reduction=reduction)
        tiles = pack_tiles(reduction, part.blocks, layer.zero, low.spec)
        if _fours(tiles.swapaxes(2, 3), layer.zero).any():
            return None
        parts.append(part)
    return parts


def _fours(codes: NDArray[np.int64], zero: int) -> NDArray[np.bool_]:
    """Which fours of the last axis have more than two weights; its rest of four is left out."""
    whole = codes.shape[-1] // _FOUR * _FOUR
    fours = codes[..., :whole].reshape(*codes.shape[:-1], -1, _FOUR)
    return np.asarray((fours != zero).sum(axis=-1) > _KEPT)


def _crowded(layer: MacLayer, pixel: int) -> bool:
    """Whether the layer's own weights say that there is no way, quickly."""
    return pixel % _FOUR == 0 and bool(_fours(layer.codes, layer.zero).any())


def on_lines(low: Lowering, job: Job, region: Region) -> bool:
    """Whether all vectors of a job begin with lines."""
    line, x = low.spec.line_bytes, job.x
    loops = (
        (region.height, x.row),
        (region.width, x.pixel),
        (job.channel_tiles, job.x_tile),
        *zip(job.counts, job.strides, strict=True),
    )
    starts = x.base(region.y, region.x)[1] % line == 0
    return starts and all(stride % line == 0 for count, stride in loops if count > 1)


def _group_fault(low: Lowering, layer: MacLayer) -> str | None:
    """Why the channels of a layer with groups do not allow it."""
    if layer.window.groups > 1 and layer.outputs <= low.spec.array.columns:
        return f"several of its {layer.window.groups} groups share a tile of the array"
    return None


def sparse_error(low: Lowering, layer: MacLayer) -> CompileError:
    """The error of a layer that asks for two of four weights and cannot have them."""
    where = np.argwhere(_fours(layer.codes, layer.zero))
    node = layer.step.node
    if _group_fault(low, layer) is not None:
        reason, remedy = str(_group_fault(low, layer)), "leave its weight_format out"
    elif len(where):
        output, y, x, four = (int(n) for n in where[0])
        first = _FOUR * four
        last = first + _FOUR
        count = int((layer.codes[output, y, x, first:last] != layer.zero).sum())
        reason = (
            f"weights [{output}, {y}, {x}, {first}:{last}] (output channel, kernel row, column, "
            f"input channels) must have {_KEPT} at most that are not 0, not {count}"
        )
        remedy = "prune them, or leave the layer's weight_format out"
    else:
        view, line = low.view(layer.step.source), low.spec.line_bytes
        reason = (
            f"neighbouring vectors of its input begin {view.pixel} bytes apart, rows {view.row}, "
            f"which must be multiples of an activation line of {line} bytes"
        )
        remedy = "give its input a multiple of so many channels, or leave its weight_format out"
    return layer_error(node, f"weight_format two_of_four is not possible: {reason}", remedy)
