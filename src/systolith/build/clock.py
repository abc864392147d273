"""The clock that a netlist can be expected to reach, before it is placed.

The longest way from a register to a register through the cells, with typical delays of cells and
of wires by the number of their inputs (`delays.py`). What it cannot know is where things will lie.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

from systolith.build.delays import DELAYS, CellDelays, FamilyDelays
from systolith.build.timing import Segment, component_of
from systolith.constraints import Family

__all__ = ["LongestPath", "longest_path", "speed_factor"]

Bits = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LongestPath:
    """The longest path of a design.

    Parameters
    ----------
    delay_ns: from clock edge to clock edge, at the family's fastest speed grade.
    path: by components, from the first register to the last.
    """

    delay_ns: float
    path: tuple[Segment, ...]

    def mhz(self, factor: float = 1.0) -> float:
        """Return the clock, if all delays are so many times longer."""
        return 1e3 / (self.delay_ns * factor)


def speed_factor(family: Family, speed: str) -> float:
    """Return how many times longer than at the fastest speed grade delays are."""
    return DELAYS[family].speeds.get(speed, 1.0)


@dataclass(slots=True)
class _Cell:
    """A cell of the flat netlist.

    Parameters
    ----------
    name: with the instances that lead to it.
    kind: its type, and whether a multiplier's operands and results are registered.
    ports: the nets at each port, as numbers; constants are left out.
    waits: drivers of its logic's inputs that have no arrival time yet.
    """

    name: str
    kind: str
    ports: dict[str, Bits]
    delays: CellDelays
    waits: int = 0
    after: list[int] = field(default_factory=list)


@cache
def _ports(pattern: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if re.fullmatch(pattern, name))


def _at(cell: _Cell, pattern: str) -> Iterator[tuple[str, int]]:
    """Ports and nets of a cell at the ports with such names."""
    for port in _ports(pattern, tuple(cell.ports)):
        for net in cell.ports[port]:
            yield port, net


def _kind(cell: Mapping[str, Any], delays: FamilyDelays) -> str:
    """The type, and which registers of a multiplier are used."""
    text = str(cell["type"])
    for mark, names in delays.registers.items():
        values = (str(cell["parameters"].get(name, "")) for name in names)
        if any(value not in ("", "NONE") and value.strip("0") for value in values):
            text += mark
    return text


def _flatten(
    netlist: Mapping[str, Any], top: str, delays: FamilyDelays
) -> tuple[list[_Cell], Counter[int], dict[int, tuple[int, str]]]:
    """Cells of all instances; inputs of every net; and of every net the driver and its type."""
    cells: list[_Cell] = []
    inputs: Counter[int] = Counter()
    drivers: dict[int, tuple[int, str]] = {}
    fresh = iter(range(1 << 60))

    def visit(module: Mapping[str, Any], nets: dict[int, int], path: str) -> None:
        for name, cell in module["cells"].items():
            kind = _kind(cell, delays)
            known = delays.of_type(kind)
            inside = netlist.get(cell["type"])
            ports = {
                port: tuple(
                    nets[b] if b in nets else nets.setdefault(b, next(fresh))
                    for b in bits
                    if isinstance(b, int)
                )
                for port, bits in cell["connections"].items()
            }
            # What vendors' cells have inside, yosys lists too: only cells that are not timed open.
            if known is None and inside is not None:
                below: dict[int, int] = {}
                for port, bits in cell["connections"].items():
                    for bit, own in zip(bits, inside["ports"][port]["bits"], strict=True):
                        if isinstance(bit, int) and isinstance(own, int):
                            below[own] = nets[bit]
                visit(inside, below, f"{path}{name}.")
                continue
            if known is None:
                continue
            for port, bits_ in ports.items():
                if cell["port_directions"][port] == "output":
                    drivers.update((net, (len(cells), kind)) for net in bits_)
                elif "CLK" not in port:
                    inputs.update(bits_)
            cells.append(_Cell(name=path + name, kind=kind, ports=ports, delays=known))

    visit(netlist[top], {}, "")
    return cells, inputs, drivers


class _Analysis:
    """Arrival times of all nets."""

    def __init__(self, netlist: Mapping[str, Any], top: str, delays: FamilyDelays) -> None:
        self.delays = delays
        self.cells, self.inputs, self.drivers = _flatten(netlist, top, delays)
        self.times: dict[int, float] = {}
        self.before: dict[int, int] = {}
        self._order()

    def wire(self, cell: _Cell, port: str, net: int) -> float:
        """When a net arrives at an input of a cell."""
        if net not in self.drivers:
            return 0.0
        wire = self.delays.wire_ns(self.drivers[net][1], cell.kind, port, self.inputs[net])
        return self.times.get(net, 0.0) + wire

    def _order(self) -> None:
        """Visit cells when the inputs of their logic are known; loops are never visited."""
        cells = self.cells
        for number, cell in enumerate(cells):
            sources = {
                self.drivers[net][0]
                for pattern, _, _ in cell.delays.paths
                for _, net in _at(cell, pattern)
                if net in self.drivers
            }
            cell.waits = len(sources)
            for source in sources:
                cells[source].after.append(number)
        ready = [number for number, cell in enumerate(cells) if not cell.waits]
        while ready:
            cell = cells[ready.pop()]
            self._visit(cell)
            for number in cell.after:
                cells[number].waits -= 1
                if not cells[number].waits:
                    ready.append(number)

    def _visit(self, cell: _Cell) -> None:
        for pattern, delay in cell.delays.starts:
            for _, net in _at(cell, pattern):
                self.times[net] = max(delay, self.times.get(net, 0.0))
        for ins, outs, delay in cell.delays.paths:
            arrivals = ((self.wire(cell, port, net), net) for port, net in _at(cell, ins))
            time, source = max(arrivals, default=(0.0, -1))
            for _, net in _at(cell, outs):
                if time + delay > self.times.get(net, 0.0):
                    self.times[net], self.before[net] = time + delay, source

    def longest(self) -> tuple[float, list[tuple[str, float]]]:
        """The last arrival at a register, and the cells on the way with their times."""
        ends = (
            (self.wire(cell, port, net) + setup, net, cell)
            for cell in self.cells
            for pattern, setup in cell.delays.ends
            for port, net in _at(cell, pattern)
        )
        time, net, last = max(ends, key=lambda end: end[0], default=(0.0, -1, None))
        if last is None:
            return 0.0, []
        way = [(last.name, time)]
        while net in self.drivers:
            way.append((self.cells[self.drivers[net][0]].name, self.times.get(net, 0.0)))
            net = self.before.get(net, -1)
        return time, way[::-1]


def _segments(way: Sequence[tuple[str, float]]) -> tuple[Segment, ...]:
    """Neighbouring cells of a component together, with the delay since the one before."""
    result, before = [], 0.0
    for component, group in groupby(way, key=lambda step: component_of(step[0])):
        steps = list(group)
        delay = round(steps[-1][1] - before, 3)
        result.append(Segment(component=component, delay_ns=delay, cells=len(steps)))
        before = steps[-1][1]
    return tuple(result)


def longest_path(netlist: Mapping[str, Any], top: str, family: Family) -> LongestPath | None:
    """Return the longest path of a synthesised design.

    Parameters
    ----------
    netlist: modules of yosys' `write_json`, flat or not.

    Returns
    -------
    None for a family whose delays are not known, and for a design without registers.
    """
    if family not in DELAYS:
        return None
    time, way = _Analysis(netlist, top, DELAYS[family]).longest()
    return LongestPath(delay_ns=round(time, 3), path=_segments(way)) if time else None
