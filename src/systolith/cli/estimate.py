"""``systolith estimate``."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.build import chosen_spec
from systolith.cli.options import Array, Preset, Quiet, SpecFile, choose_spec, stdout, write_text
from systolith.cli.progress import reporting
from systolith.constraints import Family, load_board
from systolith.errors import BoardError
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["estimate"]


def _rtlil_and_family(
    board: str | None, family: str | None, options: tuple[str | None, Path | None, str | None]
) -> tuple[str, Family, AcceleratorSpec]:
    """The design to estimate."""
    from systolith.build.accelerator import TECHNOLOGIES, board_spec, board_top
    from systolith.hw.board import BoardTop
    from systolith.sim.emit import to_rtlil

    if board is not None:
        chosen = load_board(board)
        spec = board_spec(chosen, chosen_spec(chosen, *options))
        return to_rtlil(board_top(chosen, spec), "top"), chosen.family, spec
    kinds = [kind for kind in Family if kind is not Family.ASIC]
    if family is not None and family not in kinds:
        raise BoardError(f"--family must be one of {', '.join(kinds)}, not {family!r}")
    kind = Family(family or Family.ECP5)
    spec = choose_spec(*options)
    return to_rtlil(BoardTop(spec, technology=TECHNOLOGIES[kind]), "top"), kind, spec


def estimate(
    board: Annotated[str | None, typer.Option("--board", help="Board: see docs/boards.md.")] = None,
    family: Annotated[
        str | None, typer.Option("--family", help="Or: ecp5 (default), ice40, gowin, xc7, xcup.")
    ] = None,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON; - for stdout.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Estimate what an accelerator takes of a part, per component.

    Synthesised, not placed: for the clock, `systolith build` places it. Exit status 5 if it does
    not fit the board.
    """
    if board is not None and family is not None:
        raise BoardError("only one of --board and --family can be given")
    if board is not None and load_board(board).family is Family.ASIC:
        raise BoardError("the board asic has no resources to count: `systolith build asic`")
    from systolith.build.cache import cached_estimate
    from systolith.build.synthesis import check_capacity
    from systolith.report.build import estimate_json, print_estimate

    with reporting(quiet) as progress:
        progress("elaborating", 0, 2)
        rtlil, kind, chosen = _rtlil_and_family(board, family, (array, spec, preset))
        progress("synthesis (yosys)", 1, 2)
        found = cached_estimate(rtlil, kind)
    target = load_board(board) if board else None
    if json is not None:
        write_text(json, estimate_json(found, chosen, target))
    if str(json) != "-":
        print_estimate(found, chosen, target, stdout())
    if target is not None:
        check_capacity(found.total, target)
