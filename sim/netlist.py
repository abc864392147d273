"""Netlists of a technology's cells, as Yosys synthesises them, and Verilog to simulate them."""

import re
from collections.abc import Callable, Mapping, Sequence

from amaranth.lib.wiring import Component

from systolith.errors import InputError
from systolith.hw.technology import Technology
from systolith.sim.cells import MODELS, cell_models, own_models
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.sim.ice40 import synth_ice40

__all__ = ["SYNTHESIS", "UNDEFINED_READS", "reads_apart", "synthesise", "with_models"]


def _command(text: str) -> Callable[[str], Sequence[str]]:
    """One command of Yosys for all."""
    return lambda top: [f"{text} -top {top}"]


SYNTHESIS: Mapping[Technology, Callable[[str], Sequence[str]]] = {
    Technology.ECP5: _command("synth_ecp5"),
    Technology.ICE40: synth_ice40,
    Technology.GOWIN: _command("synth_gowin -family gw2a"),
    Technology.XILINX7: _command("synth_xilinx -family xc7 -flatten -noiopad -noclkbuf"),
    Technology.ULTRASCALE: _command("synth_xilinx -family xcup -uram -flatten -noiopad -noclkbuf"),
}
"""Yosys' passes for each technology, given the name of the top module."""


UNDEFINED_READS = frozenset({Technology.ECP5, Technology.ICE40, Technology.GOWIN})
"""Technologies whose block RAMs give anything for a word that is written in the same cycle."""

_RTLIL_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"^ *cell \$mem(rd|wr)_v2 .*?^ *end$", re.MULTILINE | re.DOTALL)
_MASK = re.compile(r"(parameter \\COLLISION_X_MASK )\d+'[01]+")


def reads_apart(rtlil: str) -> str:
    """Say of all memories that what is read while it is written is never used.

    Without this Yosys adds a comparison and registers to every block RAM of `UNDEFINED_READS`, to
    give what was there before. That nothing in an accelerator uses it is for
    `tests/e2e/test_collisions.py` to show. Ports with clocks of their own stay as they are.

    Parameters
    ----------
    rtlil: a design as Amaranth writes it.
    """
    return _RTLIL_MODULE.sub(lambda module: _mark(module[0]), rtlil)


def _mark(module: str) -> str:
    """The text of a module, with the masks of its memories' read ports."""
    writers: dict[str, list[str]] = {}
    for port in _PORT.finditer(module):
        if port[1] == "wr":
            writers.setdefault(_value(port[0], "MEMID"), []).append(_value(port[0], "CLK"))

    def marked(port: re.Match[str]) -> str:
        clocks = writers.get(_value(port[0], "MEMID"), [])
        # A mask has a bit for each writer; with several the order would matter.
        if port[1] == "wr" or len(clocks) != 1 or "\\CLK_ENABLE 1" not in port[0]:
            return port[0]
        apart = clocks[0] == _value(port[0], "CLK") and "\\TRANSPARENCY_MASK 1'0" in port[0]
        return _MASK.sub(rf"\g<1>1'{int(apart)}", port[0])

    return _PORT.sub(marked, module)


def _value(cell: str, name: str) -> str:
    """A parameter, or what a port is connected to."""
    found = re.search(rf"\\{name} (.*)$", cell, re.MULTILINE)
    return found[1] if found else ""


def synthesise(
    component: Component, technology: Technology, name: str = "top", *, apart: bool = True
) -> str:
    """Synthesise a component, and return its netlist as Verilog.

    Parameters
    ----------
    component: made for this technology; seconds for an array, minutes for an accelerator.
    name: of the top module.
    apart: where block RAMs give anything then, nothing uses what is read while it is written
        (`reads_apart`), as in builds for boards.

    Raises
    ------
    InputError: the technology has no cells.
    ToolError: Yosys failed, or is not installed.
    """
    if technology not in SYNTHESIS:
        known = ", ".join(SYNTHESIS)
        raise InputError(f"technology must be one of {known} for a netlist, not {technology!s}")
    passes = [*SYNTHESIS[technology](name), "write_verilog -noattr -norename netlist.v"]
    rtlil = to_rtlil(component, name)
    if apart and technology in UNDEFINED_READS:
        rtlil = reads_apart(rtlil)
    return run_yosys(rtlil, passes, outputs=["netlist.v"])["netlist.v"]


def with_models(netlist: str, technology: Technology, name: str = "top") -> str:
    """Return Verilog that simulates a netlist: its cells as their models say.

    Yosys puts its models in the places of their cells and sweeps what constants leave of them:
    Verilator takes ten times as long for ten thousands of instances. Blocks with models of our own
    stay instances.

    Parameters
    ----------
    netlist: as `synthesise` returned it.
    technology: of its cells.
    name: of the top module.

    Raises
    ------
    ToolError: Yosys failed, or is not installed.
    """
    passes = [
        "read_verilog -sv netlist.v",
        f"read_verilog -overwrite +/{MODELS[technology]}",
        f"blackbox {' '.join(own_models())}",
        f"hierarchy -top {name}",
        "proc",
        "flatten",
        "rename -hide",
        "opt_clean -purge",
        "opt_expr",
        "opt_dff",
        "opt_clean -purge",
        "write_verilog -noattr flat.v",
    ]
    inputs = {"netlist.v": netlist}
    flat = run_yosys("", passes, outputs=["flat.v"], inputs=inputs)["flat.v"]
    return f"{flat}\n{cell_models(flat)}\n"
