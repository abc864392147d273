"""RTLIL to the cells of a family."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from systolith.build.families import FAMILIES, Resources
from systolith.constraints import Board, Family
from systolith.errors import CapacityError, ToolError
from systolith.sim.emit import run_yosys
from systolith.sim.netlist import reads_apart

__all__ = ["Netlist", "check_capacity", "stat_cells", "synthesise"]

STAT = "tee -q -o stat.json stat -json"


_LOST_SUMS = (
    "yosys would lose sums of products that take several SB_MAC16 (a fault of its ice40_dsp): "
    "set post.multiplier_bits to 16"
)
"""`synth_ice40` finds it by what is left without a driver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Netlist:
    """A synthesised design.

    Parameters
    ----------
    json: the netlist, as nextpnr reads it.
    cells: number of cells of each type.
    resources: what they take.
    log: what yosys printed.
    """

    json: str
    cells: Mapping[str, int]
    resources: Resources
    log: str


def stat_cells(text: str) -> dict[str, Any]:
    """Return what yosys' `stat -json` says, without the lines it prints around."""
    return dict(json.loads(text[text.index("{") :]))


def synthesise(rtlil: str, family: Family) -> Netlist:
    """Map a design whose top module is `top`.

    Raises
    ------
    ToolError: yosys failed.
    """
    target = FAMILIES[family]
    if target.undefined_reads:
        rtlil = reads_apart(rtlil)
    passes = [*target.passes, STAT, "write_json netlist.json"]
    try:
        files = run_yosys(rtlil, passes, outputs=["stat.json", "netlist.json", "log"])
    except ToolError as error:
        if family is Family.ICE40 and "'check -assert'" in str(error):
            raise ToolError(_LOST_SUMS) from error
        raise
    cells = stat_cells(files["stat.json"])["design"]["num_cells_by_type"]
    return Netlist(
        json=target.amend(files["netlist.json"]),
        cells=cells,
        resources=target.count(cells),
        log=files["log"],
    )


def check_capacity(resources: Resources, board: Board) -> None:
    """Require that the part holds a design.

    Raises
    ------
    CapacityError: it does not; the text has every resource, and by how much.
    """
    excess = resources.excess(board.capacity)
    if not excess:
        return
    names = FAMILIES[board.family].names
    texts = [
        f"{names.get(name, name)} {used:,} of {there:,} "
        f"({used - there:,} too many" + (f", {ceil(100 * used / there)} %)" if there else ")")
        for name, (used, there) in excess.items()
    ]
    raise CapacityError(
        f"the accelerator does not fit {board.name} ({board.part.number}): {'; '.join(texts)}: "
        "take a smaller array, less memory or fewer lanes (`systolith estimate` shows who takes it)"
    )
