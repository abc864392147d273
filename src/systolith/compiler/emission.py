"""Commands of all steps in program order: fills, transfers, tiles, time stamps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from systolith.arithmetic import PadArithmetic
from systolith.compiler.emitted import Emission, Entry
from systolith.compiler.enemies import enemies, rivals
from systolith.compiler.fills import fill_border, fill_constant, fill_halo, filled_bytes
from systolith.compiler.host import Partition
from systolith.compiler.ir import Pair, Storage, SymbolicCommand
from systolith.compiler.layout import gather_origins
from systolith.compiler.lower_chain import ChainTiler
from systolith.compiler.lower_edges import edge_tiles
from systolith.compiler.lower_softmax import softmax_tiles
from systolith.compiler.lowering import Lowering
from systolith.compiler.moves import copied, move_tiles
from systolith.compiler.shapes import operands
from systolith.compiler.spill import SpillPlan
from systolith.compiler.split import Splitter
from systolith.compiler.steps import Step
from systolith.compiler.tile_shape import TileShape, boxes
from systolith.compiler.tiler import Tiler
from systolith.compiler.transfers import dense_view, storage_loads, transfer
from systolith.compiler.works import TileWork, last_writers
from systolith.graph import Op
from systolith.spec.commands import Opcode
from systolith.spec.program import Layer

__all__ = ["Emitter"]

_PIXELS = 32
"""Output pixels of a network's first tile at least: short passes are wasted."""

Lower = Callable[[Lowering, Step], list[Pair]]


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
        self._chains = ChainTiler(self._tiler)
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
                entry.work.sums = splitter.chained(entry.work.sums)
        self._order(entries, buffers)
        self._out.commands.append(SymbolicCommand(opcode=Opcode.END, layer=""))
        return self._out

    def _entries(self, plan: SpillPlan) -> list[Entry]:
        entries: list[Entry] = []
        for index, step in enumerate(self.steps):
            self.report(f"{step.node.name} ({index + 1} of {len(self.steps)})")
            outside = any(self.low.view(n).storage.external for n in operands(step))
            if step.node.op is Op.SOFTMAX:
                softmax = self.cut.softmax.layers[step.node.name]
                works = softmax_tiles(self.low, softmax, step, plan.shapes.get(id(step)))
            elif step.node.name in self.cut.edges:
                edge = self.cut.edges[step.node.name]
                works = edge_tiles(self.low, edge, step, plan.shapes.get(id(step)))
            elif not outside:
                works = [copied(self.low, step) or TileWork(pairs=self._lowered(step))]
            elif step.is_move:
                works = move_tiles(self._tiler, step, plan.shapes[id(step)]) or [TileWork()]
                if not works[-1].pairs and not works[-1].moves:
                    self.low.notes[step.node.name] = "aliased"
            else:
                works = self._tiles(step, plan.shapes[id(step)])
            entries += [Entry(step=step, work=work) for work in works]
            entries[-1].last = True
            fills = self._fills(step.target)
            if step.node.op is Op.PAD or outside:
                # A border is part of the tensor, complete when the last STORE is.
                entries[-len(works)].fills = fills
            else:
                # Readers are a layer away: they need not hold up this layer's first command.
                entries[-1].late_fills = fills
            entries[-len(works)].fills += self._constants(step)
        return entries

    def _constants(self, step: Step) -> list[SymbolicCommand]:
        """Return the fills of constant operands that no step before has read."""
        constant = [n for n in operands(step) if self.low.graph.tensor(n).data is not None]
        return [fill for name in constant for fill in self._fills(name)]

    def _lowered(self, step: Step) -> list[Pair]:
        """Lower a step whose operands are all on chip, once."""
        if id(step) not in self._whole:
            self._whole[id(step)] = self._lowerings[step.node.op](self.low, step)
            self.low.splitter.finished(step)
        for pair in self._whole[id(step)]:
            pair.store.values.pop("stamp", None)
            pair.matmul.holds = ()
        return self._whole[id(step)]

    def _tiles(self, step: Step, shape: TileShape) -> list[TileWork]:
        self._tiler.fresh()
        works: list[TileWork] = []
        target = self.low.view(step.target).shape
        # The first layer waits for its first rows: its tiles grow.
        first = -(-_PIXELS // target[1]) if step.source in self.cut.inputs else 0
        for box in boxes(step, shape, target, first=first):
            chain = shape.part and self._chains.works(step, box, shape.part)
            works += chain or [self._tiler.tile(step, box)]
        self._out.tiles[step.node.name] = len(works)
        return works

    def _order(self, entries: Sequence[Entry], buffers: int) -> None:
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
            for command in entry.work.sums:
                command.holds = held
                out.append(command)
            # Fills must not hold up the copies of later pairs.
            filling = len(pairs) - 1 if any(pair.before for pair in pairs) else 0
            self._out.enemies += enemies(pairs)
            self._out.rivals += rivals(pairs, later, before.saves if buffers > 1 else [])
            for number, pair in enumerate(pairs):
                pair.matmul.holds = held
                out += [*pair.before, *pair.sums, pair.matmul, pair.store]
                if number == filling:
                    out += entry.late_fills
            self._move(entry, held)
            if not entry.work.pairs:
                out += entry.late_fills
            if buffers == 1 or index == len(entries) - 1:
                out += entry.work.saves
            if entry.last:
                self._finish(entries, index)
            owners += [numbers[id(entry.step)]] * (len(out) - len(owners))

    def _move(self, entry: Entry, held: tuple[Storage, ...]) -> None:
        """Append the commands beside the array; a COPY is quicker between two regions."""
        for command in entry.work.moves:
            command.holds = held
            self._out.commands.append(command)
            if command.opcode is Opcode.COPY:
                self._out.enemies.append((command.bases["s_base"][0], command.bases["d_base"][0]))

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
        """Return the fills of halo, border or constant of ``name``'s storage, once."""
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
        data = self.low.graph.tensor(name).data
        if data is not None:
            fills += fill_constant(layer, view, data)
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

    def _finish(self, entries: Sequence[Entry], index: int) -> None:
        """Stamp the step's last command, or add an alias to the layer that wrote its bytes."""
        step = entries[index].step
        node, layers = step.node, self._out.layers
        work = entries[index].work
        if work.pairs or work.moves:
            last = work.moves[-1] if work.moves else work.pairs[-1].store
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
