"""Commands of all steps in program order: fills, transfers, tiles, time stamps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import PadArithmetic
from systolith.compiler.enemies import enemies, rivals
from systolith.compiler.fills import fill_border, fill_halo, filled_bytes
from systolith.compiler.host import Partition
from systolith.compiler.ir import Pair, Storage, SymbolicCommand, View
from systolith.compiler.layout import gather_origins
from systolith.compiler.lower_softmax import softmax_tiles
from systolith.compiler.lowering import Lowering
from systolith.compiler.moves import move_tiles
from systolith.compiler.spill import SpillPlan, operands
from systolith.compiler.split import Splitter
from systolith.compiler.steps import Step
from systolith.compiler.tiles import Tiler, TileWork, last_writers
from systolith.compiler.tiling import growing
from systolith.compiler.transfers import dense_view, storage_loads, transfer
from systolith.graph import Op
from systolith.spec.commands import Opcode
from systolith.spec.program import Layer

__all__ = ["Emission", "Emitter"]

_PIXELS = 32
"""Output pixels of a network's first tile at least: short passes are wasted."""

Lower = Callable[[Lowering, Step], list[Pair]]


@dataclass(kw_only=True, eq=False)
class Emission:
    """Commands in program order and the layers they complete.

    Parameters
    ----------
    commands: END last.
    layers: in order of their stamps.
    enemies, rivals: storages that are accessed at the same time, by the array or beside it.
    views: external tensors that are not where `Layout` has them.
    contents: external storages, and what they hold before the run, if that matters.
    owners: number of the step of every command, or of the one that it prepares.
    tiles: row tiles of the layers that have external operands.
    """

    commands: list[SymbolicCommand] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    enemies: list[tuple[Storage, Storage]] = field(default_factory=list)
    rivals: list[tuple[Storage, Storage]] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)
    contents: dict[Storage, NDArray[np.uint8] | None] = field(default_factory=dict)
    owners: list[int] = field(default_factory=list)
    tiles: dict[str, int] = field(default_factory=dict)

    def steps_in(self, ranges: Sequence[tuple[int, int]]) -> set[int]:
        """Steps with a command in one of some ranges of moments of `live_ranges`."""
        opcodes = [c.opcode for c in self.commands[: len(self.owners)]]
        moments = np.cumsum([opcode is not Opcode.STORE for opcode in opcodes])
        owners = np.array(self.owners)
        found: set[int] = set()
        for first, last in ranges:
            found |= set(owners[(moments >= first) & (moments <= last)].tolist())
        return found


@dataclass(kw_only=True, eq=False)
class _Entry:
    """A step or a tile of one, as a unit of the order."""

    step: Step
    work: TileWork
    fills: list[SymbolicCommand] = field(default_factory=list)
    late_fills: list[SymbolicCommand] = field(default_factory=list)
    last: bool = False


