"""Adds, products, tables, moves: the array copies by identity weights, STORE does the rest."""

from dataclasses import replace

import numpy as np

from systolith.arithmetic import ConcatArithmetic
from systolith.compiler.copies import copy_commands, copy_cycles
from systolith.compiler.emit import Job, emit_pairs, store_stream
from systolith.compiler.ir import Pair, SymbolicCommand, View
from systolith.compiler.layout import gather_origins
from systolith.compiler.lowering import Lowering
from systolith.compiler.predict import LATENCY
from systolith.compiler.requantize import identity_requantizer
from systolith.compiler.steps import Step
from systolith.compiler.tiling import Region
from systolith.graph import Op

__all__ = [
    "copies_of",
    "identity_tile",
    "lower_elementwise",
    "lower_move",
    "needed_copies",
    "place_in_target",
]

_NEVER = 1 << 62
"""Cycles of what the array cannot do."""


def identity_tile(low: Lowering) -> tuple[int, int]:
    """Store the identity weights; return their address and the channels they pass."""
    rows, columns = low.spec.array.rows, low.spec.array.columns
    return low.constants.weights(np.eye(rows, columns, dtype=np.int64)), min(rows, columns)


def _spreading_tile(low: Lowering) -> tuple[int, int]:
    """Store weights that give every column the first row's byte; return address and channels."""
    rows, columns = low.spec.array.rows, low.spec.array.columns
    weights = np.zeros((rows, columns), np.int64)
    weights[0] = 1
    return low.constants.weights(weights), columns


def _flattened(views: list[View], tile: int) -> list[View]:
    """Cut dense tensors into full vectors of ``tile`` bytes where that comes out even."""
    size = int(np.prod(views[0].shape))
    if size % tile or not all(v.dense and v.shape == views[0].shape for v in views):
        return views
    return [v.reshaped((1, size // tile, tile)) for v in views]


def _copy(low: Lowering, step: Step, views: list[View], *, split: bool) -> list[Pair]:
    """Stream views[0] to views[1], with views[2] as the residual operand if there is one."""
    thin = views[0].shape[2] < views[1].shape[2]
    weights, tile = _spreading_tile(low) if thin else identity_tile(low)
    narrow = tile > low.spec.memory.parameter_channels
    flat = views if narrow else _flattened(views, tile)
    height, width, _ = flat[1].shape
    regions = [Region(y=0, x=0, height=height, width=width)]
    channels = flat[1].shape[2]
    lowest, highest = low.graph.tensor(step.source).code_range
    requantizer = identity_requantizer(channels, lowest, highest, low.spec.post)
    parameters = low.constants.parameters(requantizer.channels, tile)
    job = Job(
        layer=step.node.name,
        x=store_stream(flat[0]),
        y=store_stream(flat[1]),
        r=store_stream(flat[2]) if len(flat) > 2 else None,
        channels=channels,
        tile_channels=tile,
        x_tile=0 if thin else tile,
        counts=(1, 1, 1),
        strides=(0, 0, 0),
        load=low.load(1, channels, tile, hold=True),
        matmul={
            "x_signed": int(low.signed(step.source)),
            "w_signed": 1,
            "w_hold": 1,
            "w_base": weights,
        },
        store=low.store_fields(step, requantizer, parameters),
    )
    if split and flat is views:
        regions = low.regions(step, job)
    return emit_pairs(job, regions)


def lower_elementwise(low: Lowering, step: Step) -> list[Pair]:
    """Return the command pairs of an add, product or table that no other step absorbed."""
    views = [low.view(step.source), low.view(step.target)]
    if step.addition is not None:
        shape = views[1].shape
        views[0] = views[0].broadcast((*shape[:2], views[0].shape[2]))
        views.append(low.view(step.addition.other).broadcast(shape))
    return _copy(low, step, views, split=True)


def lower_move(low: Lowering, step: Step) -> list[Pair]:
    """Return the array's copies of a move, those that aliases could not avoid."""
    node = step.node
    pairs: list[Pair] = []
    needed = needed_copies(low, step)
    for index in needed:
        table = None
        if isinstance(node.arithmetic, ConcatArithmetic):
            table = node.arithmetic.tables[index]
        part = replace(step, source=node.inputs[index], table=table)
        pairs += _copy(low, part, list(_sides(low, step, index)), split=False)
    low.notes[node.name] = f"copied {len(needed)} of {len(node.inputs)}" if needed else "aliased"
    return pairs


def needed_copies(low: Lowering, step: Step) -> list[int]:
    """Return which inputs of a move are not where they have to be."""
    return [i for i in range(len(step.node.inputs)) if (step.node.name, i) in low.layout.copies]


def place_in_target(low: Lowering, step: Step, index: int) -> View:
    """Where an input of a pad or concatenation belongs."""
    target, shape = low.view(step.target), low.view(step.node.inputs[index]).shape
    return View(
        storage=target.storage,
        offset=target.at(*gather_origins(low.graph, step.node)[index]),
        shape=shape,
        row=target.row,
        pixel=target.pixel,
    )


def _sides(low: Lowering, step: Step, index: int) -> tuple[View, View]:
    """Source and target of a copy; a reshape's have the shape of the one that is not dense."""
    source = low.view(step.node.inputs[index])
    if step.node.op is not Op.RESHAPE:
        return source, place_in_target(low, step, index)
    target = low.view(step.target)
    if source.dense:
        return source.reshaped(target.shape), target
    return source, target.reshaped(source.shape)


def copies_of(low: Lowering, step: Step) -> list[SymbolicCommand] | None:
    """Return COPY commands for a move that needs copies, or None if the array is quicker.

    The array alone applies tables; COPY alone goes from any place to any place.
    """
    node, commands, array = step.node, list[SymbolicCommand](), 0
    needed = needed_copies(low, step)
    tables = node.arithmetic.tables if isinstance(node.arithmetic, ConcatArithmetic) else ()
    if not needed or any(table is not None for table in tables):
        return None
    for index in needed:
        source, target = low.view(node.inputs[index]), low.view(step.target)
        if node.op in (Op.PAD, Op.CONCAT):
            target = place_in_target(low, step, index)
        commands += copy_commands(node.name, source, target, node.attributes.get("index"))
        if node.op is Op.GATHER or not (
            source.dense or source.shape == target.shape or target.dense
        ):
            array = _NEVER
        else:
            array += _array_cycles(low, list(_sides(low, step, index)))
    cycles = copy_cycles(commands, low.spec.line_bytes)
    if cycles >= array or (not low.spec.moves and array < _NEVER):
        return None
    low.notes[node.name] = f"copied {len(needed)} of {len(node.inputs)}, about {cycles} cycles"
    return commands


def _array_cycles(low: Lowering, views: list[View]) -> int:
    """What a copy through the array costs: a vector a cycle, and the way through the pipelines."""
    tile = min(low.spec.array.rows, low.spec.array.columns)
    height, width, channels = _flattened(views, tile)[1].shape
    return height * width * -(-channels // tile) + LATENCY
