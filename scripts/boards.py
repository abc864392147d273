"""The largest array that fits each board, and the inferences a second that it gives.

`scripts/boards.py fit` finds, by synthesis, the largest of a list of arrays that fits a board, the
rest of its accelerator as it is; `scripts/boards.py speed BOARD=report.json ...` multiplies
the cycles that the cycle model gives for networks with the clock of `systolith build` reports.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from systolith.build.accelerator import board_spec, board_top
from systolith.build.cache import cached_estimate
from systolith.build.estimate import Estimate
from systolith.compiler.compile import compile_graph
from systolith.constraints import Board, Family, board_names, load_board
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.importers import load_model
from systolith.sim.emit import to_rtlil
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_from_toml

ARRAYS = ((2, 2), (4, 2), (4, 4), (6, 6), (8, 8), (8, 12), (8, 16), (12, 12), (16, 16), (16, 32))
"""Rows and columns to try, in ascending order of elements."""


def with_array(spec: AcceleratorSpec, rows: int, columns: int) -> AcceleratorSpec:
    """Another array in the same accelerator; memories keep their size, as far as it divides."""
    lanes = max(n for n in range(1, spec.post.lanes + 1) if columns % n == 0)
    weights = spec.memory.weight_bytes // columns * columns
    channels = spec.memory.parameter_channels // lanes * lanes
    lines = min(spec.array.depthwise_lines, rows)
    line = max(2 ** (n - 1).bit_length() for n in (rows, lanes, 4))
    return replace(
        spec,
        array=replace(spec.array, rows=rows, columns=columns, depthwise_lines=lines),
        memory=replace(spec.memory, weight_bytes=weights, parameter_channels=channels),
        post=replace(spec.post, lanes=lanes),
        external=replace(spec.external, data_bytes=min(spec.external.data_bytes, line)),
    )


def takes(board: Board, spec: AcceleratorSpec) -> Estimate:
    """What an accelerator takes of a board's part."""
    chosen = board_spec(board, spec)
    return cached_estimate(to_rtlil(board_top(board, chosen), "top"), board.family)


def largest(board: Board, arrays: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], str] | None:
    """The largest array that fits, by bisection, and what the next one has too much of."""
    low, high, reason = -1, len(arrays), ""
    while high - low > 1:
        middle = (low + high) // 2
        found = takes(board, with_array(board.spec, *arrays[middle]))
        excess = found.total.excess(board.capacity)
        size = "x".join(map(str, arrays[middle]))
        print(f"{board.name} {size}: {found.total} {excess or 'fits'}", file=sys.stderr, flush=True)
        if excess:
            high = middle
            reason = f"{size}: " + ", ".join(
                f"{name} {used} of {there}" for name, (used, there) in excess.items()
            )
        else:
            low = middle
    return (arrays[low], reason) if low >= 0 else None


def fit(names: Sequence[str]) -> None:
    """Print the largest array of each board."""
    table = Table("board", "largest array", "the next does not fit for")
    for name in names:
        board = load_board(name)
        found = largest(board, ARRAYS)
        if found is None:
            table.add_row(name, "none", "")
        else:
            table.add_row(name, "x".join(map(str, found[0])), found[1])
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def cycles_of(model: Path, spec: AcceleratorSpec) -> int | str:
    """Cycles of an inference, by the cycle model, or why the network does not fit."""
    try:
        program = compile_graph(load_model(model), spec).program
    except CompileError as error:
        return str(error)
    return int(predict(program).counters["cycles"])


def speed(reports: Mapping[str, Path], models: Sequence[Path]) -> None:
    """Print inferences a second for builds, each with its specification beside its report."""
    table = Table("board", "array", "MHz", *(model.stem for model in models))
    for name, path in reports.items():
        report = json.loads(path.read_text())
        spec = spec_from_toml(path.with_name("spec.toml").read_text())
        cells = []
        for model in models:
            cycles = cycles_of(model, spec)
            if isinstance(cycles, str):
                print(f"{name}, {model.stem}: {cycles}", file=sys.stderr)
                cells.append("does not fit")
            else:
                cells.append(f"{report['core_mhz'] * 1e6 / cycles:,.0f}/s ({cycles:,} cycles)")
        array = "x".join(map(str, report["array"]))
        table.add_row(name, array, f"{report['core_mhz']:g}", *cells)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    boards = [name for name in board_names() if load_board(name).family is not Family.ASIC]
    one = commands.add_parser("fit", help="largest arrays")
    one.add_argument("boards", nargs="*", default=boards)
    two = commands.add_parser("speed", help="inferences a second")
    two.add_argument("reports", nargs="+", help="BOARD=REPORT.json of a build")
    two.add_argument("--models", nargs="+", type=Path, required=True, help="networks")
    options = parser.parse_args(arguments)
    if options.command == "fit":
        fit(options.boards)
    else:
        pairs = dict(text.split("=", 1) for text in options.reports)
        speed({name: Path(path) for name, path in pairs.items()}, options.models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
