"""The driver: graph and specification in, program and report out."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from systolith.compiler.allocate import AllocationError, MemoryReport, allocate, live_ranges
from systolith.compiler.assemble import assemble
from systolith.compiler.check import check_program
from systolith.compiler.constants import Constants
from systolith.compiler.emission import Emission, Emitter
from systolith.compiler.host import Partition, partition
from systolith.compiler.ir import Pair
from systolith.compiler.layout import plan_layout
from systolith.compiler.lower_elementwise import lower_elementwise, lower_move
from systolith.compiler.lower_matmul import lower_mac
from systolith.compiler.lower_pool import lower_pool
from systolith.compiler.lowering import Lowering
from systolith.compiler.model import CompiledModel, LayerNote
from systolith.compiler.overlap import RowSplitter
from systolith.compiler.spill import SpillPlan, plan_spills
from systolith.compiler.steps import Step, build_steps
from systolith.errors import CompileError
from systolith.graph import Graph, Op
from systolith.spec.accelerator import AcceleratorSpec
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
    Op.PAD: lower_move,
    Op.CONCAT: lower_move,
}


_PLANS = ((1.0, 2), (0.9, 2), (0.8, 2), (0.65, 2), (0.5, 2), (0.9, 1), (0.7, 1), (0.5, 1))
"""Shares of the activation memory to plan for (it fragments), and copies of a tile's operands."""


class _Compiler:
    def __init__(self, graph: Graph, spec: AcceleratorSpec, fuse: bool, report: Progress) -> None:
        self.graph, self.spec, self.report = graph, spec, report
        self.cut: Partition = partition(graph)
        self.steps = build_steps(graph, self.cut, spec, fuse=fuse)
        self.layout = plan_layout(graph, self.steps, self.cut.inputs)
        self.low = Lowering(
            graph=graph,
            spec=spec,
            layout=self.layout,
            constants=Constants(spec),
            splitter=RowSplitter(graph, self.layout, self.steps),
        )
        self.padded = {node.name for node in graph if node.op is Op.PAD}

    def place(self) -> tuple[Emission, MemoryReport]:
        """Emit with all tensors on chip; if they do not fit, with some in external memory.

        Raises
        ------
        CompileError: nothing fits.
        """
        emitter = Emitter(self.low, self.steps, self.cut, _LOWERINGS, self.report)
        try:
            return self._allocated(emitter, SpillPlan(), 1)
        except AllocationError:
            if not self.spec.external.data_bytes:
                raise
        total = self.spec.activation_total
        for share, buffers in _PLANS:
            plan = plan_spills(
                self.layout,
                self.steps,
                self.cut.inputs,
                self.spec,
                budget=int(share * total),
                buffers=buffers,
            )
            try:
                return self._allocated(emitter, plan, buffers)
            except AllocationError:
                continue
        raise self._too_small(plan)

    def _too_small(self, plan: SpillPlan) -> CompileError:
        need, step = plan.need
        memory = self.spec.memory
        least = -(-max(need, 1) // memory.activation_regions)
        least = max(least, memory.activation_bytes + 1)
        unit = 2 * self.spec.line_bytes
        name = step.node.name if step is not None else ""
        return CompileError(
            f"layer {name!r}: activation memory needs {need} bytes for one row of tiles, the "
            f"specification has {memory.activation_regions} regions of {memory.activation_bytes}: "
            f"raise memory.activation_bytes to at least {-(-least // unit) * unit}"
        )

    def _allocated(
        self, emitter: Emitter, plan: SpillPlan, buffers: int
    ) -> tuple[Emission, MemoryReport]:
        out = emitter.emit(plan, buffers)
        views = self.layout.views
        outside = bool(self.spec.external.data_bytes)
        lives = live_ranges(
            out.commands,
            [] if outside else [views[n].storage for n in self.cut.inputs],
            [] if outside else [views[n].storage for n in self.cut.outputs],
        )
        return out, allocate(lives, out.enemies, self.spec)

    def compile(self) -> CompiledModel:
        """Emit, allocate, order and encode."""
        out, memory = self.place()
        self._check_stamps(out)
        self.report("ordering commands")
        assembly = assemble(
            out.commands,
            self.low.constants,
            padded=self.padded,
            tensors=out.contents,
        )
        program = Program(
            spec=self.spec,
            commands=assembly.commands,
            weights=assembly.weights,
            parameters=assembly.parameters,
            tables=assembly.tables,
            external=assembly.external,
            external_bytes=assembly.external_bytes,
            buffers=self._buffers(out),
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
            memory=replace(
                memory,
                constants=assembly.peaks,
                loaded=assembly.loaded,
                saved=assembly.saved,
            ),
        )

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
        return {
            name: Buffer(
                base=view.storage.address + view.offset,
                shape=view.shape,
                strides=(view.row, view.pixel, 1),
                dtype=self.graph.tensor(name).dtype,
                external=view.storage.external,
            )
            for name, view in views.items()
            if view.storage.address >= 0
        }

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
