"""Reshapes, pads and concatenations with operands in external memory: mostly LOADs and SAVEs."""

from collections.abc import Iterator
from dataclasses import replace
from math import lcm

from systolith.arithmetic import ConcatArithmetic
from systolith.compiler.ir import View
from systolith.compiler.layout import gather_origins
from systolith.compiler.lowering import Lowering
from systolith.compiler.steps import Step
from systolith.compiler.tiles import Tiler, TileWork
from systolith.compiler.transfers import dense_view, rows_of, transfer
from systolith.graph import Op
from systolith.spec.commands import Opcode

__all__ = ["move_tiles"]


def move_tiles(tiler: Tiler, step: Step, rows: int) -> list[TileWork]:
    """Return the copies of a move, those that aliases could not avoid, about ``rows`` rows each."""
    low, node, target = tiler.low, step.node, tiler.low.view(step.target)
    needed = [i for i in range(len(node.inputs)) if (node.name, i) in low.layout.copies]
    works: list[TileWork] = []
    for index in needed:
        name = node.inputs[index]
        source = low.view(name)
        if node.op is Op.RESHAPE:
            pieces = _common_rows(source, target, rows)
            works += [_copy(node.name, near, far, low, step) for near, far in pieces]
            continue
        inner = View(
            storage=target.storage,
            offset=target.at(*gather_origins(low.graph, node)[index]),
            shape=source.shape,
            row=target.row,
            pixel=target.pixel,
        )
        table = None
        if isinstance(node.arithmetic, ConcatArithmetic):
            table = node.arithmetic.tables[index]
        for first in range(0, source.shape[0], rows):
            count = min(rows, source.shape[0] - first)
            near, far = rows_of(source, first, count), rows_of(inner, first, count)
            if table is None and (near.storage.external or far.storage.external):
                works.append(_copy(node.name, near, far, low, step))
            else:
                works.append(tiler.copy(replace(step, source=name, table=table), near, far))
    low.notes[node.name] = f"copied {len(needed)} of {len(node.inputs)}"
    return works


def _common_rows(source: View, target: View, rows: int) -> Iterator[tuple[View, View]]:
    """Cut both sides of a reshape where their rows end together, about every ``rows`` rows."""
    near, far = (v.shape[1] * v.shape[2] for v in (source, target))
    unit = lcm(near, far)
    step = unit * max(1, rows * near // unit)
    total = source.shape[0] * near
    for start in range(0, total, step):
        size = min(step, total - start)
        yield (
            rows_of(source, start // near, size // near),
            rows_of(target, start // far, size // far),
        )


def _copy(layer: str, near: View, far: View, low: Lowering, step: Step) -> TileWork:
    """Move elements from one view to another, at least one of them in external memory."""
    inside = [v for v in (near, far) if not v.storage.external]
    if inside:
        opcode = Opcode.SAVE if far.storage.external else Opcode.LOAD
        chip, outside = (near, far) if far.storage.external else (far, near)
        if chip.shape != outside.shape:
            if chip.dense:
                chip = chip.reshaped(outside.shape)
            elif outside.dense:
                outside = outside.reshaped(chip.shape)
            else:
                raise low.error(
                    step.node, "both sides of the reshape have padding", "pad explicitly"
                )
        command = transfer(opcode, layer, chip, outside)
        return TileWork(saves=[command]) if opcode is Opcode.SAVE else TileWork(loads=[command])
    slab = dense_view(f"{layer} rows", near.shape, external=False)
    load = transfer(Opcode.LOAD, layer, slab, near)
    save = transfer(Opcode.SAVE, layer, slab.reshaped(far.shape), far)
    return TileWork(loads=[load], saves=[save], outputs=[slab.storage])
