"""Results of a build and of an estimate: tables and JSON."""

import json
from collections.abc import Iterable
from math import ceil
from typing import Any

from rich.console import Console
from rich.text import Text

from systolith.build.clock import speed_factor
from systolith.build.delays import SPREADS
from systolith.build.estimate import Estimate
from systolith.build.families import FAMILIES, RESOURCES
from systolith.build.flow import BuildResult
from systolith.build.timing import ClockTiming, Segment, path_text
from systolith.constraints import Board
from systolith.report.tables import make_table, number, percent
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["build_json", "estimate_json", "print_build", "print_estimate"]


def peak_gmacs(spec: AcceleratorSpec, mhz: float) -> float:
    """Billions of multiply-accumulates a second, all elements at work in every cycle."""
    return spec.macs_per_cycle * mhz / 1e3


def _clock(clock: ClockTiming) -> dict[str, Any]:
    return {
        "name": clock.name,
        "asked_mhz": round(clock.asked_mhz, 3),
        "reached_mhz": round(clock.reached_mhz, 3),
        "slack_ns": round(clock.slack_ns, 3),
        "path": _path(clock.path),
        "from": clock.start,
        "to": clock.end,
    }


def build_values(result: BuildResult, spec: AcceleratorSpec) -> dict[str, Any]:
    """The result as values of JSON."""
    board = result.board
    return {
        "board": board.name,
        "part": board.part.number,
        "array": [spec.array.rows, spec.array.columns],
        "core_mhz": result.core_mhz,
        "seed": result.seed,
        "timing_met": result.timing.met,
        "peak_gmacs": round(peak_gmacs(spec, result.core_mhz), 4),
        "synthesised": {n: ceil(getattr(result.resources, n)) for n in RESOURCES},
        "placed": {kind: {"used": u, "available": a} for kind, (u, a) in result.used.items()},
        "clocks": [_clock(clock) for clock in result.timing.clocks],
        "bitstream": result.bitstream.name if result.bitstream else None,
        "rtlil_sha256": result.rtlil_sha256,
    }


def build_json(result: BuildResult, spec: AcceleratorSpec) -> str:
    """The result as JSON text."""
    return json.dumps(build_values(result, spec), indent=2) + "\n"


def print_build(result: BuildResult, spec: AcceleratorSpec, console: Console) -> None:
    """Print what a build made."""
    board, array = result.board, spec.array
    console.print(Text(f"{board.title} ({board.part.number}), {array.rows}x{array.columns} array"))
    rows = [
        [kind, number(used), number(there), percent(used / there if there else None)]
        for kind, (used, there) in result.used.items()
        if used
    ]
    columns = [("site", False), ("used", True), ("of", True), ("", True)]
    console.print(make_table(columns, rows))
    for clock in result.timing.clocks:
        console.print(
            Text(
                f"clock {clock.name}: {clock.reached_mhz:.1f} MHz, asked {clock.asked_mhz:.1f}, "
                f"slack {clock.slack_ns:.2f} ns"
            )
        )
        if clock.path:
            console.print(Text(f"  critical path: {clock.path_text()}"))
    console.print(
        Text(
            f"{result.core_mhz:g} MHz, at most {peak_gmacs(spec, result.core_mhz):.2f} GMAC/s; "
            f"seed {result.seed}"
        )
    )


def _path(path: Iterable[Segment]) -> list[dict[str, Any]]:
    return [{"component": s.component, "delay_ns": s.delay_ns, "cells": s.cells} for s in path]


def estimated_mhz(found: Estimate, board: Board | None) -> float | None:
    """The clock at the board's speed grade, or at the family's fastest without a board."""
    if found.clock is None:
        return None
    return found.clock.mhz(speed_factor(found.family, board.part.speed if board else ""))


def _estimated_clock(found: Estimate, board: Board | None) -> dict[str, Any] | None:
    mhz = estimated_mhz(found, board)
    if mhz is None or found.clock is None:
        return None
    return {
        "estimated_mhz": round(mhz, 1),
        "placed_from_estimate": SPREADS.get(found.family),
        "path": _path(found.clock.path),
    }


def estimate_json(
    found: Estimate, spec: AcceleratorSpec, board: Board | None, placed: BuildResult | None = None
) -> str:
    """The estimate as JSON text, with what placing and routing made, if it was."""
    value: dict[str, Any] = {
        "family": str(found.family),
        "board": board.name if board else None,
        "array": [spec.array.rows, spec.array.columns],
        "components": {
            name: {n: getattr(r, n) for n in RESOURCES} for name, r in found.components.items()
        },
        "total": {n: ceil(getattr(found.total, n)) for n in RESOURCES},
        "clock": _estimated_clock(found, board),
    }
    if placed:
        value["placed"] = build_values(placed, spec)
    if board:
        value["capacity"] = {n: getattr(board.capacity, n) for n in RESOURCES}
        value["fits"] = not found.total.excess(board.capacity)
    return json.dumps(value, indent=2) + "\n"


def print_estimate(
    found: Estimate, spec: AcceleratorSpec, board: Board | None, console: Console
) -> None:
    """Print what each component takes, and of a board's part which share."""
    names = FAMILIES[found.family].names
    kinds = [n for n in RESOURCES if n in names]

    def cells(resources: Any) -> list[str]:
        return [number(ceil(getattr(resources, n))) for n in kinds]

    rows = [[name, *cells(resources)] for name, resources in found.components.items()]
    rows += [[], ["total", *cells(found.total)]]
    if board:
        shares = [
            percent(getattr(found.total, n) / there if (there := getattr(board.capacity, n)) else 0)
            for n in kinds
        ]
        rows += [[f"of {board.name}", *cells(board.capacity)], ["share", *shares]]
    columns = [("component", False), *((names[n], True) for n in kinds)]
    console.print(Text(f"{spec.array.rows}x{spec.array.columns} array on {found.family}"))
    console.print(make_table(columns, rows))
    _print_clock(found, board, console)


def _print_clock(found: Estimate, board: Board | None, console: Console) -> None:
    """Print the clock that the netlist lets expect, and how good such estimates were."""
    mhz = estimated_mhz(found, board)
    if mhz is None or found.clock is None:
        console.print(
            Text(f"clock: not estimated: there is no open place and route of {found.family}")
        )
        return
    spread = SPREADS.get(found.family)
    quality = (
        f"placed accelerators reached {spread[0]:+.0%} to {spread[1]:+.0%} of such estimates"
        if spread
        else "no placed accelerator has been compared with such estimates"
    )
    console.print(Text(f"clock: about {mhz:.0f} MHz, estimated from the netlist: {quality}"))
    console.print(Text(f"  longest path: {path_text(found.clock.path)}"))
