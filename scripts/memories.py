"""Every memory of an accelerator, and the blocks of a chip that it becomes.

`scripts/memories tiny --targets ecp5` prints a row per memory: bits, blocks, and the blocks that
its bits would fill if only their number counted. Yosys' mapping of memories, without the rest of
synthesis.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.sim.ice40 import synth_ice40
from systolith.sim.netlist import UNDEFINED_READS, reads_apart
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import PRESETS, load_spec


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A family of chips.

    Parameters
    ----------
    title: heading of its columns.
    technology: of the accelerator.
    synthesis: Yosys' pass, which knows the steps `map_ram` or `map_memory`, and `map_ffram`.
    blocks: bits of each cell that is a block RAM.
    small: cells of memories in look-up tables.
    step: name of the step that makes them.
    before: passes ahead of that step, if they are not those of `synthesis`.
    """

    title: str
    technology: Technology
    synthesis: str
    blocks: Mapping[str, int]
    small: str
    step: str = "map_ram"
    before: Sequence[str] = ()


_K = 1024
SMALL = 512
"""Bits of a memory that may become flip-flops where there is no LUT RAM."""
TARGETS = {
    "ecp5": Target(
        title="ECP5",
        technology=Technology.ECP5,
        synthesis="synth_ecp5",
        blocks={"DP16KD": 18 * _K},
        small=r"TRELLIS_DPR16X4",
    ),
    "ice40": Target(
        title="iCE40UP5K",
        technology=Technology.ICE40,
        synthesis="synth_ice40 -dsp -spram",
        blocks={"SB_SPRAM256KA": 256 * _K, r"SB_RAM40_4K\w*": 4 * _K},
        small="none",
        before=synth_ice40()[:-1],
    ),
    "gowin": Target(
        title="GW2A",
        technology=Technology.GOWIN,
        synthesis="synth_gowin -family gw2a",
        blocks={r"(SP|SDP|DP)X9\w*": 18 * _K, r"SPX?|SDPX?B|DPX?B": 16 * _K},
        small=r"RAM16S\w*",
    ),
    "xc7": Target(
        title="7 series",
        technology=Technology.XILINX7,
        synthesis="synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
        blocks={"RAMB36E1": 36 * _K, "RAMB18E1": 18 * _K},
        small=r"RAM\d+[MX]\w*",
        step="map_memory",
    ),
    "xcup": Target(
        title="UltraScale+",
        technology=Technology.ULTRASCALE,
        synthesis="synth_xilinx -family xcup -uram -flatten -noiopad -noclkbuf",
        blocks={"URAM288": 288 * _K, "RAMB36E2": 36 * _K, "RAMB18E2": 18 * _K},
        small=r"RAM\d+[MX]\w*",
        step="map_memory",
    ),
}


@dataclass(kw_only=True, slots=True)
class Use:
    """What some memories of one shape, whose names differ in numbers only, become.

    Parameters
    ----------
    name: theirs, with # for numbers.
    words, width, count: the shape, and how many there are.
    cells: by type.
    least: blocks of the kind used, if only the bits counted; 0 where there are none.
    """

    name: str
    words: int
    width: int
    count: int = 0
    cells: Counter[str] = field(default_factory=Counter)
    least: int = 0


def _described(dump: str) -> Iterator[tuple[str, int, int]]:
    """Name, words and width of the memories in a dump of memory cells."""
    for cell in re.split(r"^\s*cell \$mem_v2 ", dump, flags=re.MULTILINE)[1:]:
        values = dict(re.findall(r"parameter (?:signed )?\\(MEMID|SIZE|WIDTH) (.*)", cell))
        name = values["MEMID"].strip('"').lstrip("\\")
        yield name, *(int(values[key].split("'")[-1]) for key in ("SIZE", "WIDTH"))


def measure(spec: AcceleratorSpec, target: Target) -> list[Use]:
    """Map the memories of an accelerator.

    Raises
    ------
    ToolError: yosys failed.
    """
    rtlil = to_rtlil(Accelerator(spec, technology=target.technology))
    if target.technology in UNDEFINED_READS:
        rtlil = reads_apart(rtlil)
    run = f"{target.synthesis} -top top -run"
    passes = [
        *(target.before or [f"{run} begin:{target.step}"]),
        "tee -q -o before.txt dump t:$mem_v2",
        f"{run} {target.step}:map_ffram",
        "tee -q -o cells.txt dump t:*RAM* t:*DPR* t:DP16KD t:SP* t:SDP* t:DP* t:SB_* t:$mem_v2",
    ]
    found = run_yosys(rtlil, passes, outputs=["before.txt", "cells.txt"])
    kinds = re.findall(r"^\s*cell (\S+) (\S+)", found["cells.txt"], re.MULTILINE)
    uses: dict[tuple[str, int, int], Use] = {}
    for name, words, width in _described(found["before.txt"]):
        key = re.sub(r"\d+", "#", name), words, width
        use = uses.setdefault(key, Use(name=key[0], words=words, width=width))
        use.count += 1
        for kind, cell in kinds:
            if cell.lstrip("\\") == name or cell.lstrip("\\").startswith(f"{name}."):
                use.cells[kind.lstrip("\\")] += 1
    for use in uses.values():
        for pattern, bits in target.blocks.items():
            if any(re.fullmatch(pattern, kind) for kind in use.cells):
                use.least += -(-use.words * use.width * use.count // bits)
                break
    return sorted(uses.values(), key=lambda use: -use.words * use.width * use.count)


def vars_of(use: Use) -> dict[str, object]:
    """The fields, of JSON's types."""
    return {f.name: getattr(use, f.name) for f in fields(use)} | {"cells": dict(use.cells)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table for each target, write the file; status 1 if flip-flops hold any."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("spec", help="a preset or a TOML file")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=["ecp5", "xc7"])
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    spec = PRESETS[options.spec] if options.spec in PRESETS else load_spec(options.spec)
    records, loose = {}, 0
    for name in options.targets:
        uses = measure(spec, TARGETS[name])
        records[name] = [vars_of(use) for use in uses]
        table = Table("memory", "number", "words", "bits", "total", "cells", "least")
        for use in uses:
            cells = ", ".join(f"{n} {kind}" for kind, n in sorted(use.cells.items()))
            total = use.words * use.width * use.count
            numbers = (use.count, use.words, use.width, f"{total:,}")
            table.add_row(use.name, *map(str, numbers), cells, str(use.least or ""))
            loose += use.cells["$mem_v2"] if use.words * use.width > SMALL else 0
        table.title = TARGETS[name].title
        Console(width=None if sys.stdout.isatty() else 120).print(table)
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")
    if loose:
        print(f"{loose} memories of more than {SMALL} bits are left to flip-flops", file=sys.stderr)
    return int(loose > 0)


if __name__ == "__main__":
    sys.exit(main())
