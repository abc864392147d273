"""The driver: graph and specification in, program and report out."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from systolith.compiler.assemble import Assembly, assemble
from systolith.compiler.check import check_program
from systolith.compiler.constant_operands import fold_constants
from systolith.compiler.constants import Constants
from systolith.compiler.edges import FLOAT_BYTES, as_bytes, plan_edges
from systolith.compiler.emitted import Emission
from systolith.compiler.host import Partition, partition
from systolith.compiler.ir import Pair
from systolith.compiler.layout import Layout, plan_layout
from systolith.compiler.least import check_memories
from systolith.compiler.lower_elementwise import lower_elementwise, lower_move
from systolith.compiler.lower_matmul import lower_mac
from systolith.compiler.lower_pool import lower_pool
from systolith.compiler.lowering import Lowering
from systolith.compiler.model import CompiledModel, LayerNote
from systolith.compiler.overlap import RowSplitter
from systolith.compiler.packing import PackedTilesError, pack_tensors
from systolith.compiler.placement import Placer
from systolith.compiler.precision import with_precisions
from systolith.compiler.shapes import Shapes
from systolith.compiler.steps import Step, build_steps
from systolith.compiler.weight_choice import (
    FormatRequest,
    StoredWeights,
    requested_formats,
    with_formats,
)
from systolith.errors import CompileError
from systolith.graph import Graph, Op
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import Precision
from systolith.spec.program import Buffer, Program

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
    Op.GATHER: lower_move,
    Op.PAD: lower_move,
    Op.CONCAT: lower_move,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Bytewise:
    """The network without packed tensors."""

    graph: Graph
    steps: tuple[Step, ...]
    layout: Layout


class _Compiler:
    def __init__(
        self,
        graph: Graph,
        spec: AcceleratorSpec,
        fuse: bool,
        report: Progress,
        bytewise: AbstractSet[str],
    ) -> None:
        self.source, self.spec, self.report = graph, spec, report
        graph = fold_constants(graph)
        edges = plan_edges(graph, spec.post)
        self.cut: Partition = partition(graph, spec.post.softmax_tables, edges)
        self._numbers = {
            name
            for node in self.cut.device
            if node.name in self.cut.edges
            for name in (*node.inputs, *node.outputs)
            if graph.tensor(name).dtype == "float32"
        }
        self.graph = graph = as_bytes(graph, self._numbers)
        self.steps = build_steps(graph, self.cut, spec, fuse=fuse)
        kept = {*self.cut.inputs, *self.cut.outputs, *graph.outputs}
        packing = pack_tensors(graph, self.steps, kept, bytewise, spec)
        self.windows = packing.windows
        whole = plan_layout(graph, self.steps, self.cut.inputs, spec)
        self.bytewise = _Bytewise(graph=graph, steps=self.steps, layout=whole)
        self.graph, self.steps = graph, steps = packing.graph, packing.steps
        self.layout = plan_layout(graph, steps, self.cut.inputs, spec) if self.windows else whole
        self.low = Lowering(
            graph=graph,
            spec=spec,
            layout=self.layout,
            constants=Constants(spec),
            splitter=RowSplitter(graph, self.layout, self.steps),
        )
        self.formats = requested_formats(graph, spec)
        self.padded = {node.name for node in graph if node.op is Op.PAD}

    def compile(self) -> CompiledModel:
        """Emit, allocate, order and encode."""
        out, memory = Placer(
            self.low, self.steps, self.cut, _LOWERINGS, self.report, self._check_memories
        ).place()
        self._check_stamps(out)
        self.report("ordering commands")
        assembly = assemble(
            out.commands,
            self.low.constants,
            padded=self.padded,
            tensors=out.contents,
            formats=self.formats,
        )
        program = self._program(out, assembly)
        check_program(program)
        return CompiledModel(
            program=program,
            graph=self.source,
            prologue=self.cut.prologue,
            epilogue=self.cut.epilogue,
            notes=self._notes(out, assembly.stored),
            weights=assembly.stored,
            hidden=tuple(name for step in self.steps for name in step.hidden),
            memory=replace(
                memory,
                constants=assembly.peaks,
                loaded=assembly.loaded,
                saved=assembly.saved,
            ),
        )

    def _program(self, out: Emission, assembly: Assembly) -> Program:
        """What the accelerator runs, from what was emitted and encoded."""
        return Program(
            spec=self.spec,
            commands=assembly.commands,
            weights=assembly.weights,
            parameters=assembly.parameters,
            tables=assembly.tables,
            exponents=self.cut.softmax.exponents,
            external=assembly.external,
            external_bytes=assembly.external_bytes,
            buffers=self._buffers(out),
            inputs=self.cut.inputs,
            outputs=self.cut.outputs,
            layers=tuple(out.layers),
        )

    def _check_memories(self, spec: AcceleratorSpec) -> None:
        """Require room for the smallest tiles, which are of bytes, whatever is packed."""
        shapes = Shapes(self.bytewise.graph, self.bytewise.layout, spec)
        check_memories(self.bytewise.layout, self.bytewise.steps, shapes, spec)

    def _check_stamps(self, out: Emission) -> None:
        need, have = len(out.layers), self.spec.memory.stamps
        if need > have:
            raise CompileError(
                f"memory.stamps must be at least {need} for this network, not {have}: "
                f"raise memory.stamps"
            )

    def _buffers(self, out: Emission) -> dict[str, Buffer]:
        """Where tensors lie; inputs and outputs in external memory if there is one."""
        views = self.layout.views | out.views
        buffers = {}
        for name, view in views.items():
            if view.storage.address >= 0:
                size = FLOAT_BYTES if name in self._numbers else 1
                # Of packed tensors the view knows bytes only.
                height, width, channels = self.bytewise.graph.tensor(name).shape
                if name not in self.windows:
                    height, width, channels = view.shape
                dtype = self.bytewise.graph.tensor(name).dtype
                buffers[name] = Buffer(
                    base=view.storage.address + view.offset,
                    shape=(height, width, channels // size),
                    strides=(view.row, view.pixel, size),
                    dtype="float32" if size > 1 else dtype,
                    external=view.storage.external,
                    window=self.windows.get(name),
                )
        return buffers

    def _notes(self, out: Emission, stored: Mapping[str, StoredWeights]) -> tuple[LayerNote, ...]:
        notes: dict[str, LayerNote] = {}
        for node in (*self.cut.prologue, *self.cut.epilogue):
            text = self.cut.reasons.get(node.name, f"{node.op} at the network's edge")
            notes[node.name] = LayerNote(name=node.name, where="host", text=text)
        for step in self.steps:
            text = self.low.notes.get(step.node.name, "")
            where = "copy" if step.node.name in self.low.copied else "array"
            where = "alias" if text == "aliased" else where
            if out.tiles.get(step.node.name, 0) > 1:
                text = f"{text}; {out.tiles[step.node.name]} tiles"
            if step.node.name in stored:
                text = f"{text}; {stored[step.node.name]}"
            notes[step.node.name] = LayerNote(
                name=step.node.name,
                where=where,
                text=text,
                proofs=self.low.proofs.get(step.node.name, ()),
            )
            for node in step.nodes:
                # By name: the node of a step that reads packed codes is one of its own.
                if node.name != step.node.name:
                    text = f"in {step.node.name!r}"
                    notes[node.name] = LayerNote(name=node.name, where="fused", text=text)
        return tuple(notes[n.name] for n in self.graph.nodes if n.name in notes)


def compile_graph(
    graph: Graph,
    spec: AcceleratorSpec,
    *,
    fuse: bool = True,
    precision: Mapping[str, Precision] | None = None,
    weight_formats: FormatRequest | None = None,
    progress: Progress | None = None,
) -> CompiledModel:
    """Compile a graph for an accelerator.

    Parameters
    ----------
    graph: with the exact arithmetic of its profile.
    spec: the accelerator.
    fuse: compute adds and tables in their producer's commands, hiding the tensors between.
    precision: of layers by name, as their attribute ``precision`` is; what neither says is free:
        the fastest that is exact.
    weight_formats: formats of layers' weights, by name; a layer that is not named is stored as its
        attribute ``weight_format`` says, without it in the smallest format that is exact.
    progress: called with a short text as the work goes on.

    Raises
    ------
    CompileError: the accelerator lacks an operator, a mode or memory; the text says what to do.
    """
    graph = with_precisions(with_formats(graph, weight_formats or {}), precision or {})
    bytewise: set[str] = set()
    while True:
        try:
            report = progress or (lambda _: None)
            return _Compiler(graph, spec, fuse, report, bytewise).compile()
        except PackedTilesError as error:
            bytewise |= error.tensors
