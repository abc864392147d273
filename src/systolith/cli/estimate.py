"""``systolith estimate``."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from systolith.cli.build import chosen_spec
from systolith.cli.options import (
    Array,
    Preset,
    Quiet,
    Seed,
    SpecFile,
    check_writable,
    choose_spec,
    stdout,
    write_text,
)
from systolith.cli.progress import reporting
from systolith.constraints import Board, Family, load_board
from systolith.errors import BoardError
from systolith.spec.accelerator import AcceleratorSpec

if TYPE_CHECKING:
    from systolith.build.flow import BuildResult

__all__ = ["estimate"]

Progress = Callable[[str, int, int], None]


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


def _place(board: Board, spec: AcceleratorSpec, seed: int, progress: Progress) -> "BuildResult":
    """Place and route in a folder that is gone afterwards."""
    from systolith.build.accelerator import board_top
    from systolith.build.flow import build_bitstream

    with tempfile.TemporaryDirectory(prefix="systolith-") as folder:
        return build_bitstream(
            board_top(board, spec), board, Path(folder), seed=seed, progress=progress
        )


def _check(board: str | None, family: str | None, place: bool) -> None:
    """Require options that go together."""
    if board is not None and family is not None:
        raise BoardError("only one of --board and --family can be given")
    if place and board is None:
        raise BoardError("--place must have a --board: a family has parts of many sizes")
    kind = load_board(board).family if board is not None else None
    if kind is Family.ASIC:
        raise BoardError("the board asic has no resources to count: `systolith build asic`")
    if place and kind in (Family.XC7, Family.XCUP):
        raise BoardError(f"--place must have a board with an open place and route, not {board}")


def estimate(
    board: Annotated[str | None, typer.Option("--board", help="Board: see docs/boards.md.")] = None,
    family: Annotated[
        str | None, typer.Option("--family", help="Or: ecp5 (default), ice40, gowin, xc7, xcup.")
    ] = None,
    array: Array = None,
    spec: SpecFile = None,
    preset: Preset = None,
    place: Annotated[
        bool, typer.Option("--place", help="Place and route, too: minutes, and the real clock.")
    ] = False,
    seed: Seed = 1,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON; - for stdout.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Estimate what an accelerator takes of a part, per component, and its clock.

    Synthesised, not placed: the clock is told from the netlist, with typical wires. Exit status 5
    if it does not fit the board.
    """
    _check(board, family, place)
    if json is not None and str(json) != "-":
        check_writable(json.parent)
    from systolith.build.cache import cached_estimate
    from systolith.build.synthesis import check_capacity
    from systolith.report.build import estimate_json, print_build, print_estimate

    target = load_board(board) if board else None
    with reporting(quiet) as progress:
        progress("elaborating", 0, 2)
        rtlil, kind, chosen = _rtlil_and_family(board, family, (array, spec, preset))
        progress("synthesis (yosys)", 1, 2)
        found = cached_estimate(rtlil, kind)
        fits = target is not None and not found.total.excess(target.capacity)
        placed = _place(target, chosen, seed, progress) if place and target and fits else None
    if json is not None:
        write_text(json, estimate_json(found, chosen, target, placed))
    if str(json) != "-":
        print_estimate(found, chosen, target, stdout())
        if placed is not None:
            print_build(placed, chosen, stdout())
    if target is not None:
        check_capacity(found.total, target)
