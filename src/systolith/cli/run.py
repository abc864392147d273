"""``systolith run``."""

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

__all__ = ["run"]


def run(
    model: OptionalModel = None,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    inputs: Inputs = None,
    against: Against = None,
    backend: BackendName = "uart-sim",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Save the outputs as .npz.")
    ] = None,
    count: Count = None,
    precision: Precisions = None,
    weights: WeightFormats = None,
    quiet: Quiet = False,
) -> None:
    """Run a network on a board, or on any other backend, as a host does: load once, run each input.

    The specification must be that of the board's bitstream; the accelerator is asked for its own.
    """
    job = Job(
        model=model,
        spec=choose_spec(array, spec, preset),
        inputs=inputs,
        against=against,
        backend=backend,
        output=output,
        count=count,
        precision=precision,
        weights=weights,
        quiet=quiet,
    )
    infer(job, "ran")
