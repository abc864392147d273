"""A Gowin bitstream against the placed and routed design that it was packed from.

`scripts/gowin_bits.py FOLDER` reads FOLDER/design.fs, of a build for GW2A-18C, and decodes it with
Apicula's tables of fuses: every connection of the routing, the contents of every look-up table,
the modes of carry cells and registers, the widths and modes of every block RAM's ports. Each must
be what FOLDER/routed.json says, and no other connection may be made. Status 1 if anything differs.
"""

import argparse
import importlib.resources
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEVICE = "GW2A-18C"
PASS = {"A": 0xAAAA, "B": 0xCCCC, "C": 0xF0F0, "D": 0xFF00}
"""Contents of a look-up table that passes an input on to the register behind it."""
_BEL = re.compile(r"X(\d+)Y(\d+)/[A-Z]+[A-Z0-9_]*?(\d*)")
_PIP = re.compile(r"X(\d+)Y(\d+)/(\w+)/(\w+)")
Place = tuple[int, int, str]
"""Row, column, and name of a cell in the tile."""


@dataclass(kw_only=True, slots=True)
class Contents:
    """What a design, or a bitstream, has at each place.

    Parameters
    ----------
    pips: the source that drives a wire.
    luts: contents of look-up tables.
    cells: other cells, and what is known of each.
    """

    pips: dict[Place, str] = field(default_factory=dict)
    luts: dict[Place, int] = field(default_factory=dict)
    cells: dict[Place, str] = field(default_factory=dict)


def _routing(top: Mapping[str, Any]) -> Iterator[tuple[int, int, str, str]]:
    """Row, column, destination and source of every connection."""
    for net in top["netnames"].values():
        for text in net["attributes"].get("ROUTING", "").split(";")[1::3]:
            if found := _PIP.fullmatch(text):
                column, row, destination, source = found.groups()
                yield int(row), int(column), destination, source


def _block_ram(cell: Mapping[str, Any]) -> str:
    """Widths of a block RAM's ports, whether they write through and have output registers."""
    values = cell["parameters"]
    ports = []
    for port in "01":
        width = int(values[f"BIT_WIDTH_{port}"], 2)
        through = int(values.get(f"WRITE_MODE{port}", "0"), 2) == 1
        register = int(values.get(f"READ_MODE{port}", values.get("READ_MODE", "0")), 2) == 1
        ports.append(f"{ {8: 9, 16: 18, 32: 36}.get(width, width) } {through} {register}")
    return ", ".join(ports)


