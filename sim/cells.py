"""Models of the cells that netlists of a technology are made of, to simulate them."""

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from systolith.errors import ToolError
from systolith.hw.technology import Technology

__all__ = ["MODELS", "cell_models"]

_OWN = Path(__file__).with_name("cells.sv")
MODELS: Mapping[Technology, str] = {
    Technology.ECP5: "lattice/cells_sim_ecp5.v",
    Technology.ICE40: "ice40/cells_sim.v",
    Technology.GOWIN: "gowin/cells_sim.v",
    Technology.XILINX7: "xilinx/cells_sim.v",
    Technology.ULTRASCALE: "xilinx/cells_sim.v",
}
"""Yosys' models of each technology, in its shared files."""

_MODULE = re.compile(r"^module\s+(\\\S+|\w+).*?\bendmodule\b", re.MULTILINE | re.DOTALL)
_INCLUDE = re.compile(r'^\s*`include\s+"([^"]+)"', re.MULTILINE)
_SPECIFY = re.compile(r"^\s*specify\b.*?^\s*endspecify", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w+")


def _read(path: Path) -> str:
    """A file with the files that it includes."""
    return _INCLUDE.sub(lambda found: _read(path.parent / found[1]), path.read_text())


@functools.cache
def _modules(technology: Technology) -> Mapping[str, str]:
    """Texts of the models by name; our own in place of empty ones."""
    spec = importlib.util.find_spec("pyosys")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("pyosys is not installed: `pip install pyosys==0.70`")
    path = Path(next(iter(spec.submodule_search_locations))) / "share" / MODELS[technology]
    if not path.exists():
        raise ToolError(f"pyosys must have {path}, but it does not: `pip install pyosys==0.70`")
    texts = _SPECIFY.sub("", _read(path)), _OWN.read_text()
    return {found[1]: found[0] for text in texts for found in _MODULE.finditer(text)}


def cell_models(technology: Technology, netlist: str) -> str:
    """Verilog of the models of all cells that occur in a netlist.

    Parameters
    ----------
    technology: of the cells; generic netlists have none.

    Raises
    ------
    ToolError: pyosys, whose models they are, is not installed or not whole.
    """
    if technology not in MODELS:
        return ""
    modules = _modules(technology)
    own = set(re.findall(r"^module\s+(\w+)", netlist, re.MULTILINE))
    wanted: dict[str, None] = {}
    texts = [netlist]
    while texts:
        names = (n for n in _WORD.findall(texts.pop()) if n in modules and n not in own)
        for name in dict.fromkeys(names):
            if name not in wanted:
                wanted[name] = None
                texts.append(modules[name])
    return "\n".join(modules[name] for name in sorted(wanted))
