"""Moves with operands in external memory: LOADs and SAVEs, and COPY between them."""

from collections.abc import Iterator
from dataclasses import replace
from math import lcm

import numpy as np

from systolith.arithmetic import ConcatArithmetic
from systolith.compiler.copies import copy_bytes
from systolith.compiler.ir import View
from systolith.compiler.lower_elementwise import copies_of, needed_copies, place_in_target
from systolith.compiler.lowering import Lowering
from systolith.compiler.pieces import Box, box_view
from systolith.compiler.steps import Step
from systolith.compiler.tile_shape import TileShape
from systolith.compiler.tiler import Tiler
from systolith.compiler.transfers import dense_view, rows_of, transfer
from systolith.compiler.works import TileWork
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


def move_tiles(tiler: Tiler, step: Step, shape: TileShape) -> list[TileWork]:
    """Return the copies of a move, those that aliases could not avoid, in tiles of a shape.

    Parameters
    ----------
    shape: of a tile; of a reshape its channels say how many bytes it has.
    """
    low, node, target = tiler.low, step.node, tiler.low.view(step.target)
    needed = needed_copies(low, step)
    works: list[TileWork] = []
    for index in needed:
        name = node.inputs[index]
        source = low.view(name)
        if node.op is Op.GATHER:
            low.copied.add(node.name)
            works += [_gathered(node, source, target, box) for box in _boxes(target.shape, shape)]
            continue
        if node.op is Op.RESHAPE:
            works += [_copy(node.name, *ends) for ends in _common(source, target, shape.channels)]
            continue
        inner = place_in_target(low, step, index)
        table = None
        if isinstance(node.arithmetic, ConcatArithmetic):
            table = node.arithmetic.tables[index]
        for box in _boxes(source.shape, shape):
            near, far = box_view(source, box), box_view(inner, box)
            if table is None and (near.storage.external or far.storage.external):
                works.append(_copy(node.name, near, far))
            else:
                works.append(tiler.copy(replace(step, source=name, table=table), near, far))
    low.notes[node.name] = f"copied {len(needed)} of {len(node.inputs)}"
    return works


def _boxes(extent: tuple[int, int, int], shape: TileShape) -> Iterator[Box]:
    height, width, channels = extent
    for y in range(0, height, shape.rows):
        for x in range(0, width, shape.columns):
            for c in range(0, channels, shape.channels):
                yield Box(
                    y=y,
                    x=x,
                    c=c,
                    height=min(shape.rows, height - y),
                    width=min(shape.columns, width - x),
                    channels=min(shape.channels, channels - c),
                )


def _gathered(node: Node, source: View, target: View, box: Box) -> TileWork:
    """Gather a box of the target: what lies between the first and the last byte is loaded."""
    layer, work, near = node.name, TileWork(), source.storage
    places = source.places()[node.attributes["index"]].reshape(target.shape)
    places = places[box.y :, box.x :, box.c :][: box.height, : box.width, : box.channels].ravel()
    part = box_view(target, box)
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
    return work


def _common(source: View, target: View, most: int) -> Iterator[tuple[View, View]]:
    """Cut both sides of a reshape into parts of at most ``most`` bytes.

    Where their rows end together that is many rows at a time, of one shape if a side has no gaps.
    """
    near, far = (v.shape[1] * v.shape[2] for v in (source, target))
    unit, total = lcm(near, far), source.shape[0] * near
    if unit > most or not (source.dense or target.dense):
        yield from _runs(source, target, most)
        return
    step = unit * (most // unit)
    for start in range(0, total, step):
        size = min(step, total - start)
        a = rows_of(source, start // near, size // near)
        b = rows_of(target, start // far, size // far)
        yield (a, b.reshaped(a.shape)) if b.dense else (a.reshaped(b.shape), b)


def _ends(view: View) -> int:
    """Elements after which a view has a gap, or may have one."""
    if view.dense:
        return view.shape[0] * view.shape[1] * view.shape[2]
    return view.shape[2] if view.pixel != view.shape[2] else view.shape[1] * view.shape[2]


def _runs(source: View, target: View, most: int) -> Iterator[tuple[View, View]]:
    """Parts of both sides of a reshape without a gap in either."""
    total = source.shape[0] * source.shape[1] * source.shape[2]
    ends, start = [_ends(v) for v in (source, target)], 0
    while start < total:
        size = min(most, total - start, *(end - start % end for end in ends))
        yield _run(source, start, size), _run(target, start, size)
        start += size


def _run(view: View, start: int, size: int) -> View:
    """Elements of a view, in order, that lie one after the other."""
    pixel, c = divmod(start, view.shape[2])
    y, x = divmod(pixel, view.shape[1])
    return View(
        storage=view.storage, offset=view.at(y, x, c), shape=(1, 1, size), row=size, pixel=size
    )


def _copy(layer: str, near: View, far: View) -> TileWork:
    """Move elements from one view to another of its shape, at least one in external memory."""
    if not near.storage.external:
        return TileWork(saves=[transfer(Opcode.SAVE, layer, near, far)])
    if not far.storage.external:
        return TileWork(loads=[transfer(Opcode.LOAD, layer, far, near)])
    slab = dense_view(f"{layer} tile", near.shape, external=False)
    load = transfer(Opcode.LOAD, layer, slab, near)
    save = transfer(Opcode.SAVE, layer, slab, far)
    return TileWork(loads=[load], saves=[save], outputs=[slab.storage])
