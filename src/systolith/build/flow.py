"""A build: from a design and a board to a bitstream, with everything on the way in a folder."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path

from amaranth.lib.wiring import Component

from systolith.build.families import Resources
from systolith.build.routes import NETLIST, REPORT, ROUTES, Route
from systolith.build.shell import board_shell, shell_rtlil
from systolith.build.synthesis import check_capacity, synthesise
from systolith.build.timing import Timing, read_timing
from systolith.build.tools import find_tool, run_logged
from systolith.constraints import Board
from systolith.constraints.pin_files import PIN_FORMATS, keep_ports
from systolith.errors import BoardError, CapacityError, TimingError, ToolError

__all__ = ["BuildResult", "build_bitstream", "check_timing"]

Progress = Callable[[str, int, int], None]
STEPS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """What a build made.

    Parameters
    ----------
    board, core_mhz, seed: what was asked; `core_mhz` is what the PLL makes.
    resources: of the synthesised netlist.
    used: the part's sites that the placed design takes, and how many there are, by kind.
    timing: after routing.
    bitstream: the file, or None if timing is not met.
    rtlil_sha256: digest of the RTLIL that was synthesised.
    """

    board: Board
    core_mhz: float
    seed: int
    resources: Resources
    used: dict[str, tuple[int, int]]
    timing: Timing
    bitstream: Path | None
    rtlil_sha256: str


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ToolError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def _clear(folder: Path, names: Iterable[str]) -> None:
    """Remove what an earlier build left, so that nobody takes it for this one's."""
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise ToolError(f"cannot replace {str(folder / name)!r}: {error.strerror}") from error


def _run(name: str, arguments: list[str], folder: Path, hint: str) -> None:
    """Run a tool in the build's folder; its output goes to NAME.log there.

    Raises
    ------
    ToolError: it is missing, or failed; the text has the first error that it printed.
    """
    log = folder / f"{name}.log"
    if run_logged([*find_tool(name), *arguments], folder=folder, log=log) == 0:
        return
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no output"]
    raise ToolError(f"{name} failed: {errors[0].removeprefix('ERROR: ')}: {hint} (see {log})")


def constraints_used(board: Board, ports: set[str]) -> str:
    """Return the board's constraints of the ports that a design has, and of its clock."""
    kind = PIN_FORMATS[board.pin_file.suffix]
    text = keep_ports(board.pin_file.read_text(encoding="utf-8"), kind, ports)
    frequency = ROUTES[board.family].frequency
    return text + (frequency.format(mhz=board.clock_mhz) + "\n" if frequency else "")


def check_packing(log: str, board: Board) -> None:
    """Require that a design fits after packing, given what nextpnr printed.

    Look-up tables and registers that cannot share a cell are only known then. A design that fills
    a part may have no legal placement, too, although nothing is too many.

    Raises
    ------
    CapacityError: it does not; the text has every kind of site, and by how much.
    """
    lines = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log, re.MULTILINE)
    texts = [
        f"{kind} {int(used):,} of {int(there):,} ({int(used) - int(there):,} too many, "
        f"{ceil(100 * int(used) / int(there))} %)"
        for kind, used, there in lines
        if int(used) > int(there) > 0
    ]
    if texts:
        raise CapacityError(
            f"the accelerator does not fit {board.name} ({board.part.number}) once packed: "
            f"{'; '.join(texts)}: take a smaller array, less memory or fewer lanes"
        )
    full = re.search(r"^ERROR: (.*(?:no BELs remaining|legal placement).*)$", log, re.MULTILINE)
    if full:
        raise CapacityError(
            f"the accelerator does not fit {board.name} ({board.part.number}): no placement is "
            f"left: {full[1].rstrip('.')}: take a smaller array, less memory or fewer lanes, or "
            "try another --seed"
        )


def check_timing(board: Board, timing: Timing) -> None:
    """Require that every clock is as fast as asked.

    Raises
    ------
    TimingError: one is not; the text has its slowest path, its slack and what to do.
    """
    clock = timing.worst
    if timing.met or clock is None:
        return
    raise TimingError(
        f"timing is not met on {board.name}: {clock.reached_mhz:.1f} of {clock.asked_mhz:.1f} MHz, "
        f"slack {clock.slack_ns:.2f} ns; critical path {clock.path_text()}: "
        f"ask for --frequency {int(clock.reached_mhz)} or less, or try another --seed"
    )


def _route(board: Board) -> Route:
    """Return how the board's family is placed and packed; its tools are there."""
    if board.family not in ROUTES:
        known = ", ".join(ROUTES)
        raise BoardError(f"{board.name}: the family must be one of {known}, not {board.family}")
    route = ROUTES[board.family]
    for tool in (route.place, route.pack):
        find_tool(tool)
    return route


def build_bitstream(
    design: Component,
    board: Board,
    folder: Path,
    *,
    frequency: float | None = None,
    seed: int = 1,
    progress: Progress = lambda stage, done, total: None,
) -> BuildResult:
    """Synthesise, place and route a design for a board, and pack it if timing is met.

    Parameters
    ----------
    folder: of all files: netlist, constraints, logs, reports, and the bitstream.
    frequency: MHz of the core, or None for the board's.

    Raises
    ------
    BoardError: the board has no open flow, or no PLL setting for the frequency.
    CapacityError: the design does not fit; found before it is placed, or when it is packed.
    ToolError: a tool is missing or failed.
    """
    route = _route(board)
    progress("elaborating", 0, STEPS)
    shell = board_shell(design, board, frequency)
    core_mhz = shell.setting.output_mhz if shell.setting else board.clock_mhz
    _clear(folder, (route.bitstream, NETLIST, REPORT, "report.json"))
    rtlil = shell_rtlil(shell)
    progress("synthesis (yosys)", 1, STEPS)
    netlist = synthesise(rtlil, board.family)
    _write(folder / NETLIST, route.floorplan(netlist.json, board))
    _write(folder / "yosys.log", netlist.log)
    _write(folder / board.pin_file.name, constraints_used(board, set(shell.signature.members)))
    check_capacity(netlist.resources, board)
    progress(f"place and route ({route.place})", 2, STEPS)
    arguments = route.place_arguments(board, core_mhz, seed, netlist.resources.luts)
    try:
        _run(route.place, arguments, folder, "another --seed may place it")
    except ToolError as error:
        check_packing((folder / f"{route.place}.log").read_text(errors="replace"), board)
        raise error from None
    report = json.loads((folder / REPORT).read_text())
    timing = read_timing(report)
    if timing.met:
        progress(f"bitstream ({route.pack})", 3, STEPS)
        _run(route.pack, route.packing(board), folder, "its version may not know the cells used")
    return BuildResult(
        board=board,
        core_mhz=core_mhz,
        seed=seed,
        resources=netlist.resources,
        used={
            kind: (entry["used"], entry["available"])
            for kind, entry in report.get("utilization", {}).items()
        },
        timing=timing,
        rtlil_sha256=sha256(rtlil.encode()).hexdigest(),
        bitstream=folder / route.bitstream if timing.met else None,
    )
