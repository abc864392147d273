"""Options that several commands share."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from systolith.errors import SpecError, ToolError
from systolith.report.tables import WIDTH
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import PRESETS, load_spec, preset_for_array, spec_from_toml

__all__ = [
    "Against",
    "Array",
    "BackendName",
    "Count",
    "Inputs",
    "JsonFile",
    "Model",
    "OptionalModel",
    "Precisions",
    "Preset",
    "Quiet",
    "Seed",
    "SpecFile",
    "WeightFormats",
    "check_writable",
    "choose_spec",
    "stdout",
    "write_text",
]

Model = Annotated[Path, typer.Argument(help="Quantized network: .tflite, .onnx, .pt or .pt2.")]
OptionalModel = Annotated[
    Path | None,
    typer.Argument(
        help="Quantized network: .tflite, .onnx, .pt or .pt2; without one the embedded network."
    ),
]
Array = Annotated[
    str | None, typer.Option("--array", help="Array as ROWSxCOLUMNS, e.g. 8x16; the rest as base.")
]
SpecFile = Annotated[
    Path | None, typer.Option("--spec", help="Accelerator specification, a TOML file.")
]
Preset = Annotated[
    str | None, typer.Option("--preset", help=f"One of {', '.join(PRESETS)} (default base).")
]
Inputs = Annotated[
    Path | None,
    typer.Option("--inputs", help=".npy or .npz of inputs [N, ...] in the runtime's layout."),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        help="Runtime: tflite-reference, tflite-xnnpack, tflm, onnxruntime, qonnx, torch-x86, "
        "torch-qnnpack or torch-export.",
    ),
]
BackendName = Annotated[
    str,
    typer.Option(
        "--backend",
        help="verilator, verilator-fast (array as an equal model), pysim, golden, registers (all "
        "through the control slave), uart-sim[@BAUD] (a board's design at its serial pins, on the "
        "fastest line unless a rate is named) or uart:PORT[@BAUD] (a board).",
    ),
]
Count = Annotated[int | None, typer.Option("--count", help="Use only that many inputs.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the result as JSON; - for stdout.")
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        help="LAYER=w8a8, w4a8 or w4a4, as often as needed; without LAYER= what all others may be.",
    ),
]
WeightFormats = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="LAYER=FORMAT of its weights (dense, int4, log2, codebook, bitmap, two_of_four), as "
        "often as needed; without LAYER= what all others may have.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of placement.", min=0, max=2**31 - 1)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


def _array_spec(text: str) -> AcceleratorSpec:
    rows, cross, columns = text.lower().partition("x")
    if not (cross and rows.isdecimal() and columns.isdecimal()):
        raise SpecError(f"array must be ROWSxCOLUMNS, such as 16x16, not {text!r}")
    return preset_for_array(int(rows), int(columns))


def choose_spec(array: str | None, spec: Path | None, preset: str | None) -> AcceleratorSpec:
    """Return the accelerator of the three options, of which one at most may be given.

    Raises
    ------
    SpecError: more than one is given, or it names or holds no valid accelerator.
    """
    given = [value for value in (array, spec, preset) if value is not None]
    if len(given) > 1:
        raise SpecError("only one of --array, --spec and --preset can be given")
    try:
        if array is not None:
            return _array_spec(array)
        if spec is not None:
            return spec_from_toml(spec.read_text(encoding="utf-8"))
        if preset is not None and preset not in PRESETS:
            raise SpecError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        return load_spec(preset or "base")
    except OSError as error:
        raise SpecError(f"cannot read {str(spec)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise SpecError(f"{spec}: specification must be text in UTF-8") from None
    except (ValueError, TypeError) as error:
        if isinstance(error, SpecError):
            raise
        where = f"{spec.name}: " if spec is not None else ""
        raise SpecError(f"{where}{error}") from error


def stdout() -> Console:
    """Return the console of results: at least as wide as every table, without colour in a pipe."""
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal or console.width < WIDTH:
        console.width = WIDTH
    return console


def write_text(path: Path, text: str) -> None:
    """Write a file, or stdout for ``-``.

    Raises
    ------
    ToolError: it cannot be written.
    """
    if str(path) == "-":
        typer.echo(text, nl=False)
        return
    write_files([(path, text.encode())])


def check_writable(path: Path) -> None:
    """Require that files can be made in a folder, which need not be there yet.

    Raises
    ------
    ToolError: it, or the nearest folder above it that is there, is none, or may not be written.
    """
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise ToolError(f"cannot write {str(path)!r}: {str(there)!r} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ToolError(f"cannot write {str(path)!r}: no permission for {str(there)!r}")


def write_files(items: Iterable[tuple[Path, bytes]]) -> None:
    """Write files, making their folders.

    Raises
    ------
    ToolError: one cannot be written.
    """
    for path, data in items:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise ToolError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
