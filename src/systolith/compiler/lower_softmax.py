"""Softmax steps as SOFTMAX commands, in tiles where a tensor is in external memory."""

from systolith.compiler.lowering import Lowering
from systolith.compiler.pieces import box_view
from systolith.compiler.softmax import SoftmaxPlan, softmax_commands
from systolith.compiler.steps import Step
from systolith.compiler.tile_shape import TileShape, boxes
from systolith.compiler.works import TileWork

__all__ = ["softmax_tiles"]


def softmax_tiles(
    low: Lowering, plan: SoftmaxPlan, step: Step, shape: TileShape | None
) -> list[TileWork]:
    """Return softmax, cut into tiles if there is a shape; external operands pass through slabs."""
    layer, works = step.node.name, []
    extent = low.view(step.target).shape
    shape = shape or TileShape(rows=extent[0], columns=extent[1], channels=extent[2])
    for box in boxes(step, shape, extent):
        work = TileWork()
        source, target = (box_view(low.view(n), box) for n in (step.source, step.target))
        source = work.loaded(source, f"{step.source} tile", layer)
        target = work.saved(target, f"{step.target} tile", layer)
        work.moves = softmax_commands(layer, plan, source, target)
        works.append(work)
    low.splitter.finished(step)
    low.notes[layer] = f"softmax table {plan.fields['table']}"
    return works
