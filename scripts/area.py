"""Count DSPs, LUTs and flip-flops of parts of the accelerator, by yosys, for two FPGA families.

`python scripts/area.py requantizer` prints a row per variant. Every part is synthesized alone; a
requantizer is one lane's.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from amaranth.lib.wiring import Component

from systolith.hw.requant import Requantizer
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.spec.requant import RequantMode, RequantWidths


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """An FPGA family.

    Parameters
    ----------
    synthesis: yosys' command.
    dsps, flip_flops: cells, and how many of it each counts as.
    luts: cells that take lookup tables.
    """

    synthesis: str
    dsps: Mapping[str, int]
    flip_flops: Mapping[str, int]
    luts: Mapping[str, int]


FAMILIES: Mapping[str, Family] = {
    "ecp5": Family(
        synthesis="synth_ecp5 -top top",
        dsps={"MULT18X18D": 1},
        flip_flops={"TRELLIS_FF": 1},
        # A carry cell takes the place of two lookup tables.
        luts={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
    ),
    "xc7": Family(
        synthesis="synth_xilinx -top top -family xc7 -noiopad -noclkbuf",
        dsps={"DSP48E1": 1},
        flip_flops={"FDRE": 1, "FDSE": 1, "FDCE": 1, "FDPE": 1},
        luts={**{f"LUT{n}": 1 for n in range(1, 7)}, "INV": 1, "SRL16E": 1, "SRLC32E": 1},
    ),
}
Variants = Iterator[tuple[str, Component]]


def requantizers() -> Variants:
    """Modes and widths that `systolith fit` chooses among, and those of the presets."""
    double, float32 = RequantMode.DOUBLE, RequantMode.FLOAT32
    fixed, magnitude = RequantMode.FIXED, RequantMode.MAGNITUDE
    rows = (
        ((double, float32, fixed), 32, 32),
        ((double,), 32, 32),
        ((float32,), 25, 32),
        ((float32, fixed), 25, 32),
        ((fixed,), 32, 32),
        ((magnitude,), 32, 32),
        ((fixed, magnitude), 32, 32),
        ((magnitude,), 25, 19),
        ((fixed, magnitude), 25, 19),
        ((fixed,), 24, 19),
        ((fixed,), 24, 18),
        ((fixed,), 18, 32),
        ((fixed,), 18, 18),
        ((fixed,), 16, 16),
    )
    for modes, multiplier, accumulator in rows:
        widths = RequantWidths(multiplier=multiplier, accumulator=accumulator)
        name = "+".join(mode.name.lower() for mode in modes)
        yield f"{name} {multiplier}x{accumulator}", Requantizer(frozenset(modes), widths)


GROUPS: Mapping[str, Callable[[], Variants]] = {"requantizer": requantizers}


def count(component: Component, family: Family) -> tuple[int, int, int]:
    """Synthesize a component and return its DSPs, LUTs and flip-flops."""
    passes = [family.synthesis, "tee -o stat.json stat -json"]
    text = run_yosys(to_rtlil(component), passes, outputs=["stat.json"])["stat.json"]
    cells = json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]
    dsps, luts, flip_flops = (
        sum(weight * cells.get(name, 0) for name, weight in table.items())
        for table in (family.dsps, family.luts, family.flip_flops)
    )
    return dsps, luts, flip_flops


def main() -> int:
    """Print the rows of the chosen groups."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(GROUPS))
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--only", default="", help="variants whose name has this text")
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"group must be one of {', '.join(GROUPS)}, not {sorted(unknown)[0]!r}")
    print(f"{'variant':<32} {'family':<6} {'DSP':>5} {'LUT':>6} {'FF':>6}")
    for group in arguments.groups or GROUPS:
        for name, component in GROUPS[group]():
            for family in arguments.family:
                if arguments.only not in name:
                    continue
                start = time.monotonic()
                dsps, luts, flip_flops = count(component, FAMILIES[family])
                seconds = time.monotonic() - start
                row = f"{name:<32} {family:<6} {dsps:>5} {luts:>6} {flip_flops:>6}"
                print(f"{row} {seconds:>7.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
