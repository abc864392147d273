"""Where an array's multipliers go on an ECP5: beside their neighbours, block by block.

A placer that must use nearly all multipliers of a part puts elements of an array wherever one is
left, and wires between neighbours cross the chip. Their places are known beforehand: an array is a
grid, and so are the part's multipliers. The reasons are in
`docs/decisions/0041-an-arrays-multipliers-have-their-places.md`.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

__all__ = ["SITES", "Sites", "fix_multipliers", "fold"]

Place = tuple[int, int]

MULTIPLIER = "MULT18X18D"
_ELEMENT = re.compile(r"\bpe_(\d+)_(\d+)\b")
_BLOCK = ((0, 0), (1, 1), (4, 4), (5, 5))
"""Of a block's four multipliers: columns of the chip from the first one, number in the name."""

_RIGHT_BITS, _DOWN_BITS = 9, 41
"""Wires to the element on the right: an activation; to the one below: a sum and a weight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sites:
    """Multipliers of a part: blocks of four, in strips across the chip.

    Parameters
    ----------
    rows: Y of each strip.
    columns: X of each block's first multiplier.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def bel(self, strip: int, block: int, index: int) -> str:
        """Return nextpnr's name of a multiplier."""
        offset, number = _BLOCK[index]
        return f"X{self.columns[block] + offset}/Y{self.rows[strip]}/MULT18_{number}"


SITES: Mapping[str, Sites] = {
    "25k": Sites(rows=(13,), columns=(4, 13, 22, 33, 42, 51, 60)),
    "45k": Sites(rows=(22, 46), columns=(4, 13, 22, 31, 42, 51, 60, 69, 78)),
    "85k": Sites(rows=(10, 34, 58), columns=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)),
}
"""By nextpnr's name of the device: where it has placed as many multipliers as there are."""


def _foldings(rows: int, columns: int) -> Iterator[dict[Place, Place]]:
    """All ways to lay a grid of blocks on strips: to a strip and a place in it, from (0, 0)."""
    grid = [(r, c) for r in range(rows) for c in range(columns)]
    for height in range(1, rows + 1):  # some rows of blocks a strip, side by side in it
        yield {(r, c): (r // height, c * height + r % height) for r, c in grid}
    for width in range(1, columns):  # some columns a strip, there and back
        last = width - 1
        yield {
            (r, c): (c // width, (last - c % width if c // width % 2 else c % width) * rows + r)
            for r, c in grid
        }


def _length(places: Mapping[Place, Place], sites: Sites) -> int:
    """Wires between blocks, in tiles: bits times distance, in x and y."""

    def distance(first: Place, second: Place) -> int:
        (s, b), (t, d) = places[first], places[second]
        return abs(sites.rows[s] - sites.rows[t]) + abs(sites.columns[b] - sites.columns[d])

    total = 0
    for r, c in places:
        for other, bits in (((r, c + 1), _RIGHT_BITS), ((r + 1, c), _DOWN_BITS)):
            if other in places:
                total += 2 * bits * distance((r, c), other)
    return total


def fold(rows: int, columns: int, sites: Sites) -> dict[Place, Place] | None:
    """Lay an array on a part, in the middle of it, with the least wire between neighbours.

    Parameters
    ----------
    rows, columns: of the array. Its elements go two by two: a block has four enables for the
        registers of all its multipliers, one is for those that are always on, and elements on one
        diagonal take their weights in the same cycle: a square has three of those.

    Returns
    -------
    Strip and block of each two by two elements, or None if the array has no room on the part.
    """
    best: tuple[int, dict[Place, Place]] | None = None
    for places in _foldings(ceil(rows / 2), ceil(columns / 2)):
        strips = max(s for s, _ in places.values()) + 1
        blocks = max(b for _, b in places.values()) + 1
        if strips > len(sites.rows) or blocks > len(sites.columns):
            continue
        up, left = (len(sites.rows) - strips) // 2, (len(sites.columns) - blocks) // 2
        moved = {block: (s + up, b + left) for block, (s, b) in places.items()}
        length = _length(moved, sites)
        if best is None or length < best[0]:
            best = length, moved
    return best[1] if best else None


def _assign(names: list[str], sites: Sites) -> dict[str, str]:
    """Give multipliers a place: those of the array, and then those that belong to one instance."""
    elements: dict[Place, str] = {}
    others = defaultdict(list)
    for name in sorted(names):
        if found := _ELEMENT.search(name):
            elements[int(found[1]), int(found[2])] = name
        else:
            others[name.rpartition(".")[0]].append(name)
    if not elements:
        return {}
    places = fold(1 + max(r for r, _ in elements), 1 + max(c for _, c in elements), sites)
    if places is None:
        return {}
    bels = {
        name: sites.bel(*places[r // 2, c // 2], 2 * (c % 2) + r % 2)
        for (r, c), name in elements.items()
    }
    taken = set(places.values())
    middle = sum(b for _, b in taken) / len(taken)
    free = [
        (strip, block)
        for strip in range(len(sites.rows))
        for block in range(len(sites.columns))
        if (strip, block) not in taken
    ]
    free.sort(key=lambda place: (abs(place[1] - middle), place[0]))
    groups = [group[n : n + 4] for group in others.values() for n in range(0, len(group), 4)]
    for group, place in zip(groups, free, strict=False):
        bels |= {name: sites.bel(*place, n) for n, name in enumerate(group)}
    return bels


def fix_multipliers(netlist: str, device: str) -> str:
    """Return a netlist, in Yosys' JSON, whose multipliers have their places.

    Parameters
    ----------
    device: nextpnr's name of the part: a key of `SITES`, maybe with that of a series in front.

    Returns
    -------
    The same text if it has no array, or one that is larger than the part.
    """
    design = json.loads(netlist)
    cells = design["modules"]["top"]["cells"]
    names = [name for name, cell in cells.items() if cell["type"] == MULTIPLIER]
    bels = _assign(names, SITES[device.rpartition("-")[2]])
    for name, bel in bels.items():
        cells[name]["attributes"]["BEL"] = bel
    return json.dumps(design) if bels else netlist
