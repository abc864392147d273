"""``systolith compile``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from systolith.cli.options import (
    Against,
    Array,
    Model,
    Preset,
    Quiet,
    SpecFile,
    choose_spec,
    stdout,
    write_files,
)
from systolith.cli.progress import reporting
from systolith.report.tables import clip, make_table, percent, shape_text

__all__ = ["compile_model"]


def compile_model(
    model: Model,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    against: Against = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the program, e.g. program.bin.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compile a network for an accelerator; show its use of every memory and the memory map."""
    chosen = choose_spec(array, spec, preset)
    from systolith.compiler.compile import compile_graph
    from systolith.importers import load_model
    from systolith.report.usage import memory_use, tensor_places

    with reporting(quiet) as progress:
        progress("reading the model", 0, 0)
        graph = load_model(model, against)
        compiled = compile_graph(
            graph, chosen, progress=lambda text: progress(f"compiling {text}", 0, 0)
        )
    console = stdout()
    console.print(
        make_table(
            [("memory", False), ("used", True), ("of", True), ("share", True), ("unit", False)],
            [
                [m.name, f"{m.used:,}", f"{m.available:,}", percent(_share(m)), m.unit]
                for m in memory_use(compiled)
            ],
        )
    )
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
            clip(p.name, 36),
            str(p.region),
            f"0x{p.address:06X}",
            shape_text(p.shape),
            str(p.strides[0]),
            str(p.strides[1]),
        ]
        for p in tensor_places(compiled)
    ]
    console.print(make_table(columns, rows))
    for node in (*compiled.prologue, *compiled.epilogue):
        console.print(Text(f"note: {node.op} {node.name!r} runs on the host"))
    if output is not None:
        data = compiled.program.to_bytes()
        write_files([(output, data)])
        console.print(Text(f"wrote {output} ({len(data):,} bytes)"))


def _share(use: object) -> float | None:
    used, available = getattr(use, "used", 0), getattr(use, "available", 0)
    return used / available if available else None
