"""Moves with operands in external memory: LOADs and SAVEs, and COPY between them."""

from collections.abc import Iterator
from dataclasses import replace
from math import lcm

import numpy as np

from systolith.arithmetic import ConcatArithmetic
from systolith.compiler.copies import copy_bytes, copy_commands
from systolith.compiler.ir import View
from systolith.compiler.lower_elementwise import copies_of, needed_copies, place_in_target
from systolith.compiler.lowering import Lowering
from systolith.compiler.steps import Step
from systolith.compiler.tiles import Tiler, TileWork
from systolith.compiler.transfers import dense_view, rows_of, transfer
from systolith.graph import Node, Op
from systolith.spec.commands import Opcode

__all__ = ["copied", "move_tiles"]


def copied(low: Lowering, step: Step) -> TileWork | None:
    """Return the COPY commands of a move on chip, if they are better than the array's copies."""
    commands = copies_of(low, step) if step.is_move else None
    if commands is None:
        return None
    low.splitter.finished(step)
    low.copied.add(step.node.name)
    return TileWork(moves=commands)


def move_tiles(tiler: Tiler, step: Step, rows: int) -> list[TileWork]:
    """Return the copies of a move, those that aliases could not avoid, about ``rows`` rows each."""
    low, node, target = tiler.low, step.node, tiler.low.view(step.target)
    needed = needed_copies(low, step)
    works: list[TileWork] = []
    for index in needed:
        name = node.inputs[index]
        source = low.view(name)
        if node.op is Op.GATHER:
            low.copied.add(node.name)
            works += _gathered(node, source, target, rows)
            continue
        if node.op is Op.RESHAPE:
            pieces = _common_rows(source, target, rows)
            works += [_copy(node.name, near, far) for near, far in pieces]
            continue
        inner = place_in_target(low, step, index)
        table = None
        if isinstance(node.arithmetic, ConcatArithmetic):
            table = node.arithmetic.tables[index]
        for first in range(0, source.shape[0], rows):
            count = min(rows, source.shape[0] - first)
            near, far = rows_of(source, first, count), rows_of(inner, first, count)
            if table is None and (near.storage.external or far.storage.external):
                works.append(_copy(node.name, near, far))
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


def _gathered(node: Node, source: View, target: View, rows: int) -> Iterator[TileWork]:
    """Gather rows of the target: what lies between the first and the last byte is loaded."""
    layer, index = node.name, node.attributes["index"]
    read = source.places()[index].reshape(target.shape[0], -1)
    for first in range(0, target.shape[0], rows):
        work, near = TileWork(), source.storage
        part = rows_of(target, first, min(rows, target.shape[0] - first))
        places = read[first : first + part.shape[0]].reshape(-1)
        if source.storage.external:
            start, end = (int(f(places)) for f in (np.min, np.max))
            slab = dense_view(f"{layer} input", (1, 1, end + 1 - start), external=False)
            far = replace(slab, storage=source.storage, offset=start)
            work.loads.append(transfer(Opcode.LOAD, layer, slab, far))
            near, places = slab.storage, places - start
        if target.storage.external:
            slab = dense_view(f"{layer} output", part.shape, external=False)
            work.saves.append(transfer(Opcode.SAVE, layer, slab, part))
            work.outputs.append(slab.storage)
            part = slab
        work.moves = copy_bytes(layer, (near, part.storage), places, part.places())
        yield work


def _copy(layer: str, near: View, far: View) -> TileWork:
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
            elif far.storage.external:
                slab = dense_view(f"{layer} rows", far.shape, external=False)
                copies = copy_commands(layer, near, slab.reshaped(near.shape))
                save = transfer(Opcode.SAVE, layer, slab, far)
                return TileWork(moves=copies, saves=[save], outputs=[slab.storage])
            else:
                slab = dense_view(f"{layer} rows", near.shape, external=False)
                copies = copy_commands(layer, slab.reshaped(far.shape), far)
                return TileWork(loads=[transfer(Opcode.LOAD, layer, slab, near)], moves=copies)
        command = transfer(opcode, layer, chip, outside)
        return TileWork(saves=[command]) if opcode is Opcode.SAVE else TileWork(loads=[command])
    slab = dense_view(f"{layer} rows", near.shape, external=False)
    load = transfer(Opcode.LOAD, layer, slab, near)
    save = transfer(Opcode.SAVE, layer, slab.reshaped(far.shape), far)
    return TileWork(loads=[load], saves=[save], outputs=[slab.storage])
