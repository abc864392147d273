"""The largest array that fits each board, and the inferences a second that it gives.

`scripts/boards.py fit` finds, by synthesis, the largest array of each board and the cycle model's
cycles for networks; `scripts/boards.py speed BOARD=report.json ...` multiplies the cycles with the
clock of `systolith build` reports.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from systolith.build.accelerator import board_spec, board_top
from systolith.build.cache import cached_estimate
from systolith.build.clock import speed_factor
from systolith.build.estimate import Estimate
from systolith.build.families import FAMILIES, RESOURCES
from systolith.build.largest import Search, largest_array
from systolith.compiler.compile import compile_graph
from systolith.constraints import Board, Family, board_names, load_board
from systolith.cycles import predict
from systolith.errors import CompileError
from systolith.importers import load_model
from systolith.sim.emit import to_rtlil
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import spec_from_toml, spec_to_toml

BLOCK_BITS = {
    Family.ECP5: 16384,
    Family.ICE40: 4096,
    Family.GOWIN: 16384,
    Family.XC7: 32768,
    Family.XCUP: 32768,
}
"""Bits of a block memory, without those of parity."""
PIPELINED = 1
"""`multiplier_stages` of every array: its registers are in the multiplier blocks."""


def say(text: str) -> None:
    """Print progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def search(board: Board, known: dict[AcceleratorSpec, Estimate]) -> Search:
    """Find the largest array of a board, given what was synthesised for its family before."""
    stages = max(PIPELINED, board.spec.array.multiplier_stages)
    base = replace(
        board.spec, array=replace(board.spec.array, pipelined=True, multiplier_stages=stages)
    )

    def takes(spec: AcceleratorSpec) -> Estimate:
        size = f"{spec.array.rows}x{spec.array.columns}, {spec.post.lanes} lanes"
        say(f"{board.name}: synthesising {size}, {spec.memory.weight_bytes} bytes of weights")
        chosen = board_spec(board, spec)
        found = cached_estimate(to_rtlil(board_top(board, chosen), "top"), board.family)
        excess = found.total.excess(board.capacity)
        say(f"{board.name}: {size}: {found.total} {excess or 'fits'}")
        return found

    return largest_array(base, board.capacity, takes, BLOCK_BITS[board.family], known)


def record(board: Board, found: Search, models: Sequence[Path]) -> dict[str, Any]:
    """What was found, as values of JSON, with the cycles of networks."""
    names = FAMILIES[board.family].names
    if found.spec is None:
        return {"board": board.name, "array": None, "syntheses": found.syntheses}
    spec = board_spec(board, found.spec)
    clock = None
    if found.clock is not None:
        clock = round(found.clock.mhz(speed_factor(board.family, board.part.speed)), 1)
    return {
        "board": board.name,
        "array": [spec.array.rows, spec.array.columns],
        "lanes": spec.post.lanes,
        "activation_bytes": spec.activation_total,
        "weight_bytes": spec.memory.weight_bytes,
        "takes": {
            names[n]: [getattr(found.resources, n), getattr(board.capacity, n)]
            for n in RESOURCES
            if n in names
        },
        "most_elements": list(found.most),
        "next_array": list(found.next_array),
        "limit": {names[n]: list(pair) for n, pair in found.limit.items()},
        "estimated_mhz": clock,
        "syntheses": found.syntheses,
        "cycles": {model.stem: cycles_of(model, spec) for model in models},
        "spec": spec_to_toml(spec),
    }


def fit(names: Sequence[str], models: Sequence[Path], path: Path | None) -> None:
    """Print the largest array of each board, and write the file."""
    searches: dict[object, Search] = {}  # boards of one kind have one answer
    known: dict[Family, dict[AcceleratorSpec, Estimate]] = {}
    records = []
    for name in names:
        board = load_board(name)
        key = (board.family, board.capacity, board.host, board.spec)
        if key not in searches:
            searches[key] = search(board, known.setdefault(board.family, {}))
        records.append(record(board, searches[key], models))
        if path is not None:
            path.write_text(json.dumps(records, indent=2) + "\n")
    networks = [model.stem for model in models]
    table = Table("board", "array", "lanes", "takes", "most elements", "limit", *networks)
    for r in records:
        if r["array"] is None:
            table.add_row(r["board"], "none")
            continue
        used = ", ".join(f"{n} {a:,.0f} of {b:,}" for n, (a, b) in r["takes"].items() if b)
        wide = "x".join(map(str, r["next_array"]))
        why = ", ".join(f"{n} {a:,} of {b:,}" for n, (a, b) in r["limit"].items())
        cycles = [c if isinstance(c, str) else f"{c:,}" for c in r["cycles"].values()]
        size = "x".join(map(str, r["array"]))
        most = "x".join(map(str, r["most_elements"]))
        table.add_row(r["board"], size, str(r["lanes"]), used, most, f"{wide}: {why}", *cycles)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


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
                say(f"{name}, {model.stem}: {cycles}")
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
    one.add_argument("--models", nargs="+", type=Path, default=[], help="networks")
    one.add_argument("--json", type=Path, help="write the result to this file, too")
    two = commands.add_parser("speed", help="inferences a second")
    two.add_argument("reports", nargs="+", help="BOARD=REPORT.json of a build")
    two.add_argument("--models", nargs="+", type=Path, required=True, help="networks")
    options = parser.parse_args(arguments)
    if options.command == "fit":
        fit(options.boards, options.models, options.json)
    else:
        pairs = dict(text.split("=", 1) for text in options.reports)
        speed({name: Path(path) for name, path in pairs.items()}, options.models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
