"""The flow: import, compile, run on hardware and in the runtime, compare every tensor."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.choices import Choices
from systolith.compiler.compile import CompiledModel, compile_graph
from systolith.errors import CompileError, InputError
from systolith.graph import Graph
from systolith.host import ModelRun, run_model
from systolith.importers import load_model
from systolith.profiles.table import get_profile
from systolith.sim.backend import Backend
from systolith.sim.backends import get_backend
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_to_mapping
from systolith.verify.modes import layer_cycles, layer_modes
from systolith.verify.references import (
    FORMULAS,
    RUNTIME,
    STORED,
    LiveReference,
    StoredReference,
    layerwise,
    runtime_version,
)
from systolith.verify.remarks import remarks_of
from systolith.verify.results import LayerReport, VerifyReport
from systolith.verify.samples import Samples, choose_samples, default_model
from systolith.verify.tally import Side, Tally

__all__ = ["Progress", "classifies", "verify_model"]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps finished, steps in all)."""

Arrays = Mapping[str, NDArray[Any]]


def _quiet(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class _Verification:
    """One verification under way."""

    def __init__(
        self,
        graph: Graph,
        spec: AcceleratorSpec,
        samples: Samples,
        stored: StoredReference | None,
        backend: Backend,
        progress: Progress,
    ) -> None:
        self.graph, self.spec, self.samples = graph, spec, samples
        self.backend, self.stored, self.progress = backend, stored, progress
        self.seconds: dict[str, float] = {}
        start = time.perf_counter()
        progress("compiling", 0, 0)
        self.fused = compile_graph(graph, spec)
        self.obstacle = ""
        self.outputs_only = getattr(backend, "outputs_only", False)
        shown = self.fused.hidden and not self.outputs_only
        self.unfused = self._compile_unfused() if shown else None
        self._spend("compile", start)
        self.live = LiveReference(graph, samples)
        self.tally = Tally(graph)
        self.predictions: list[int] = []
        self.cycles: dict[str, int] = {}
        self.bound = get_profile(graph.profile).bound

    def _compile_unfused(self) -> CompiledModel | None:
        """Compile the program that shows hidden tensors, which may need more memory."""
        try:
            return compile_graph(self.graph, self.spec, fuse=False)
        except CompileError as error:
            self.obstacle = str(error)
            return None

    def _spend(self, stage: str, start: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def run(self) -> ModelRun:
        """Run all samples; return the last fused run."""
        start = time.perf_counter()
        build = getattr(self.backend, "dut", None)
        if build is not None:
            self.progress("building the simulator (cached afterwards)", 0, 0)
            build(self.spec)
        self._spend("build", start)
        # The runtime first: a missing package is known before minutes of simulation.
        for index in range(self.samples.count):
            last = self._sample(index)
        self.progress("done", self.samples.count, self.samples.count)
        return last

    def _sample(self, index: int) -> ModelRun:
        start = time.perf_counter()
        live, computed = self.live.sample(index)
        self._spend("runtime", start)
        start = time.perf_counter()
        inputs = {name: live[name] for name in self.graph.inputs}
        run = self._simulate(self.fused, inputs, index, "")
        self.cycles = layer_cycles(self.fused.program, run.result.stamps) or self.cycles
        second = None
        if self.unfused is not None:
            second = self._simulate(self.unfused, inputs, index, ", without fusion")
        self._spend("simulate", start)
        if self.bound:
            start = time.perf_counter()
            self.tally.end_to_end(run.tensors, live)
            live, computed = layerwise(
                self.graph, {**(second.tensors if second else {}), **run.tensors}
            )
            self._spend("runtime", start)
        sides = [Side(name=RUNTIME, tensors=live), Side(name=FORMULAS, tensors=computed)]
        if self.stored is not None and not self.bound:
            sides.append(Side(name=STORED, tensors=self.stored.sample(index)))
        self._compare(run, second, sides, index)
        output = run.tensors[self.graph.outputs[0]]
        self.predictions.append(int(np.argmax(output)))
        return run

    def _simulate(self, model: CompiledModel, inputs: Arrays, index: int, what: str) -> ModelRun:
        count = self.samples.count

        def report(layer: int, layers: int) -> None:
            text = f"input {index + 1} of {count}{what}, layer {layer} of {layers}"
            self.progress(text, index, count)

        self.progress(f"input {index + 1} of {count}{what}", index, count)
        return run_model(model, self.backend, inputs, capture=True, progress=report)

    def _compare(
        self, run: ModelRun, second: ModelRun | None, sides: list[Side], index: int
    ) -> None:
        """Compare every node's output; what fusion hides comes from the second run."""
        for node in self.graph:
            name = node.outputs[0]
            hidden = name not in run.tensors
            chosen = second if hidden and second is not None else run
            program = "unfused" if hidden else "fused"
            for side in sides:
                self.tally.add(node, chosen.tensors, side, sample=index, program=program)

    def layers(self) -> tuple[LayerReport, ...]:
        """Return one report for each node."""
        notes = {note.name: note for note in self.fused.notes}
        modes = layer_modes(self.fused.program)
        multipliers = self.spec.macs_per_cycle
        reports = []
        for node in self.graph:
            note, counts = notes[node.name], self.tally.layers[node.name]
            macs, cycles = self.graph.macs(node), self.cycles.get(node.name)
            target = self.graph.tensors[node.outputs[0]]
            reports.append(
                LayerReport(
                    name=node.name,
                    op=str(node.op),
                    source_op=node.source_op,
                    tensor=target.name,
                    shape=target.shape,
                    macs=macs,
                    cycles=cycles,
                    utilisation=macs / (cycles * multipliers) if macs and cycles else None,
                    where=note.where,
                    mode=modes.get(node.name, ""),
                    note=note.text,
                    against=" + ".join(counts.against),
                    compared=counts.compared,
                    mismatches=counts.mismatches,
                    hidden=target.name in self.fused.hidden
                    or (self.outputs_only and not counts.compared),
                    proofs=note.proofs,
                    bounded=counts.bounded,
                )
            )
        return tuple(reports)


def classifies(graph: Graph, labels: tuple[int, ...] = ()) -> bool:
    """Whether labels can be the classes of the first output: one score a class, no regression."""
    output, source = (graph.tensors[names[0]] for names in (graph.outputs, graph.inputs))
    scores = output.shape[:2] == (1, 1) and 1 < output.size != source.size
    return scores and all(0 <= label < output.size for label in labels)


def _check_reference(stored: StoredReference, graph: Graph) -> None:
    """Require a tensor of the model in a file that is given as a reference."""
    if not stored.tensors:
        raise InputError(
            f"{stored.path.name} must hold tensors of the model (keys: tensor names), "
            f"such as {graph.outputs[0]!r}"
        )


def _engine(backend: str | Backend, profile: str) -> Backend:
    """Return the backend, which shows what the profile's comparison needs.

    Raises
    ------
    InputError: there is none of that name, or it shows too little.
    """
    engine = get_backend(backend) if isinstance(backend, str) else backend
    if getattr(engine, "outputs_only", False) and get_profile(profile).bound:
        raise InputError(
            f"backend must be one that shows every tensor for profile {profile}, which is "
            f"compared layer by layer, not {engine.name}"
        )
    return engine


def verify_model(
    path: str | Path | None,
    spec: AcceleratorSpec,
    *,
    inputs: str | Path | None = None,
    against: str | None = None,
    backend: str | Backend = "verilator",
    reference: str | Path | None = None,
    count: int | None = None,
    choices: Choices | None = None,
    progress: Progress | None = None,
) -> VerifyReport:
    """Compare a network on the accelerator with its software runtime, tensor by tensor.

    Parameters
    ----------
    path: model file; None for the embedded network.
    spec: the accelerator.
    inputs: .npy or .npz file, see `choose_samples`.
    against: profile, whose runtime is run live; the file kind's own if None.
    backend: name or object that runs the program.
    reference: .npz file of tensors computed earlier, compared as well.
    count: only that many inputs.
    choices: precisions and weight formats that are asked for.
    progress: told what is being done.

    Raises
    ------
    SystolithError: a file, option or tool is at fault; the text is one line.
    """
    begin = time.perf_counter()
    graph = load_model(default_model() if path is None else path, against)
    graph = (choices or Choices()).applied(graph, spec.array)
    samples, stored_path = choose_samples(
        graph, Path(inputs) if inputs else None, Path(reference) if reference else None, count
    )
    stored = StoredReference(graph, stored_path, samples.count) if stored_path else None
    if reference is not None and stored is not None:
        _check_reference(stored, graph)
    engine = _engine(backend, graph.profile)
    work = _Verification(graph, spec, samples, stored, engine, progress or _quiet)
    result = work.run().result
    layers = work.layers()
    work.seconds["total"] = time.perf_counter() - begin
    labels = samples.labels
    keep = bool(labels) and classifies(graph, labels)
    return VerifyReport(
        model="embedded network" if path is None else Path(path).name,
        profile=graph.profile,
        runtime=runtime_version(graph.profile),
        backend=engine.name,
        accelerator=spec_to_mapping(spec),
        rows=spec.array.rows,
        columns=spec.array.columns,
        samples=samples.count,
        inputs_from=samples.origin,
        reference_from=stored.path.name if stored is not None and stored.tensors else "",
        layers=layers,
        first=work.tally.first,
        cycles=result.cycles or None,
        counters=dict(result.counters),
        seconds=work.seconds,
        remarks=remarks_of(work, layers),
        labels=labels if keep else (),
        predictions=tuple(work.predictions) if keep else (),
        bound=work.bound,
        worst=work.tally.worst,
    )
