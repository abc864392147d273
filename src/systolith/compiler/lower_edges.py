"""QUANTIZE and DEQUANTIZE steps as commands, in tiles where a tensor is in external memory."""

from dataclasses import replace

from systolith.compiler.edges import FLOAT_BYTES, EdgePlan, conversion_commands
from systolith.compiler.ir import View
from systolith.compiler.lowering import Lowering
from systolith.compiler.pieces import Box, box_view
from systolith.compiler.steps import Step
from systolith.compiler.tile_shape import TileShape, boxes
from systolith.compiler.works import TileWork

__all__ = ["edge_tiles"]


def _part(view: View, box: Box, extent: tuple[int, int, int]) -> View:
    """A box of codes, or the bytes of as many numbers."""
    width = FLOAT_BYTES if view.shape[2] != extent[2] else 1
    return box_view(view, replace(box, c=width * box.c, channels=width * box.channels))


def edge_tiles(
    low: Lowering, plan: EdgePlan, step: Step, shape: TileShape | None
) -> list[TileWork]:
    """Return a conversion, in tiles if there is a shape; external operands pass through slabs."""
    layer, works = step.node.name, []
    views = [low.view(n) for n in (step.source, step.target)]
    extent = min((view.shape for view in views), key=lambda shape: shape[2])
    shape = shape or TileShape(rows=extent[0], columns=extent[1], channels=extent[2])
    for box in boxes(step, shape, extent):
        work = TileWork()
        source, target = (_part(view, box, extent) for view in views)
        source = work.loaded(source, f"{step.source} tile", layer)
        target = work.saved(target, f"{step.target} tile", layer)
        work.moves = conversion_commands(layer, plan, source, target)
        works.append(work)
    low.splitter.finished(step)
    low.notes[layer] = plan.text
    return works
