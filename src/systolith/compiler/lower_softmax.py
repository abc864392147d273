"""Softmax steps as SOFTMAX commands, in tiles of rows where a tensor is in external memory."""

from systolith.compiler.lowering import Lowering
from systolith.compiler.softmax import SoftmaxPlan, softmax_commands
from systolith.compiler.steps import Step
from systolith.compiler.tiles import TileWork
from systolith.compiler.transfers import dense_view, rows_of, transfer
from systolith.spec.commands import Opcode

__all__ = ["softmax_tiles"]


def softmax_tiles(low: Lowering, plan: SoftmaxPlan, step: Step, rows: int | None) -> list[TileWork]:
    """Return softmax of so many rows at a time; what is in external memory passes through slabs."""
    layer, works = step.node.name, []
    height = low.view(step.target).shape[0]
    for first in range(0, height, rows or height):
        count, work = min(rows or height, height - first), TileWork()
        source, target = (rows_of(low.view(n), first, count) for n in (step.source, step.target))
        if source.storage.external:
            near = dense_view(f"{step.source} rows", source.shape, external=False)
            work.loads.append(transfer(Opcode.LOAD, layer, near, source))
            source = near
        if target.storage.external:
            near = dense_view(f"{step.target} rows", target.shape, external=False)
            work.saves.append(transfer(Opcode.SAVE, layer, near, target))
            work.outputs.append(near.storage)
            target = near
        work.moves = softmax_commands(layer, plan, source, target)
        works.append(work)
    low.splitter.finished(step)
    low.notes[layer] = f"softmax table {plan.fields['table']}"
    return works
