"""Softmax steps as SOFTMAX commands, in tiles where a tensor is in external memory."""

from systolith.compiler.lowering import Lowering
from systolith.compiler.pieces import box_view
from systolith.compiler.softmax import SoftmaxPlan, softmax_commands
from systolith.compiler.steps import Step
from systolith.compiler.tile_shape import TileShape, boxes
from systolith.compiler.transfers import dense_view, transfer
from systolith.compiler.works import TileWork
from systolith.spec.commands import Opcode

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
        if source.storage.external:
            near = dense_view(f"{step.source} tile", source.shape, external=False)
            work.loads.append(transfer(Opcode.LOAD, layer, near, source))
            source = near
        if target.storage.external:
            near = dense_view(f"{step.target} tile", target.shape, external=False)
            work.saves.append(transfer(Opcode.SAVE, layer, near, target))
            work.outputs.append(near.storage)
            target = near
        work.moves = softmax_commands(layer, plan, source, target)
        works.append(work)
    low.splitter.finished(step)
    low.notes[layer] = f"softmax table {plan.fields['table']}"
    return works
