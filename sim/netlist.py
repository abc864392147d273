"""Netlists of a technology's cells, as Yosys synthesises them, and Verilog to simulate them."""

from collections.abc import Callable, Mapping, Sequence

from amaranth.lib.wiring import Component

from systolith.errors import InputError
from systolith.hw.technology import Technology
from systolith.sim.cells import MODELS, cell_models, own_models
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.sim.ice40 import synth_ice40

__all__ = ["READS_APART", "SYNTHESIS", "synthesise", "with_models"]


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


READS_APART = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"
"""A pass in front of synthesis: what a clocked port reads while it is written is never used.

Block RAMs of the ECP5, iCE40 and Gowin give anything then; without this pass Yosys adds a
comparison and registers to every memory, to give what was there before. All our memories have one
port that writes. `tests/e2e/test_collisions.py` shows it.
"""


def synthesise(component: Component, technology: Technology, name: str = "top") -> str:
    """Synthesise a component, and return its netlist as Verilog.

    Parameters
    ----------
    component: made for this technology; seconds for an array, minutes for an accelerator.
    name: of the top module.

    Raises
    ------
    InputError: the technology has no cells.
    ToolError: Yosys failed, or is not installed.
    """
    if technology not in SYNTHESIS:
        known = ", ".join(SYNTHESIS)
        raise InputError(f"technology must be one of {known} for a netlist, not {technology!s}")
    passes = [*SYNTHESIS[technology](name), "write_verilog -noattr -norename netlist.v"]
    return run_yosys(to_rtlil(component, name), passes, outputs=["netlist.v"])["netlist.v"]


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
