"""``systolith simulate``."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.inference import Job, infer
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
)
from systolith.errors import InputError, ToolError

__all__ = ["simulate"]


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
    job = Job(
        model=model,
        spec=chosen,
        inputs=inputs,
        against=against,
        backend=backend,
        output=output,
        trace=trace,
        count=count,
        precision=precision,
        weights=weights,
        quiet=quiet,
    )
    infer(job, "simulated")
