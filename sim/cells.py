"""Models of the cells that netlists of a technology are made of, to simulate them."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path

from systolith.hw.technology import Technology

__all__ = ["MODELS", "cell_models", "own_models"]

MODELS: Mapping[Technology, str] = {
    Technology.ECP5: "lattice/cells_sim_ecp5.v",
    Technology.ICE40: "ice40/cells_sim.v",
    Technology.GOWIN: "gowin/cells_sim.v",
    Technology.XILINX7: "xilinx/cells_sim.v",
    Technology.ULTRASCALE: "xilinx/cells_sim.v",
}
"""Yosys' models of each technology, in its shared files."""

_OWN = tuple(Path(__file__).with_name(name) for name in ("cells.sv", "cells_gowin.sv"))
_MODULE = re.compile(r"^module\s+(\w+).*?\bendmodule\b", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w+")


@functools.cache
def _modules() -> Mapping[str, str]:
    """Texts of our own models by name."""
    texts = [path.read_text() for path in _OWN]
    return {found[1]: found[0] for text in texts for found in _MODULE.finditer(text)}


def own_models() -> list[str]:
    """Names of the cells that Yosys has no model of, and we have."""
    return [name for name in _modules() if not name.startswith("systolith_")]


def cell_models(netlist: str) -> str:
    """Verilog of our own models of cells that occur in a netlist, and of what they are made of."""
    modules = _modules()
    wanted: dict[str, None] = {}
    texts = [netlist]
    while texts:
        for name in dict.fromkeys(_WORD.findall(texts.pop())):
            if name in modules and name not in wanted:
                wanted[name] = None
                texts.append(modules[name])
    return "\n".join(modules[name] for name in sorted(wanted))
