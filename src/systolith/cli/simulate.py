"""``systolith simulate``."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from systolith.cli.options import (
    Against,
    Array,
    BackendName,
    Count,
    Inputs,
    OptionalModel,
    Precisions,
    Preset,
    Quiet,
    SpecFile,
    WeightFormats,
    choose_spec,
    stdout,
    write_files,
)
from systolith.cli.progress import reporting
from systolith.errors import InputError, ToolError

__all__ = ["simulate"]

_SHOWN = 8


def _check_trace(trace: Path, backend: str, count: int | None) -> None:
    """Refuse what cannot be traced before anything is built.

    Raises
    ------
    InputError: a trace of another kind of file, backend or number of inferences.
    ToolError: FST needs libraries that are missing.
    """
    if trace.suffix not in (".fst", ".vcd"):
        raise InputError(f"trace must be a .fst or .vcd file, not {str(trace)!r}")
    if (count or 1) != 1:
        raise InputError(f"a trace holds one inference: count must be 1, not {count}")
    if backend != "verilator" or trace.suffix == ".vcd":
        return
    from systolith.sim.toolchain import find_compiler, has_header

    for header, package in (("lz4.h", "liblz4-dev"), ("zlib.h", "zlib1g-dev")):
        if not has_header(find_compiler(), header):
            raise ToolError(
                f"FST waveforms need {header}: `apt-get install {package}`, or give a .vcd file"
            )


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


def simulate(
    model: OptionalModel = None,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    inputs: Inputs = None,
    against: Against = None,
    backend: BackendName = "verilator",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the outputs as .npz.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Waveforms of one inference, .fst or .vcd.")
    ] = None,
    count: Count = None,
    precision: Precisions = None,
    weights: WeightFormats = None,
    quiet: Quiet = False,
) -> None:
    """Run a network on the accelerator; print outputs, cycles and counters."""
    chosen = choose_spec(array, spec, preset)
    if trace is not None:
        _check_trace(trace, backend, count)
    from systolith.compiler.choices import parse_choices
    from systolith.compiler.compile import compile_graph
    from systolith.importers import load_model
    from systolith.sim.backends import get_backend
    from systolith.verify.samples import choose_samples, default_model

    choices = parse_choices(precision or (), weights or ())
    with reporting(quiet) as progress:
        graph = choices.applied(load_model(model or default_model(), against), chosen.array)
        samples, _ = choose_samples(graph, inputs, None, 1 if trace is not None else count)
        progress("compiling", 0, 0)
        compiled = compile_graph(graph, chosen)
        engine = get_backend(backend, trace=trace)
        if backend.startswith("verilator"):
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
    console.print(Text(f"simulated {len(results)} inferences in {seconds:.2f} s ({engine.name})"))
    if output is not None:
        write_files([(output, _npz(outputs))])
