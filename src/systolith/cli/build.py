"""``systolith build``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from systolith.cli.options import (
    Array,
    Preset,
    Quiet,
    Seed,
    SpecFile,
    check_writable,
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
    seed: Seed = 1,
    liberty: Annotated[
        Path | None, typer.Option("--liberty", help="Board asic: liberty file of the cells.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the result as JSON, too; - for stdout.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Build a board's bitstream: synthesis, place and route, timing.

    For Xilinx boards: resources by yosys, and a Vivado project. For asic: area and delay by yosys.

    Exit status 4: no such board, 5: it does not fit, 6: timing is not met, 7: a tool is missing.
    """
    chosen = load_board(board)
    _check_liberty(chosen, liberty)
    from systolith.build.accelerator import board_spec

    options = _Options(
        board=chosen,
        spec=board_spec(chosen, chosen_spec(chosen, array, spec, preset), frequency),
        folder=output or Path(chosen.name),
        frequency=frequency,
        seed=seed,
        liberty=liberty,
        json=json,
        quiet=quiet,
    )
    check_writable(options.folder)
    if json is not None and str(json) != "-":
        check_writable(json.parent)
    flows = {Family.ASIC: _asic, Family.XC7: _vivado, Family.XCUP: _vivado}
    flows.get(chosen.family, _bitstream)(options)


def _check_liberty(board: Board, liberty: Path | None) -> None:
    if board.family is Family.ASIC and liberty is None:
        raise BoardError("--liberty must name a liberty file for the board asic, not nothing")
    if board.family is not Family.ASIC and liberty is not None:
        raise BoardError(f"--liberty must be given for the board asic only, not for {board.name}")


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What every kind of build needs."""

    board: Board
    spec: AcceleratorSpec
    folder: Path
    frequency: float | None
    seed: int
    liberty: Path | None
    json: Path | None
    quiet: bool

    def finish(self, files: Mapping[str, str], show: Callable[[Console], None]) -> None:
        """Write the files, `report.json` among them, and show the result if stdout is free."""
        texts = {"spec.toml": spec_to_toml(self.spec), **files}
        write_files((self.folder / name, text.encode()) for name, text in texts.items())
        if self.json is not None:
            write_text(self.json, files["report.json"])
        if str(self.json) != "-":
            show(stdout())

    def say(self, text: str) -> None:
        """Print a line, unless JSON goes to stdout."""
        if str(self.json) != "-":
            stdout().print(Text(text))


def _bitstream(options: _Options) -> None:
    from systolith.build.accelerator import board_top
    from systolith.build.flow import build_bitstream, check_timing
    from systolith.report.build import build_json, print_build

    board, spec = options.board, options.spec
    with reporting(options.quiet) as progress:
        result = build_bitstream(
            board_top(board, spec),
            board,
            options.folder,
            frequency=options.frequency,
            seed=options.seed,
            progress=progress,
        )
    text = build_json(result, spec)
    options.finish({"report.json": text}, lambda console: print_build(result, spec, console))
    check_timing(board, result.timing)
    options.say(f"load it with: {board.program.format(bitstream=result.bitstream)}")


def _vivado(options: _Options) -> None:
    from systolith.build.accelerator import board_top
    from systolith.build.cache import cached_estimate
    from systolith.build.synthesis import check_capacity
    from systolith.build.vivado import project_files
    from systolith.report.build import estimate_json, print_estimate
    from systolith.sim.emit import to_rtlil

    board, spec = options.board, options.spec
    with reporting(options.quiet) as progress:
        progress("writing the project", 0, 2)
        files = project_files(board, spec)
        progress("synthesis (yosys)", 1, 2)
        found = cached_estimate(to_rtlil(board_top(board, spec), "top"), board.family)
    files["report.json"] = estimate_json(found, spec, board)
    options.finish(files, lambda console: print_estimate(found, spec, board, console))
    check_capacity(found.total, board)
    options.say(
        f"resources are yosys' figures; the bitstream needs Vivado, which was not run: "
        f"cd {options.folder} && vivado -mode batch -source create_project.tcl"
    )


def _asic(options: _Options) -> None:
    from systolith.build.accelerator import board_top, core_frequency
    from systolith.build.asic import liberty_cells, sdc, synthesise_cells
    from systolith.errors import TimingError
    from systolith.report.asic import asic_json, macro_list, print_asic
    from systolith.sim.emit import readable_verilog, to_rtlil

    board, spec = options.board, options.spec
    period = 1e3 / core_frequency(board, options.frequency)
    assert options.liberty is not None
    liberty_cells(options.liberty)  # a wrong file is found before anything takes time
    top = board_top(board, spec)
    with reporting(options.quiet) as progress:
        progress("synthesis (yosys, abc)", 0, 1)
        result = synthesise_cells(to_rtlil(top, "top"), options.liberty, period)
    files = {
        f"{spec.name}.sv": readable_verilog(board_top(board, spec), spec.name),
        "cells.v": result.netlist,
        "constraints.sdc": sdc(board.pin_file.read_text(encoding="utf-8"), period),
        "macros.md": macro_list(result),
        "yosys.log": result.log,
        "report.json": asic_json(result, spec, period),
    }
    options.finish(files, lambda console: print_asic(result, spec, period, console))
    if result.delay_ns > period:
        raise TimingError(
            f"timing is not met: gates alone take {result.delay_ns:.2f} ns of {period:.2f}: "
            f"ask for --frequency {int(1e3 / result.delay_ns)} or less"
        )
