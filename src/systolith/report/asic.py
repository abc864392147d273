"""Results of an ASIC synthesis: tables, JSON, and the list of memory macros."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from systolith.build.asic import AsicResult, Macro
from systolith.report.tables import make_table, number, percent
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["asic_json", "macro_list", "print_asic"]

DELAY_MEANS = (
    "of gates with their loads; without wires, registers' own delay and setup, clock skew, macros"
)


def _ports(macro: Macro) -> str:
    kind = "" if macro.clocked else ", reads not clocked"
    seen = ", reads see the same cycle's write" if macro.transparent else ""
    return f"{macro.reads} read, {macro.writes} write{kind}{seen}"


def macro_list(result: AsicResult) -> str:
    """The memories that a memory compiler has to make, as a table in Markdown."""
    lines = ["| words | bits | ports | number | component |", "|---|---|---|---|---|"]
    lines += [
        f"| {m.depth} | {m.width} | {_ports(m)} | {m.number} | {', '.join(m.components)} |"
        for m in result.macros
    ]
    return "\n".join(lines) + "\n"


def asic_json(result: AsicResult, spec: AcceleratorSpec, period_ns: float) -> str:
    """The result as JSON text."""
    value = {
        "array": [spec.array.rows, spec.array.columns],
        "period_ns": period_ns,
        "cells": result.cells,
        "registers": result.registers,
        "area": result.area,
        "components": result.components,
        "delay_ns": result.delay_ns,
        "delay_includes": DELAY_MEANS,
        "macros": [asdict(macro) for macro in result.macros],
    }
    return json.dumps(value, indent=2) + "\n"


def print_asic(
    result: AsicResult, spec: AcceleratorSpec, period_ns: float, console: Console
) -> None:
    """Print area by component, the delay, and the macros."""
    rows = [
        [name, f"{area:,.0f}", percent(area / result.area)]
        for name, area in result.components.items()
    ]
    rows += [[], ["total", f"{result.area:,.0f}", ""]]
    columns = [("component", False), ("area of cells", True), ("", True)]
    console.print(make_table(columns, rows))
    macros = [
        [number(m.depth), number(m.width), _ports(m), number(m.number), ", ".join(m.components)]
        for m in result.macros
    ]
    heads = [("words", True), ("bits", True), ("ports", False), ("number", True)]
    console.print(Text("memory macros, not in the area:"))
    console.print(make_table([*heads, ("component", False)], macros))
    console.print(
        Text(
            f"{result.cells:,} cells, {result.registers:,} of them registers; longest path "
            f"{result.delay_ns:.2f} of {period_ns:.2f} ns ({DELAY_MEANS})"
        )
    )
