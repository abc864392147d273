"""``systolith run``."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.engine import BoardOption, Frequency, choose_board
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
    board: BoardOption = None,
    frequency: Frequency = None,
    check: Annotated[
        bool,
        typer.Option("--check/--no-check", help="Compare every output with the golden model's."),
    ] = True,
    count: Count = None,
    precision: Precisions = None,
    weights: WeightFormats = None,
    quiet: Quiet = False,
) -> None:
    """Run a network on a board, or on any other backend, as a host does: load once, run each input.

    The specification must be that of the board's bitstream; the accelerator is asked for its own.
    Exit status 1 if a value differs from golden's.
    """
    chosen, accelerator = choose_board(board, frequency, array, spec, preset)
    job = Job(
        model=model,
        spec=accelerator,
        inputs=inputs,
        against=against,
        backend=backend,
        board=chosen,
        frequency=frequency,
        check=check,
        output=output,
        count=count,
        precision=precision,
        weights=weights,
        quiet=quiet,
    )
    infer(job, "ran")
