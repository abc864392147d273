"""``systolith verify``."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.engine import BoardOption, Frequency, choose_board, engine_of
from systolith.cli.guard import MISMATCH
from systolith.cli.options import (
    Against,
    Array,
    BackendName,
    Count,
    Inputs,
    JsonFile,
    OptionalModel,
    Precisions,
    Preset,
    Quiet,
    SpecFile,
    WeightFormats,
    stdout,
    write_text,
)
from systolith.cli.progress import loading, reporting
from systolith.errors import InputError

__all__ = ["verify"]


def verify(
    model: OptionalModel = None,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    inputs: Inputs = None,
    against: Against = None,
    backend: BackendName = "verilator",
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help=".npz of tensors computed earlier, compared as well."),
    ] = None,
    json: JsonFile = None,
    board: BoardOption = None,
    frequency: Frequency = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write the report as JUnit XML; - for stdout.")
    ] = None,
    count: Count = None,
    precision: Precisions = None,
    weights: WeightFormats = None,
    quiet: Quiet = False,
) -> None:
    """Run a network in hardware and in its software runtime and compare every tensor.

    Without --inputs they come from --reference, from MODEL's name with .npz, or are random.
    Exit status 1 if a value differs.
    """
    target, chosen = choose_board(board, frequency, array, spec, preset)
    if str(json) == str(junit) == "-":
        raise InputError("only one of --json and --junit can go to stdout")
    # Imported here, as in all commands: simulators and runtimes take a second to import.
    from systolith.compiler.choices import parse_choices
    from systolith.report.machine import report_json, report_junit
    from systolith.report.verification import print_report
    from systolith.verify import verify_model

    choices = parse_choices(precision or (), weights or ())
    with reporting(quiet) as progress:
        report = verify_model(
            model,
            chosen,
            inputs=inputs,
            against=against,
            backend=engine_of(backend, target, frequency, on_load=loading(progress)),
            reference=reference,
            count=count,
            choices=choices,
            progress=progress,
        )
    if str(json) != "-" and str(junit) != "-":
        print_report(report, stdout())
    if json is not None:
        write_text(json, report_json(report))
    if junit is not None:
        write_text(junit, report_junit(report))
    if not report.ok:
        raise typer.Exit(MISMATCH)
