"""``systolith fit``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from systolith.cli.options import (
    Against,
    Array,
    JsonFile,
    OptionalModel,
    Preset,
    Quiet,
    SpecFile,
    choose_spec,
    stdout,
    write_text,
)
from systolith.cli.progress import reporting
from systolith.errors import InputError

__all__ = ["fit"]


def fit(
    model: OptionalModel = None,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    against: Against = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the specification as TOML; - for stdout."),
    ] = None,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Find the smallest requantizer that is exact for a network, and the specification with it.

    For every layer and channel: the narrowest multiplier with which a mode equals the runtime's
    formula on every reachable accumulator.
    """
    chosen = choose_spec(array, spec, preset)
    if str(json) == str(output) == "-":
        raise InputError("only one of --json and --output can go to stdout")
    from systolith.compiler.fit_network import fit_network
    from systolith.importers import load_model
    from systolith.report.fit import fit_json, print_fit
    from systolith.spec.configuration import spec_to_toml
    from systolith.verify.samples import default_model

    with reporting(quiet) as progress:
        progress("reading the model", 0, 0)
        graph = load_model(default_model() if model is None else model, against)
        found = fit_network(
            graph, chosen.post, softmax_tables=chosen.post.softmax_tables, progress=progress
        )
    fitted = replace(chosen, post=found.post)
    if "-" not in (str(json), str(output)):
        print_fit(found, stdout())
    if json is not None:
        name = "embedded network" if model is None else model.name
        write_text(json, fit_json(found, fitted, model=name, profile=graph.profile))
    if output is not None:
        write_text(output, spec_to_toml(fitted))
        if "-" not in (str(json), str(output)):
            stdout().print(Text(f"wrote {output}"))