def routed(text: str) -> Contents:
    """What nextpnr placed and routed."""
    top = json.loads(text)["modules"]["top"]
    result = Contents()
    for row, column, destination, source in _routing(top):
        if destination.startswith("XD"):
            if source in PASS or source[0] in PASS:
                result.luts[row, column, destination[2:]] = PASS[source[0]]
            continue
        result.pips[row, column, destination] = source
    for cell in top["cells"].values():
        found = _BEL.fullmatch(cell["attributes"].get("NEXTPNR_BEL", ""))
        if not found:
            continue
        column, row, number = found.groups()
        place, type_ = (int(row), int(column)), cell["type"]
        if type_.startswith("LUT"):
            contents = cell["parameters"]["INIT"][-16:]
            result.luts[*place, number] = int(str(contents) * (16 // len(contents)), 2)
        elif type_ == "ALU":
            result.cells[*place, f"ALU{number}"] = "ALU"
            if contents := cell["parameters"].get("RAW_ALU_LUT"):
                result.luts[*place, number] = int(contents[-16:], 2)
        elif type_.startswith("DFF"):
            result.cells[*place, f"DFF{number}"] = type_.replace("E", "")
        elif type_ in ("DP", "SDP"):
            result.cells[*place, "BSRAM"] = _block_ram(cell)
    return result


class Decoder:
    """A bitstream's tiles, and the tables that say what their fuses mean.

    Parameters
    ----------
    path: the bitstream.
    """

    def __init__(self, path: Path):
        from apycula import bslib, chipdb, gowin_unpack

        tables = importlib.resources.files("apycula") / f"{DEVICE}.msgpack.xz"
        self.tables, self.unpack = chipdb.load_chipdb(str(tables)), gowin_unpack
        gowin_unpack._device = DEVICE
        gowin_unpack._pinout = {}
        bitmap = bslib.read_bitstream(str(path))[0]
        self.tiles = chipdb.tile_bitmap(self.tables, bitmap, empty=True)

    def set_bits(
        self, row: int, column: int, places: Iterable[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """Those of some places of a tile whose fuse is set."""
        tile = self.tiles[row, column]
        return {(y, x) for y, x in places if tile[y][x]}

    def pips(self, row: int, column: int) -> Iterator[tuple[str, str, bool]]:
        """Destination and source of every connection, and whether a fuse makes it."""
        tile = self.tables[row, column]
        for destination, sources in tile.pips.items():
            apart = tile.alonenode.get(destination, [])  # set by all sources but some
            patterns = {
                source: set(bits).union(*(fuses for others, fuses in apart if source not in others))
                for source, bits in sources.items()
            }
            found = self.set_bits(row, column, set().union(*patterns.values()))
            for source, bits in patterns.items():
                if bits == found:
                    yield destination, source, bool(bits)

    def clock(self, row: int, column: int, destination: str, source: str) -> bool:
        """Whether a connection of a clock is made: its fuses lie in one tile or in many."""
        own = destination in ("GT00", "GT10")
        places = [(row, column)] if own else list(self.tiles)
        found = False
        for place in places:
            bits = self.tables[place].clock_pips.get(destination, {}).get(source, set())
            if self.set_bits(place[0], place[1], bits) != set(bits):
                return False
            found |= bool(bits)
        return found

    def lut(self, row: int, column: int, number: str) -> int:
        """Contents of a look-up table: a set fuse is a 0."""
        flags = self.tables[row, column].bels[f"LUT{number}"].flags
        return sum(1 << n for n, bits in flags.items() if not self.set_bits(row, column, bits))

    def slice_(self, row: int, column: int, name: str) -> str:
        """What a carry cell or a register of a tile is."""
        from apycula import attrids

        number = int(name[3:])
        tables = self.tables
        values = self.unpack.parse_attrvals(
            self.tiles[row, column],
            tables.rev_logicinfo("SLICE"),
            tables.shortval[tables[row, column].ttyp][f"CLS{number // 2}"],
            attrids.cls_attrids,
            "CLS",
        )
        if name.startswith("ALU"):
            return "ALU" if values.get("MODE") == attrids.cls_attrvals["ALU"] else ""
        return str(self.unpack.get_dff_type(number, values) or "")

    def block_ram(self, row: int, column: int) -> str:
        """Widths of a block RAM's ports, whether they write through and have output registers."""
        from apycula import attrids

        tables, fuses = self.tables, dict[tuple[int, int], list[bool]]()
        for offset in range(3):  # it has three tiles; the tables are the same for all its kinds
            known = tables.shortval[tables[row, column + offset].ttyp]["BSRAM_DP"]
            for key, bits in known.items():
                found = self.set_bits(row, column + offset, bits) == set(bits)
                for code in key:
                    if code > 0:
                        fuses.setdefault(tables.rev_logicinfo("BSRAM")[code], []).append(found)

        def has(name: str, value: str) -> bool:
            pair = attrids.bsram_attrids[name], attrids.bsram_attrvals[value]
            return all(fuses.get(pair, [False]))

        ports = []
        for port in "AB":
            names = [(f"DBLW{port}", "X36", "36")]
            names += [(f"DP{port}_DATA_WIDTH", width, width) for width in ("1", "2", "4", "9")]
            width = next((text for name, value, text in names if has(name, value)), "18")
            through, register = has(f"DP{port}_MODE", "WT"), has(f"DP{port}_REGMODE", "OUTREG")
            ports.append(f"{width} {through} {register}")
        return ", ".join(ports) if has("MODE", "ENABLE") else ""


def decoded(path: Path, wanted: Contents) -> Contents:
    """What a bitstream has, everywhere for connections, where something is wanted for the rest."""
    decoder = Decoder(path)
    result = Contents()
    for row, column in decoder.tiles:
        for destination, source, made in decoder.pips(row, column):
            place = row, column, destination
            if made or wanted.pips.get(place) == source:
                result.pips[place] = source
    for (row, column, destination), source in wanted.pips.items():
        if destination not in decoder.tables[row, column].pips and decoder.clock(
            row, column, destination, source
        ):
            result.pips[row, column, destination] = source
    for row, column, number in wanted.luts:
        result.luts[row, column, number] = decoder.lut(row, column, number)
    for row, column, name in wanted.cells:
        if name == "BSRAM":
            found = decoder.block_ram(row, column)
        else:
            found = decoder.slice_(row, column, name)
        result.cells[row, column, name] = found
    return result


def differences(wanted: Mapping[Place, Any], found: Mapping[Place, Any]) -> list[str]:
    """Places where two differ, with what each has."""
    return [
        f"row {row}, column {column}, {name}: {found.get((row, column, name))}, "
        f"not {wanted.get((row, column, name))}"
        for row, column, name in sorted(wanted.keys() | found.keys())
        if wanted.get((row, column, name)) != found.get((row, column, name))
    ]


def compare(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Return how much of each kind was compared in a build's folder, and what differs."""
    wanted = routed((folder / "routed.json").read_text())
    found = decoded(folder / "design.fs", wanted)
    numbers, wrong = {}, []
    for name, kind in (("connections", "pips"), ("look-up tables", "luts"), ("cells", "cells")):
        numbers[name] = len(getattr(wanted, kind))
        wrong += differences(getattr(wanted, kind), getattr(found, kind))
    return numbers, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, help="of a build")
    options = parser.parse_args(arguments)
    numbers, wrong = compare(options.folder)
    print(", ".join(f"{number:,} {name}" for name, number in numbers.items()), "compared")
    print(*wrong[:20], f"{len(wrong)} differ", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
