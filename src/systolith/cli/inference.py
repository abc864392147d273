"""Inferences on a backend: what ``systolith simulate`` and ``systolith run`` have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.text import Text

from systolith.cli.engine import engine_of
from systolith.cli.guard import MISMATCH
from systolith.cli.options import stdout, write_files
from systolith.cli.progress import loading, reporting
from systolith.constraints import Board
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Job", "infer"]

_SHOWN = 8
_BUILT = ("verilator", "verilator-fast", "registers", "uart-sim")
"""Backends whose simulator is compiled first, as their names begin."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run, as the options of a command say it.

    Parameters
    ----------
    board, frequency: whose pins backend uart-sim simulates, and its core's MHz.
    check: compare outputs with golden's.
    """

    model: Path | None
    spec: AcceleratorSpec
    inputs: Path | None
    against: str | None
    backend: str
    board: Board | None = None
    frequency: float | None = None
    check: bool = False
    output: Path | None
    trace: Path | None = None
    count: int | None = None
    precision: Sequence[str] | None = None
    weights: Sequence[str] | None = None
    quiet: bool = False


@dataclass(kw_only=True)
class _Runs:
    """What the inferences gave.

    Parameters
    ----------
    results: the accelerator's, one an inference.
    outputs: of the graph, in the runtime's layout, one array an inference.
    compared, mismatches: output values and those that differ from golden's.
    """

    results: list[Any] = field(default_factory=list)
    outputs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    compared: int = 0
    mismatches: int = 0

    def stacked(self) -> dict[str, np.ndarray]:
        """Outputs [N, ...]."""
        return {
            name: np.concatenate(values) if values[0].shape[:1] == (1,) else np.stack(values)
            for name, values in self.outputs.items()
        }


def _show(values: np.ndarray) -> str:
    flat = values.ravel()
    rest = f" ... ({flat.size} values)" if flat.size > _SHOWN else ""
    return " ".join(f"{value:g}" for value in flat[:_SHOWN].tolist()) + rest


def _npz(arrays: dict[str, Any]) -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _run(
    compiled: Any, engine: Any, samples: Any, check: bool, report: Callable[[str, int, int], None]
) -> _Runs:
    """Run all samples."""
    from systolith.host import run_model
    from systolith.sim.golden_backend import GoldenBackend

    graph, golden = compiled.graph, GoldenBackend()
    runs = _Runs(outputs={name: [] for name in graph.outputs})
    for index in range(samples.count):
        report(f"input {index + 1} of {samples.count}", index, samples.count)
        inputs = {}
        for name, value in samples.inputs.items():
            tensor = graph.tensors[name]
            inputs[name] = tensor.canonical(value[index].reshape(tensor.source_shape))
        run = run_model(compiled, engine, inputs)
        runs.results.append(run.result)
        for name, values in runs.outputs.items():
            values.append(graph.tensors[name].source(run.tensors[name]))
        if check:
            wanted = run_model(compiled, golden, inputs).result.tensors
            for name in compiled.program.outputs:
                got = run.result.tensors[name]
                runs.compared += got.size
                runs.mismatches += int(np.count_nonzero(got != wanted[name]))
    return runs


def _class_text(graph: Any, name: str, codes: np.ndarray, samples: Any, index: int) -> str:
    """What a classifier says of an input, and its label if that is known; else nothing."""
    from systolith.verify.flow import classifies

    if name != graph.outputs[0] or not classifies(graph):
        return ""
    label = f" (label {samples.labels[index]})" if samples.labels else ""
    return f": class {int(np.argmax(codes))}{label}"


def _print_time(job: Job, engine: Any, results: Sequence[Any]) -> None:
    """Print cycles and counters, and how long the line and the accelerator take on the board."""
    console, last, bus = stdout(), results[-1], job.spec.bus
    if last.cycles:
        console.print(Text(f"cycles {last.cycles:,} an inference"))
        for name, value in last.counters.items() if job.spec.event_counters else ():
            console.print(Text(f"  {name:20} {value:>12,}"))
    if last.traffic is None:
        return
    baud, mhz, seconds = bus.uart_baud, bus.clock_hz / 1e6, last.cycles / bus.clock_hz
    line = last.traffic
    console.print(
        Text(
            f"on the board: {1e3 * line.seconds(baud):.2f} ms on the line at {baud:,} baud "
            f"({line.sent:,} bytes sent, {line.received:,} received) and {1e3 * seconds:.3f} ms in "
            f"the core at {mhz:g} MHz, an inference"
        )
    )
    load = results[0].loading
    if load is not None:
        console.print(
            Text(
                f"to load the network: {1e3 * load.seconds(baud):.1f} ms on the line "
                f"({load.sent:,} bytes sent, {load.received:,} received)"
            )
        )
    if hasattr(engine, "design_text"):
        console.print(Text(engine.design_text(job.spec)))


def infer(job: Job, verb: str) -> None:
    """Run a network on every input; print outputs, cycles and counters, and save the outputs.

    Parameters
    ----------
    verb: what has been done to the inferences, for the last line.

    Raises
    ------
    typer.Exit: a value differs from golden's.
    """
    from systolith.compiler.choices import parse_choices
    from systolith.compiler.compile import compile_graph
    from systolith.importers import load_model
    from systolith.verify.samples import choose_samples, default_model

    choices = parse_choices(job.precision or (), job.weights or ())
    with reporting(job.quiet) as progress:
        engine = engine_of(
            job.backend, job.board, job.frequency, trace=job.trace, on_load=loading(progress)
        )
        imported = load_model(job.model or default_model(), job.against)
        graph = choices.applied(imported, job.spec.array)
        samples, _ = choose_samples(
            graph, job.inputs, None, 1 if job.trace is not None else job.count
        )
        progress("compiling", 0, 0)
        compiled = compile_graph(graph, job.spec)
        if job.backend.startswith(_BUILT):
            progress("building the simulator (cached afterwards)", 0, 0)
        runs = _run(compiled, engine, samples, job.check, progress)
    console, outputs = stdout(), runs.stacked()
    for name, values in outputs.items():
        for index, sample in enumerate(values):
            shown = _show(np.asarray(sample)) + _class_text(graph, name, sample, samples, index)
            console.print(Text(f"input {index}: {name} = {shown}"))
    _print_time(job, engine, runs.results)
    seconds = sum(result.seconds for result in runs.results)
    console.print(Text(f"{verb} {len(runs.results)} inferences in {seconds:.2f} s ({engine.name})"))
    if job.check:
        console.print(
            Text(f"{runs.compared:,} values compared with golden: {runs.mismatches:,} mismatches")
        )
    if job.output is not None:
        write_files([(job.output, _npz(outputs))])
    if runs.mismatches:
        raise typer.Exit(MISMATCH)
