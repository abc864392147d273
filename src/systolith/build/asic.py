"""Standard cells: area and delay by yosys and abc, and the memory macros that a design needs."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systolith.build.estimate import component_name
from systolith.build.timing import TOP, component_of
from systolith.errors import InputError
from systolith.sim.emit import run_yosys

__all__ = ["AsicResult", "Macro", "liberty_cells", "read_cells", "sdc", "synthesise_cells"]

MACRO_BITS = 2048
"""Memories of at least so many bits become macros; smaller ones are registers."""

MAP = Path(__file__).with_name("memory_macro.v")
"""Rule of yosys that makes black boxes of memories."""

# Optimises and maps, sizes gates for the period, and prints the delay. Nothing is retimed: the
# registers stay where the design has them.
_SCRIPT = (
    "strash", "ifraig", "scorr", "dc2", "strash", "&get -n", "&dch -f", "&nf", "&put",
    "buffer -c", "topo", "upsize -D {period}", "dnsize -D {period}", "stime -p",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Macro:
    """Memory macros of one kind.

    Parameters
    ----------
    depth, width: words, and bits of a word.
    reads, writes: ports.
    clocked: whether the read ports have registers; if not, it is a register file.
    transparent: whether a read sees what is written in the same cycle.
    number: of these macros.
    components: that have them.
    """

    depth: int
    width: int
    reads: int
    writes: int
    clocked: bool
    transparent: bool
    number: int
    components: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AsicResult:
    """Area and delay.

    Parameters
    ----------
    cells: standard cells.
    registers: those of them that are flip-flops or latches.
    area: of all standard cells, in the liberty's unit; the macros are not in it.
    components: area by component.
    delay_ns: longest path of gates between registers, macros and ports, with the gates' loads;
        without wires, the registers' own delay and setup, and the clock's skew.
    macros: memories that have to come from a memory compiler.
    netlist: Verilog of the cells.
    log: what yosys and abc printed.
    """

    cells: int
    registers: int
    area: float
    components: Mapping[str, float]
    delay_ns: float
    macros: tuple[Macro, ...]
    netlist: str
    log: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A standard cell: its area, and whether it keeps a value."""

    area: float
    storage: bool


def read_cells(liberty: str) -> dict[str, Cell]:
    """Return the cells of a liberty file's text, by name.

    Raises
    ------
    InputError: it has none with an area.
    """
    cells = {}
    for text in re.split(r"\bcell\s*(?=\()", liberty)[1:]:
        name = re.match(r'\(\s*"?(\w+)"?\s*\)', text)
        area = re.search(r"\barea\s*:\s*([\d.eE+-]+)", text)
        if name and area:
            storage = re.search(r"\b(?:ff|latch)\s*\(", text) is not None
            cells[name[1]] = Cell(area=float(area[1]), storage=storage)
    if not cells:
        raise InputError("--liberty must be a liberty file with the area of cells, not another")
    return cells


def liberty_cells(path: Path) -> dict[str, Cell]:
    """Return the cells of a liberty file, by name.

    Raises
    ------
    InputError: it cannot be read, or has no cells.
    """
    try:
        return read_cells(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def sdc(template: str, period_ns: float) -> str:
    """Return timing constraints for a period."""
    values = {
        "period": period_ns,
        "quarter": period_ns / 4,
        "uncertainty": period_ns / 20,
    }
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", f"{value:.4g}")
    return template


def _value(text: Any) -> int:
    """A parameter: yosys writes them as strings of bits."""
    return int(text, 2) if isinstance(text, str) and set(text) <= {"0", "1"} else int(text)


def _macros(cells: Mapping[str, Any]) -> tuple[Macro, ...]:
    """The macros of a netlist, equal ones counted, the largest first."""
    kinds: dict[tuple[int, ...], list[str]] = {}
    for name, cell in cells.items():
        if cell["type"] != "systolith_macro":
            continue
        p = {key: _value(value) for key, value in cell["parameters"].items()}
        kind = (
            p["SIZE"], p["WIDTH"], p["RD_PORTS"], p["WR_PORTS"],
            int(p["RD_CLK_ENABLE"] != 0), int(p["RD_TRANSPARENCY_MASK"] != 0),
        )  # fmt: skip
        kinds.setdefault(kind, []).append(_component(name))
    macros = [
        Macro(
            depth=depth, width=width, reads=reads, writes=writes, clocked=bool(clocked),
            transparent=bool(transparent), number=len(names),
            components=tuple(dict.fromkeys(names)),
        )
        for (depth, width, reads, writes, clocked, transparent), names in kinds.items()
    ]  # fmt: skip
    return tuple(sorted(macros, key=lambda m: -m.depth * m.width * m.number))


def _component(cell: str) -> str:
    inside = component_of(cell)
    return component_name(() if inside == TOP else tuple(inside.split(".")))


def synthesise_cells(rtlil: str, liberty: Path, period_ns: float) -> AsicResult:
    """Map a design whose top module is `top` to the cells of a liberty file.

    Raises
    ------
    InputError: the file cannot be read, or has no cells.
    ToolError: yosys or abc failed.
    """
    known = liberty_cells(liberty)
    script = ";".join(_SCRIPT).format(period=round(1000 * period_ns)).replace(" ", ",")
    library = f'-liberty "{liberty.resolve()}"'
    passes = [
        "synth -flatten -run begin:fine -top top",
        f'techmap -D MACRO_BITS={MACRO_BITS} -map "{MAP}"',
        "synth -run fine:check",
        f"dfflibmap {library}",
        f"abc {library} -script +{script}",
        "opt_clean -purge",
        "autoname",
        "write_json cells.json",
        "write_verilog -noattr cells.v",
    ]
    files = run_yosys(rtlil, passes, outputs=["cells.json", "cells.v", "log"])
    netlist = json.loads(files["cells.json"])["modules"]["top"]["cells"]
    cells = {name: known[cell["type"]] for name, cell in netlist.items() if cell["type"] in known}
    components: dict[str, float] = {}
    for name, cell in cells.items():
        component = _component(name)
        components[component] = components.get(component, 0.0) + cell.area
    delays = re.findall(r"\bDelay\s*=\s*([\d.]+)\s*ps", files["log"])
    return AsicResult(
        cells=len(cells),
        registers=sum(cell.storage for cell in cells.values()),
        area=sum(components.values()),
        components=dict(sorted(components.items(), key=lambda item: -item[1])),
        delay_ns=max((float(delay) for delay in delays), default=0.0) / 1000,
        macros=_macros(netlist),
        netlist=files["cells.v"],
        log=files["log"],
    )
