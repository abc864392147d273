"""Clocks and critical paths of a nextpnr report, in terms of our components."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

__all__ = ["ClockTiming", "Segment", "Timing", "component_of", "path_text", "read_timing"]

TOP = "design"
"""Instance name of the design in the shell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of a path within one component.

    Parameters
    ----------
    component: its instances from the design down, joined by dots.
    delay_ns: of logic and of the wires that end there.
    cells: logic cells passed.
    """

    component: str
    delay_ns: float
    cells: int


def path_text(path: Iterable[Segment]) -> str:
    """A path's components with their delays."""
    return " -> ".join(f"{s.component} {s.delay_ns:.1f} ns" for s in path)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockTiming:
    """A clock: what was asked and what was reached.

    Parameters
    ----------
    name: of its net.
    asked_mhz, reached_mhz: frequencies.
    path: the slowest path between its registers, from the first to the last.
    start, end: nets or cells at the path's ends.
    """

    name: str
    asked_mhz: float
    reached_mhz: float
    path: tuple[Segment, ...]
    start: str
    end: str

    @property
    def slack_ns(self) -> float:
        """What is left of the clock's period; negative if it is too slow."""
        return 1e3 / self.asked_mhz - 1e3 / self.reached_mhz

    def path_text(self) -> str:
        """The path's components with their delays."""
        return path_text(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """All clocks of a design, the slowest compared with what was asked first."""

    clocks: tuple[ClockTiming, ...]

    @property
    def worst(self) -> ClockTiming | None:
        """The clock that has the least slack; None for a design without registers."""
        return self.clocks[0] if self.clocks else None

    @property
    def met(self) -> bool:
        """Whether every clock is as fast as asked."""
        return all(clock.reached_mhz >= clock.asked_mhz for clock in self.clocks)


def component_of(cell: str) -> str:
    """Return the component in which a cell lies, from the name that flattening gave it.

    The last part of a name is the signal's; a cell is named after the net it drives.
    """
    name = cell.replace("\\", "").removeprefix("$abc$")
    parts = [part for part in name.split(".") if part]
    if parts and parts[0] == TOP:
        parts = parts[1:]
    # Only instances' names: what tools invented (with $) and the signal itself are not.
    inside = [part for part in parts[:-1] if re.fullmatch(r"\w+", part)]
    return ".".join(inside) or TOP


def _segments(path: Sequence[Mapping[str, Any]]) -> tuple[Segment, ...]:
    """Join neighbouring steps that end in the same component."""
    steps = [
        (component_of(step["to"]["cell"]), float(step["delay"]), step.get("type") != "routing")
        for step in path
    ]
    result = []
    for component, group in groupby(steps, key=lambda step: step[0]):
        items = list(group)
        result.append(
            Segment(
                component=component,
                delay_ns=round(sum(delay for _, delay, _ in items), 3),
                cells=sum(logic for _, _, logic in items),
            )
        )
    return tuple(result)


def _clock(text: str) -> str:
    """The clock's net in ``posedge NET``."""
    return text.split(" ", 1)[-1]


def read_timing(report: Mapping[str, Any]) -> Timing:
    """Return the clocks and their slowest paths from nextpnr's report, as parsed JSON."""
    paths = {
        _clock(entry["from"]): entry["path"]
        for entry in report.get("critical_paths", [])
        if _clock(entry["from"]) == _clock(entry["to"]) and entry["path"]
    }
    clocks = []
    for name, entry in report.get("fmax", {}).items():
        path = paths.get(name, [])
        clocks.append(
            ClockTiming(
                name=name.removeprefix("$glbnet$"),
                asked_mhz=float(entry["constraint"]),
                reached_mhz=float(entry["achieved"]),
                path=_segments(path),
                start=path[0]["from"]["cell"] if path else "",
                end=path[-1]["to"]["cell"] if path else "",
            )
        )
    return Timing(clocks=tuple(sorted(clocks, key=lambda clock: clock.slack_ns)))
