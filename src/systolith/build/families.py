"""Families of parts: how each is synthesised, and how much of the part a cell takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from systolith.build.gowin import tie_output_enables
from systolith.constraints import Capacity, Family
from systolith.hw.technology import Technology
from systolith.sim.netlist import SYNTHESIS

__all__ = ["FAMILIES", "Resources", "Target"]

RESOURCES = ("luts", "ffs", "dsps", "block_rams", "large_rams")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a design takes, in the units of `Capacity`.

    Parameters
    ----------
    luts, ffs, dsps, block_rams, large_rams: as in `Capacity`.
    """

    luts: int = 0
    ffs: int = 0
    dsps: int = 0
    block_rams: float = 0
    large_rams: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{n: getattr(self, n) + getattr(other, n) for n in RESOURCES})

    def __mul__(self, times: int) -> "Resources":
        return Resources(**{n: getattr(self, n) * times for n in RESOURCES})

    def excess(self, capacity: Capacity) -> dict[str, tuple[int, int]]:
        """Return what there is too little of: by name, how much is used and how much there is."""
        pairs = {n: (ceil(getattr(self, n)), getattr(capacity, n)) for n in RESOURCES}
        return {n: (used, there) for n, (used, there) in pairs.items() if used > there}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """How to synthesise for a family.

    Parameters
    ----------
    passes: of yosys, from RTLIL whose top module is `top` to the family's cells.
    cells: what each cell takes; those that are missing take nothing (buffers, wide multiplexers,
        carries beside the look-up tables they belong to).
    names: what the family calls its resources.
    undefined_reads: its block RAMs give anything for a word that is written in the same cycle.
    amend: changes the netlist, in Yosys' JSON.
    """

    passes: tuple[str, ...]
    cells: Mapping[str, Resources]
    names: Mapping[str, str]
    undefined_reads: bool = False
    amend: Callable[[str], str] = lambda netlist: netlist

    def count(self, cells: Mapping[str, int]) -> Resources:
        """Add up the cells of a design, given the number of each type."""
        total = Resources()
        for name, number in cells.items():
            if name in self.cells:
                total += self.cells[name] * number
        return total


_LUT, _FF, _DSP = Resources(luts=1), Resources(ffs=1), Resources(dsps=1)
_RAM = Resources(block_rams=1)


def _ice40_cells() -> dict[str, Resources]:
    kinds = ("", "E", "N", "NE")
    resets = ("R", "S", "SR", "SS", "ER", "ES", "ESR", "ESS")
    registers = {f"SB_DFF{k}": _FF for k in (*kinds, *resets, *(f"N{r}" for r in resets))}
    rams = {f"SB_RAM40_4K{k}": _RAM for k in ("", "NR", "NW", "NRNW")}
    return (
        registers
        | rams
        | {
            "SB_LUT4": _LUT,
            "SB_MAC16": _DSP,
            "SB_SPRAM256KA": Resources(large_rams=1),
        }
    )


def _gowin_cells() -> dict[str, Resources]:
    luts = {f"LUT{n}": _LUT for n in range(1, 5)} | {"ALU": _LUT}
    registers = {
        f"DFF{n}{kind}": _FF
        for n in ("", "N")
        for kind in ("", "E", "S", "SE", "R", "RE", "P", "PE", "C", "CE")
    }
    rams = dict.fromkeys(("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9"), _RAM)
    small = {f"RAM16S{n}": Resources(luts=2 * n) for n in (1, 2, 4)}
    small |= {f"RAM16SDP{n}": Resources(luts=2 * n) for n in (1, 2, 4)}
    wide = dict.fromkeys(("MULT18X18", "MULTALU18X18", "MULTADDALU18X18"), Resources(dsps=2))
    return (
        luts
        | registers
        | rams
        | small
        | wide
        | {
            "MULT9X9": _DSP,
            "MULTADDALU18X18": Resources(dsps=4),
            "MULT36X36": Resources(dsps=8),
        }
    )


def _xilinx_cells(dsp: str, generation: int) -> dict[str, Resources]:
    luts = {f"LUT{n}": _LUT for n in range(1, 7)} | {"SRL16E": _LUT, "SRLC32E": _LUT, "INV": _LUT}
    registers = dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), _FF)
    small = {"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4}
    small |= {"RAM32M16": 8, "RAM64M8": 8, "RAM32X1S": 1, "RAM64X1S": 1}
    rams = {name: Resources(luts=n) for name, n in small.items()}
    return (
        luts
        | registers
        | rams
        | {
            dsp: _DSP,
            f"RAMB36E{generation}": _RAM,
            f"RAMB18E{generation}": Resources(block_rams=0.5),
            "URAM288": Resources(large_rams=1),
        }
    )


def _names(dsp: str, ram: str, large: str = "") -> dict[str, str]:
    """The family's names of resources."""
    names = {"luts": "LUT", "ffs": "FF", "dsps": dsp, "block_rams": ram}
    return names | ({"large_rams": large} if large else {})


FAMILIES: Mapping[Family, Target] = {
    Family.ECP5: Target(
        passes=tuple(SYNTHESIS[Technology.ECP5]("top")),
        cells={
            "LUT4": _LUT,
            "CCU2C": Resources(luts=2),
            "TRELLIS_DPR16X4": Resources(luts=6),
            "TRELLIS_FF": _FF,
            "MULT18X18D": _DSP,
            "DP16KD": _RAM,
            "PDPW16KD": _RAM,
        },
        names=_names("MULT18X18D", "DP16KD"),
        undefined_reads=True,
    ),
    Family.ICE40: Target(
        passes=tuple(SYNTHESIS[Technology.ICE40]("top")),
        cells=_ice40_cells(),
        names=_names("SB_MAC16", "SB_RAM40_4K", "SB_SPRAM256KA"),
        undefined_reads=True,
    ),
    Family.GOWIN: Target(
        passes=tuple(SYNTHESIS[Technology.GOWIN]("top")),
        cells=_gowin_cells(),
        names=_names("MULT9X9", "BSRAM"),
        undefined_reads=True,
        amend=tie_output_enables,
    ),
    Family.XC7: Target(
        passes=tuple(SYNTHESIS[Technology.XILINX7]("top")),
        cells=_xilinx_cells("DSP48E1", 1),
        names=_names("DSP48E1", "RAMB36"),
    ),
    Family.XCUP: Target(
        passes=tuple(SYNTHESIS[Technology.ULTRASCALE]("top")),
        cells=_xilinx_cells("DSP48E2", 2),
        names=_names("DSP48E2", "RAMB36", "URAM288"),
    ),
}
