"""The driver: graph and specification in, program and report out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from systolith.arithmetic import PadArithmetic
from systolith.compiler.allocate import allocate, live_ranges
from systolith.compiler.check import check_program
from systolith.compiler.constants import Constants
from systolith.compiler.fills import fill_border, fill_halo
from systolith.compiler.footprint import Access, accesses, joined, stamped, strided
from systolith.compiler.host import Partition, partition
from systolith.compiler.ir import Pair, Storage, SymbolicCommand
from systolith.compiler.layout import gather_origins, plan_layout
from systolith.compiler.lower_elementwise import lower_elementwise, lower_move
from systolith.compiler.lower_matmul import lower_mac
from systolith.compiler.lower_pool import lower_pool
from systolith.compiler.lowering import Lowering
from systolith.compiler.model import CompiledModel, LayerNote
from systolith.compiler.overlap import RowSplitter
from systolith.compiler.schedule import assign_tokens
from systolith.compiler.softmax import softmax_commands
from systolith.compiler.steps import Step, build_steps
from systolith.errors import CompileError
from systolith.graph import Graph, Op
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, encode
from systolith.spec.program import Buffer, Layer, Program

__all__ = ["CompiledModel", "LayerNote", "compile_graph"]

Progress = Callable[[str], None]

_LOWERINGS: Mapping[Op, Callable[[Lowering, Step], list[Pair]]] = {
    Op.CONV2D: lower_mac,
    Op.FULLY_CONNECTED: lower_mac,
    Op.AVG_POOL: lower_pool,
    Op.MAX_POOL: lower_pool,
    Op.ADD: lower_elementwise,
    Op.SUB: lower_elementwise,
    Op.MUL: lower_elementwise,
    Op.LUT: lower_elementwise,
    Op.RESHAPE: lower_move,
    Op.PAD: lower_move,
    Op.CONCAT: lower_move,
}


@dataclass(kw_only=True, eq=False)
class _Emission:
    """Commands in program order and the layers they complete."""

    commands: list[SymbolicCommand] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    enemies: list[tuple[Storage, Storage]] = field(default_factory=list)


class _Compiler:
    def __init__(self, graph: Graph, spec: AcceleratorSpec, fuse: bool, report: Progress) -> None:
        self.graph, self.spec, self.report = graph, spec, report
        self.cut: Partition = partition(graph, spec.post.softmax_tables)
        self.steps = build_steps(graph, self.cut, spec, fuse=fuse)
        self.layout = plan_layout(graph, self.steps, self.cut.inputs)
        self.low = Lowering(
            graph=graph,
            spec=spec,
            layout=self.layout,
            constants=Constants(spec),
            splitter=RowSplitter(graph, self.layout, self.steps),
        )
        self.filled: set[int] = set()
        self.padded = {node.name for node in graph if node.op is Op.PAD}

    def emit(self) -> _Emission:
        """Lower every step, with the fills of a storage before its first writer."""
        out = _Emission()
        for name in self.cut.inputs:
            self._fill(name, out)
        for index, step in enumerate(self.steps):
            self.report(f"{step.node.name} ({index + 1} of {len(self.steps)})")
            if step.node.op is Op.SOFTMAX:
                self._softmax(step, out)
                continue
            pairs = _LOWERINGS[step.node.op](self.low, step)
            self.low.splitter.finished(step)
            if step.node.op is Op.PAD:
                # Its border is part of the tensor, complete when the last STORE is.
                self._fill(step.target, out)
            for pair in pairs[:1]:
                self._append(pair, out)
            # Readers are a layer away: the fills need not hold up this layer's first command.
            self._fill(step.target, out)
            for pair in pairs[1:]:
                self._append(pair, out)
            self._finish(step, pairs, out)
        out.commands.append(SymbolicCommand(opcode=Opcode.END, layer=""))
        return out

    def _softmax(self, step: Step, out: _Emission) -> None:
        """Append the commands of a softmax, the last of which is stamped."""
        plan = self.cut.softmax.layers[step.node.name]
        self.low.splitter.finished(step)
        self._fill(step.target, out)
        views = (self.low.view(name) for name in (step.source, step.target))
        out.commands += softmax_commands(step.node.name, plan, *views)
        self.low.notes[step.node.name] = f"softmax table {plan.fields['table']}"
        self._layer(step, out.commands[-1], out)

    def _append(self, pair: Pair, out: _Emission) -> None:
        out.commands += [*pair.before, pair.matmul, pair.store]
        if "r_base" in pair.store.bases:
            x, r = pair.matmul.bases["x_base"], pair.store.bases["r_base"]
            out.enemies.append((x[0], r[0]))
        for copy in pair.before:
            # COPY reads and writes beside the array, which reads what it has written.
            buffer = copy.bases["d_base"][0]
            out.enemies.append((copy.bases["s_base"][0], buffer))
            out.enemies.append((pair.store.bases["y_base"][0], buffer))

    def _fill(self, name: str, out: _Emission) -> None:
        """Fill halo and border of the storage that ``name`` lies in, once."""
        while name in self.layout.parents:
            name = self.layout.parents[name]
        view = self.layout.views[name]
        if id(view.storage) in self.filled:
            return
        self.filled.add(id(view.storage))
        layer = view.storage.layer
        if self.layout.halos[name].any:
            out.commands += fill_halo(layer, view, self.layout.halos[name])
        for step in self.steps:
            root = step.target
            while root in self.layout.parents and step.node.op is Op.PAD:
                root = self.layout.parents[root]
            if step.node.op is Op.PAD and root == name:
                assert isinstance(step.node.arithmetic, PadArithmetic)
                out.commands += fill_border(
                    layer,
                    self.layout.views[step.target],
                    gather_origins(self.graph, step.node)[0],
                    self.graph.tensor(step.source).shape,
                    step.node.arithmetic.value,
                )

    def _finish(self, step: Step, pairs: Sequence[Pair], out: _Emission) -> None:
        """Stamp the step's last STORE, or add an alias to the layer that wrote its bytes."""
        if pairs:
            self._layer(step, pairs[-1].store, out)
        else:
            self._alias(step, out)

    def _layer(self, step: Step, last: SymbolicCommand, out: _Emission) -> None:
        """Add a layer that its last command completes, and let that be stamped."""
        node = step.node
        last.values["stamp"] = 1
        out.layers.append(
            Layer(
                name=node.name,
                op=str(node.op),
                tensor=step.target,
                stamp=len(out.layers),
                macs=self.graph.macs(node),
                fused=tuple(n.name for n in step.nodes if n is not node),
            )
        )

    def _alias(self, step: Step, out: _Emission) -> None:
        """Name a move without commands in the last layer that wrote its bytes."""
        storage = self.layout.views[step.target].storage
        for index in range(len(out.layers) - 1, -1, -1):
            layer = out.layers[index]
            if self.layout.views[layer.tensor].storage is storage:
                out.layers[index] = replace(layer, fused=(*layer.fused, step.node.name))
                return

    def compile(self) -> CompiledModel:
        """Emit, allocate, order and encode."""
        out = self.emit()
        self.low.constants.check()
        self._check_counts(out)
        views = self.layout.views
        lives = live_ranges(
            out.commands,
            [views[n].storage for n in self.cut.inputs],
            [views[n].storage for n in self.cut.outputs],
        )
        memory = allocate(lives, out.enemies, self.spec)
        self.report("ordering commands")
        weights, parameters, tables = self.low.constants.images()
        program = Program(
            spec=self.spec,
            commands=self._encode(out.commands, weights),
            weights=weights,
            parameters=parameters,
            tables=tables,
            exponents=self.cut.softmax.exponents,
            buffers={n: self._buffer(n) for n in views if views[n].storage.address >= 0},
            inputs=self.cut.inputs,
            outputs=self.cut.outputs,
            layers=tuple(out.layers),
        )
        check_program(program)
        return CompiledModel(
            program=program,
            graph=self.graph,
            prologue=self.cut.prologue,
            epilogue=self.cut.epilogue,
            notes=self._notes(),
            hidden=tuple(name for step in self.steps for name in step.hidden),
            memory=memory,
        )

    def _check_counts(self, out: _Emission) -> None:
        needs = (
            ("command_words", sum(COMMANDS[c.opcode].words for c in out.commands)),
            ("stamps", len(out.layers)),
        )
        for name, need in needs:
            have = getattr(self.spec.memory, name)
            if need > have:
                raise CompileError(
                    f"memory.{name} must be at least {need} for this network, not {have}: "
                    f"raise memory.{name}"
                )

    def _encode(self, commands: Sequence[SymbolicCommand], weights: np.ndarray) -> np.ndarray:
        words: list[int] = []
        resolved = [
            dict.fromkeys((f.name for f in COMMANDS[c.opcode].fields), 0)
            | {f.name: 1 for f in COMMANDS[c.opcode].fields if f.name.endswith(("_count", "_step"))}
            | c.resolved()
            for c in commands
        ]
        footprints = accesses(
            [(c.opcode, v) for c, v in zip(commands, resolved, strict=True)], weights, self.spec
        )
        ordered = [
            (unit, self._with_border(c, access))
            for c, access in zip(commands, footprints, strict=True)
            if (unit := COMMANDS[c.opcode].unit) is not None
        ]
        tokens = iter(assign_tokens(ordered))
        for command in commands:
            values = command.resolved()
            if COMMANDS[command.opcode].unit is not None:
                token = next(tokens)
                values |= {"wait": token.wait, "signal": token.signal}
            try:
                words += encode(command.opcode, **values)
            except ValueError as error:
                raise CompileError(
                    f"layer {command.layer!r}: {error}: the layer is too large for one command;"
                    " make it smaller"
                ) from error
        return np.array(words, np.uint32)

    def _with_border(self, command: SymbolicCommand, access: Access) -> Access:
        """Let the STORE that stamps a padded tensor wait for the FILLs of its border."""
        if command.values.get("stamp") and self.cut.softmax.layers:
            access = stamped(access)  # softmax and STORE are stamped by different units
        storage, _ = command.bases.get("y_base", (None, 0))
        if storage is None or not command.values.get("stamp") or command.layer not in self.padded:
            return access
        border = strided(storage.address, (), storage.size)
        return Access(reads=joined(access.reads, border), writes=access.writes)

    def _buffer(self, name: str) -> Buffer:
        view, tensor = self.layout.views[name], self.graph.tensor(name)
        return Buffer(
            base=view.storage.address + view.offset,
            shape=view.shape,
            strides=(view.row, view.pixel, 1),
            dtype=tensor.dtype,
        )

    def _notes(self) -> tuple[LayerNote, ...]:
        notes: dict[str, LayerNote] = {}
        for node in (*self.cut.prologue, *self.cut.epilogue):
            text = self.cut.reasons.get(node.name, f"{node.op} at the network's edge")
            notes[node.name] = LayerNote(name=node.name, where="host", text=text)
        for step in self.steps:
            text = self.low.notes.get(step.node.name, "")
            where = "alias" if text == "aliased" else "array"
            notes[step.node.name] = LayerNote(name=step.node.name, where=where, text=text)
            for node in step.nodes:
                if node is not step.node:
                    text = f"in {step.node.name!r}"
                    notes[node.name] = LayerNote(name=node.name, where="fused", text=text)
        return tuple(notes[n.name] for n in self.graph.nodes if n.name in notes)


def compile_graph(
    graph: Graph,
    spec: AcceleratorSpec,
    *,
    fuse: bool = True,
    progress: Progress | None = None,
) -> CompiledModel:
    """Compile a graph for an accelerator.

    Parameters
    ----------
    graph: with the exact arithmetic of its profile.
    spec: the accelerator.
    fuse: compute adds and tables in their producer's commands, hiding the tensors between.
    progress: called with a short text as the work goes on.

    Raises
    ------
    CompileError: the accelerator lacks an operator, a mode or memory; the text says what to do.
    """
    return _Compiler(graph, spec, fuse, progress or (lambda _: None)).compile()
