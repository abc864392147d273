"""``systolith compile``."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from systolith.cli.options import (
    Against,
    Array,
    Model,
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
from systolith.report.tables import clip, make_table, number, percent, shape_text

if TYPE_CHECKING:  # the compiler takes long to import
    from systolith.compiler.compile import CompiledModel
    from systolith.report.usage import MemoryUse, TensorPlace

__all__ = ["compile_model"]


def _memories(uses: Iterable["MemoryUse"]) -> Table:
    columns = [
        ("memory", False),
        ("used", True),
        ("lower bound", True),
        ("of", True),
        ("share", True),
        ("unit", False),
    ]
    rows = [
        [
            use.name,
            number(use.used),
            "" if use.bound is None else number(use.bound),
            number(use.available),
            percent(use.used / use.available if use.available else None),
            use.unit,
        ]
        for use in uses
    ]
    return make_table(columns, rows)


def _map(places: Iterable["TensorPlace"]) -> Table:
    columns = [
        ("tensor", False),
        ("region", True),
        ("address", True),
        ("shape", False),
        ("row stride", True),
        ("pixel stride", True),
    ]
    rows = [
        [
            clip(place.name, 36),
            str(place.region),
            f"0x{place.address:06X}",
            shape_text(place.shape),
            str(place.strides[0]),
            str(place.strides[1]),
        ]
        for place in places
    ]
    return make_table(columns, rows)


def _deploy(compiled: "CompiledModel", folder: Path) -> None:
    """Write what drivers load, and say what the caller has to compute."""
    from systolith.report.deploy import deployed_network, model_files

    files = model_files(compiled)
    write_files((folder / name, data) for name, data in files.items())
    console = stdout()
    console.print(Text(f"wrote {len(files)} files for drivers to {folder}"))
    for step in deployed_network(compiled).steps:
        if not step.native:
            console.print(Text(f"note: the drivers leave {step.op} {step.name!r} to their caller"))


def compile_model(
    model: Model,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    against: Against = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the program, e.g. program.bin.")
    ] = None,
    precision: Precisions = None,
    weights: WeightFormats = None,
    deploy: Annotated[
        Path | None,
        typer.Option("--deploy", help="Write the network for drivers into this folder."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compile a network for an accelerator; show its use of every memory and the memory map."""
    chosen = choose_spec(array, spec, preset)
    from systolith.compiler.choices import parse_choices
    from systolith.compiler.compile import compile_graph
    from systolith.importers import load_model
    from systolith.report.usage import memory_use, tensor_places

    choices = parse_choices(precision or (), weights or ())
    with reporting(quiet) as progress:
        progress("reading the model", 0, 0)
        graph = choices.applied(load_model(model, against), chosen.array)
        compiled = compile_graph(
            graph, chosen, progress=lambda text: progress(f"compiling {text}", 0, 0)
        )
    console = stdout()
    console.print(_memories(memory_use(compiled)))
    console.print(_map(tensor_places(compiled)))
    for node in (*compiled.prologue, *compiled.epilogue):
        console.print(Text(f"note: {node.op} {node.name!r} runs on the host"))
    if compiled.weights:
        console.print(Text(f"note: {compiled.weights_note}"))
    if output is not None:
        data = compiled.program.to_bytes()
        write_files([(output, data)])
        console.print(Text(f"wrote {output} ({len(data):,} bytes)"))
    if deploy is not None:
        _deploy(compiled, deploy)