class Emitter:
    """Emits a network, however often, for different plans.

    Parameters
    ----------
    low: the network and its constants.
    steps, cut: what is computed, from what to what.
    lowerings: how.
    report: called with a text for every step.
    """

    def __init__(
        self,
        low: Lowering,
        steps: Sequence[Step],
        cut: Partition,
        lowerings: Mapping[Op, Lower],
        report: Callable[[str], None],
    ) -> None:
        self.low, self.steps, self.cut, self.report = low, steps, cut, report
        self._lowerings = lowerings
        self._tiler = Tiler(low, lowerings)
        self._whole: dict[int, list[Pair]] = {}
        self._filled: set[int] = set()
        self._out = Emission()

    def emit(self, plan: SpillPlan, buffers: int) -> Emission:
        """Return the commands for a plan."""
        self._out, self._filled = Emission(), set()
        for view in self.low.layout.views.values():
            view.storage.external = id(view.storage) in plan.external
            view.storage.address = -1
        for name in self.cut.inputs:
            self._input(name)
        self._out.owners += [0] * len(self._out.commands)
        entries = self._entries(plan)
        if self.low.spec.external.data_bytes:
            pairs = [pair for entry in entries for pair in entry.work.pairs]
            splitter = Splitter(self.low.spec, pairs)
            for entry in entries:
                entry.work.pairs = splitter.split(entry.work.pairs)
        self._order(entries, buffers)
        self._out.commands.append(SymbolicCommand(opcode=Opcode.END, layer=""))
        return self._out

    def _entries(self, plan: SpillPlan) -> list[_Entry]:
        entries: list[_Entry] = []
        for index, step in enumerate(self.steps):
            self.report(f"{step.node.name} ({index + 1} of {len(self.steps)})")
            outside = any(self.low.view(n).storage.external for n in operands(step))
            if step.node.op is Op.SOFTMAX:
                softmax = self.cut.softmax.layers[step.node.name]
                works = softmax_tiles(self.low, softmax, step, plan.rows.get(id(step)))
            elif not outside:
                works = [TileWork(pairs=self._lowered(step))]
            elif step.is_move:
                works = move_tiles(self._tiler, step, plan.rows[id(step)]) or [TileWork()]
                if not works[-1].pairs:
                    self.low.notes[step.node.name] = "aliased"
            else:
                works = self._tiles(step, plan.rows[id(step)])
            entries += [_Entry(step=step, work=work) for work in works]
            entries[-1].last = True
            fills = self._fills(step.target)
            if step.node.op is Op.PAD or outside:
                # A border is part of the tensor, complete when the last STORE is.
                entries[-len(works)].fills = fills
            else:
                # Readers are a layer away: they need not hold up this layer's first command.
                entries[-1].late_fills = fills
        return entries

    def _lowered(self, step: Step) -> list[Pair]:
        """Lower a step whose operands are all on chip, once."""
        if id(step) not in self._whole:
            self._whole[id(step)] = self._lowerings[step.node.op](self.low, step)
            self.low.splitter.finished(step)
        for pair in self._whole[id(step)]:
            pair.store.values.pop("stamp", None)
            pair.matmul.holds = ()
        return self._whole[id(step)]

    def _tiles(self, step: Step, rows: int) -> list[TileWork]:
        height, width, _ = self.low.view(step.target).shape
        # The first layer waits for its first rows: its tiles grow.
        least = min(rows, -(-_PIXELS // width)) if step.source in self.cut.inputs else rows
        works = [self._tiler.tile(step, *part) for part in growing(height, least, rows)]
        self._out.tiles[step.node.name] = len(works)
        return works

    def _order(self, entries: Sequence[_Entry], buffers: int) -> None:
        """Load for the next entry and save of the last one beside each entry's commands."""
        out = self._out.commands
        writers = last_writers([entry.work for entry in entries])
        numbers = {id(step): number for number, step in enumerate(self.steps)}
        owners = self._out.owners
        loaded = -1
        for index, entry in enumerate(entries):
            out += entry.fills
            before = entries[index - 1].work if index else TileWork()
            if buffers > 1:
                out += before.saves
            ahead = index
            while ahead < min(index + buffers, len(entries)) and writers[ahead] < index:
                out += entries[ahead].work.loads if ahead > loaded else []
                loaded = max(loaded, ahead)
                ahead += 1
            later = [load for e in entries[index + 1 : loaded + 1] for load in e.work.loads]
            held, pairs = tuple(before.outputs) if buffers > 1 else (), entry.work.pairs
            # Fills must not hold up the copies of later pairs.
            filling = len(pairs) - 1 if any(pair.before for pair in pairs) else 0
            self._out.enemies += enemies(pairs)
            self._out.rivals += rivals(pairs, later, before.saves if buffers > 1 else [])
            for number, pair in enumerate(pairs):
                pair.matmul.holds = held
                out += [*pair.before, pair.matmul, pair.store]
                if number == filling:
                    out += entry.late_fills
            for command in entry.work.softmax:
                command.holds = held
                out.append(command)
            if not entry.work.pairs:
                out += entry.late_fills
            if buffers == 1 or index == len(entries) - 1:
                out += entry.work.saves
            if entry.last:
                self._finish(entries, index)
            owners += [numbers[id(entry.step)]] * (len(out) - len(owners))

    def _edge(self, opcode: Opcode, name: str, out: list[SymbolicCommand]) -> None:
        """Move an input or output from or to external memory, if it is not there anyway."""
        view = self.low.view(name)
        if not self.low.spec.external.data_bytes or view.storage.external:
            return
        far = self._out.views.get(name)
        if far is None:
            far = self._out.views[name] = dense_view(name, view.shape, external=True)
            self._out.contents[far.storage] = None
        out.append(transfer(opcode, name, view, far))

    def _input(self, name: str) -> None:
        """Load an input; if nothing else lies in its storage, with its halo and in pieces."""
        layout, out = self.low.layout, self._out
        near, fills, root = self.low.view(name), self._fills(name), name
        moves = {s.target: s.node.op for s in self.steps if s.is_move}
        while root in layout.parents and moves[layout.parents[root]] is not Op.CONCAT:
            root = layout.parents[root]
        external = self.low.spec.external.data_bytes and not near.storage.external
        if not external or root in layout.parents:
            out.commands += fills
            self._edge(Opcode.LOAD, name, out.commands)
            return
        far = Storage(name=name, size=near.storage.size, layer=name, external=True)
        out.views[name] = replace(near, storage=far)
        out.contents[far] = filled_bytes(near.storage, fills) if fills else None
        out.commands += storage_loads(name, near.storage, far)

    def _fills(self, name: str) -> list[SymbolicCommand]:
        """Return the fills of halo and border of the storage that ``name`` lies in, once."""
        layout = self.low.layout
        while name in layout.parents:
            name = layout.parents[name]
        view = layout.views[name]
        if id(view.storage) in self._filled:
            return []
        self._filled.add(id(view.storage))
        layer, fills = view.storage.layer, []
        if layout.halos[name].any:
            fills += fill_halo(layer, view, layout.halos[name])
        for step in self.steps:
            root = step.target
            while root in layout.parents and step.node.op is Op.PAD:
                root = layout.parents[root]
            if step.node.op is Op.PAD and root == name:
                assert isinstance(step.node.arithmetic, PadArithmetic)
                fills += fill_border(
                    layer,
                    layout.views[step.target],
                    gather_origins(self.low.graph, step.node)[0],
                    self.low.graph.tensor(step.source).shape,
                    step.node.arithmetic.value,
                )
        if not view.storage.external:
            return fills
        self._out.contents[view.storage] = filled_bytes(view.storage, fills) if fills else None
        return []

    def _finish(self, entries: Sequence[_Entry], index: int) -> None:
        """Stamp the step's last command, or add an alias to the layer that wrote its bytes."""
        step = entries[index].step
        node, layers = step.node, self._out.layers
        work = entries[index].work
        if work.pairs or work.softmax:
            last = work.softmax[-1] if work.softmax else work.pairs[-1].store
            last.values["stamp"] = 1
            layers.append(
                Layer(
                    name=node.name,
                    op=str(node.op),
                    tensor=step.target,
                    stamp=len(layers),
                    macs=self.low.graph.macs(node),
                    fused=tuple(n.name for n in step.nodes if n is not node),
                )
            )
        else:
            self._alias(step)
        if step.target in self.cut.outputs:
            self._edge(Opcode.SAVE, step.target, self._out.commands)

    def _alias(self, step: Step) -> None:
        """Name a move without commands in the last layer that wrote its bytes."""
        layers, views = self._out.layers, self.low.layout.views
        storage = views[step.target].storage
        for index in range(len(layers) - 1, -1, -1):
            layer = layers[index]
            if views[layer.tensor].storage is storage:
                layers[index] = replace(layer, fused=(*layer.fused, step.node.name))
                return
