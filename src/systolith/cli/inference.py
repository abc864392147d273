"""Inferences on a backend: what ``systolith simulate`` and ``systolith run`` have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.text import Text

from systolith.cli.options import stdout, write_files
from systolith.cli.progress import reporting
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Job", "infer"]

_SHOWN = 8
_BUILT = ("verilator", "verilator-fast", "registers", "uart-sim")
"""Backends whose simulator is compiled first."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run, as the options of a command say it.

    Parameters
    ----------
    technology: of the board whose pins backend uart-sim simulates.
    """

    model: Path | None
    spec: AcceleratorSpec
    inputs: Path | None
    against: str | None
    backend: str
    technology: str = "generic"
    output: Path | None
    trace: Path | None = None
    count: int | None = None
    precision: Sequence[str] | None = None
    weights: Sequence[str] | None = None
    quiet: bool = False


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
    compiled: Any, engine: Any, samples: Any, report: Callable[[str, int, int], None]
) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Run all samples; return the accelerator's results and the outputs [N, ...]."""
    from systolith.host import run_model

    graph = compiled.graph
    results: list[Any] = []
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in graph.outputs}
    for index in range(samples.count):
        report(f"input {index + 1} of {samples.count}", index, samples.count)
        inputs = {}
        for name, value in samples.inputs.items():
            tensor = graph.tensors[name]
            inputs[name] = tensor.canonical(value[index].reshape(tensor.source_shape))
        run = run_model(compiled, engine, inputs)
        results.append(run.result)
        for name, values in outputs.items():
            values.append(graph.tensors[name].source(run.tensors[name]))
    stacked = {
        name: np.concatenate(values) if values[0].shape[:1] == (1,) else np.stack(values)
        for name, values in outputs.items()
    }
    return results, stacked


def _engine(job: Job) -> Any:
    """The backend; of a board's pins, with the primitives of the board's chip."""
    from systolith.hw.technology import Technology
    from systolith.sim.backends import get_backend
    from systolith.sim.uart_backend import UartSimBackend

    if job.backend == UartSimBackend.name:
        return UartSimBackend(Technology(job.technology))
    return get_backend(job.backend, trace=job.trace)


def infer(job: Job, verb: str) -> None:
    """Run a network on every input; print outputs, cycles and counters, and save the outputs.

    Parameters
    ----------
    verb: what has been done to the inferences, for the last line.
    """
    from systolith.compiler.choices import parse_choices
    from systolith.compiler.compile import compile_graph
    from systolith.importers import load_model
    from systolith.verify.samples import choose_samples, default_model

    choices = parse_choices(job.precision or (), job.weights or ())
    with reporting(job.quiet) as progress:
        imported = load_model(job.model or default_model(), job.against)
        graph = choices.applied(imported, job.spec.array)
        samples, _ = choose_samples(
            graph, job.inputs, None, 1 if job.trace is not None else job.count
        )
        progress("compiling", 0, 0)
        compiled = compile_graph(graph, job.spec)
        engine = _engine(job)
        if job.backend in _BUILT:
            progress("building the simulator (cached afterwards)", 0, 0)
        results, outputs = _run(compiled, engine, samples, progress)
    console = stdout()
    for name, values in outputs.items():
        for index, sample in enumerate(values):
            console.print(Text(f"input {index}: {name} = {_show(np.asarray(sample))}"))
    last = results[-1]
    if last.cycles:
        console.print(Text(f"cycles {last.cycles:,} an inference"))
        for name, value in last.counters.items():
            console.print(Text(f"  {name:20} {value:>12,}"))
    seconds = sum(result.seconds for result in results)
    console.print(Text(f"{verb} {len(results)} inferences in {seconds:.2f} s ({engine.name})"))
    if job.output is not None:
        write_files([(job.output, _npz(outputs))])
