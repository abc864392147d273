"""``systolith build``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from systolith.cli.options import (
    Array,
    Preset,
    Quiet,
    SpecFile,
    choose_spec,
    stdout,
    write_files,
    write_text,
)
from systolith.cli.progress import reporting
from systolith.constraints import Board, Family, load_board
from systolith.errors import BoardError
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_to_toml

__all__ = ["BoardName", "build", "chosen_spec"]

BoardName = Annotated[str, typer.Argument(metavar="BOARD", help="Board: see docs/boards.md.")]


def chosen_spec(
    board: Board, array: str | None, spec: Path | None, preset: str | None
) -> AcceleratorSpec:
    """Return the accelerator of the options, or the board's own."""
    if array is None and spec is None and preset is None:
        return board.spec
    return choose_spec(array, spec, preset)


def build(
    board: BoardName,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the files (default: BOARD).")
    ] = None,
    frequency: Annotated[
        float | None, typer.Option("--frequency", help="Clock of the accelerator in MHz.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of placement.")] = 1,
    liberty: Annotated[
        Path | None, typer.Option("--liberty", help="Board asic: liberty file of the cells.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON, too; - for stdout.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Build a board's bitstream: synthesis, place and route, timing.

    For Xilinx boards: resources by yosys, and a Vivado project. For asic: area and delay by yosys
    with --liberty. Exit status 4: no such board, 5: it does not fit, 6: timing is not met, 7: a
    tool is missing.
    """
    chosen = load_board(board)
    accelerator = chosen_spec(chosen, array, spec, preset)
    folder = output or Path(chosen.name)
    if (liberty is not None) != (chosen.family is Family.ASIC):
        raise BoardError(
            f"--liberty must be given for the board asic and for no other, and {board!r} "
            + ("has none" if liberty is None else "is another")
        )
    if chosen.family is Family.ASIC:
        assert liberty is not None
        _asic(chosen, accelerator, folder, frequency, liberty, json, quiet)
    elif chosen.family in (Family.XC7, Family.XCUP):
        _vivado(chosen, accelerator, folder, frequency, json, quiet)
    else:
        _bitstream(chosen, accelerator, folder, frequency, seed, json, quiet)


def _bitstream(
    board: Board,
    accelerator: AcceleratorSpec,
    folder: Path,
    frequency: float | None,
    seed: int,
    json: Path | None,
    quiet: bool,
) -> None:
    from systolith.build.accelerator import board_spec, board_top
    from systolith.build.flow import build_bitstream, check_timing
    from systolith.report.build import build_json, print_build

    spec = board_spec(board, accelerator, frequency)
    with reporting(quiet) as progress:
        result = build_bitstream(
            board_top(board, spec), board, folder, frequency=frequency, seed=seed, progress=progress
        )
    text = build_json(result, spec)
    write_files([
        (folder / "spec.toml", spec_to_toml(spec).encode()),
        (folder / "report.json", text.encode()),
    ])  # fmt: skip
    if json is not None:
        write_text(json, text)
    if str(json) != "-":
        print_build(result, spec, stdout())
    check_timing(board, result.timing)
    if str(json) != "-":
        stdout().print(Text(f"wrote {result.bitstream}; load it with: {_load(board, result)}"))


def _load(board: Board, result: object) -> str:
    return board.program.format(bitstream=getattr(result, "bitstream", ""))
