"""Delays of cells and wires, for estimates of the clock: typical, fitted to nextpnr's results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import log2
from re import fullmatch

from systolith.constraints import Family

__all__ = ["DELAYS", "SPREADS", "CellDelays", "FamilyDelays"]


Wires = tuple[tuple[str, str, str], ...]
"""Kinds of wires: patterns of the driver's type, the cell's type, and its input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellDelays:
    """Delays of a type of cell in ns; ports are patterns of their names.

    Parameters
    ----------
    starts: outputs that a clock edge changes, and how much later.
    ends: inputs that a register takes, and how long before the edge they must be there.
    paths: input, output and delay of logic between them.
    """

    starts: tuple[tuple[str, float], ...] = ()
    ends: tuple[tuple[str, float], ...] = ()
    paths: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyDelays:
    """Delays of a family at its fastest speed grade, in ns.

    Parameters
    ----------
    cells: by pattern of the type; of a multiplier by the type, `+in` and `+out`, as `registers`
        are used. The first that fits counts; a type that is missing is neither passed nor timed.
    registers: parameters of multipliers that are set if operands (`+in`) or results (`+out`) are
        registered, by part of the name.
    wire, spread: a wire to n inputs takes ``wire + spread * log2(n)``.
    dedicated: wires with no delay: types of driver and cell, and the cell's inputs.
    local: delay of a wire within a logic block, if it ends nowhere else.
    pairs: such wires, as `dedicated`.
    speeds: slower speed grades: all delays are so many times longer.
    """

    cells: Mapping[str, CellDelays]
    registers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wire: float
    spread: float
    dedicated: Wires
    local: float
    pairs: Wires
    speeds: Mapping[str, float] = field(default_factory=dict)

    def wire_ns(self, driver: str, cell: str, port: str, inputs: int) -> float:
        """Return the delay of a wire to an input.

        Parameters
        ----------
        driver, cell: types of the cells at its ends.
        inputs: how many it has in all.
        """
        if _joins(self.dedicated, driver, cell, port):
            return 0.0
        if inputs == 1 and _joins(self.pairs, driver, cell, port):
            return self.local
        return self.wire + self.spread * log2(max(1, inputs))

    def of_type(self, name: str) -> CellDelays | None:
        """Return the delays of a type of cell, or None if it is not timed."""
        return next((d for pattern, d in self.cells.items() if _matches(pattern, name)), None)


@cache
def _matches(pattern: str, name: str) -> bool:
    return fullmatch(pattern, name) is not None


@cache
def _joins(wires: Wires, *ends: str) -> bool:
    return any(all(map(_matches, wire, ends)) for wire in wires)


def _multiplier(
    name: str, ins: str, outs: str, controls: str, delays: tuple[float, float, float, float]
) -> dict[str, CellDelays]:
    """A multiplier with and without registers.

    Parameters
    ----------
    delays: through it, operand to the product's register, operand register to product, product
        register to output.
    """
    through, setup, product, output = delays
    return {
        rf"{name}\+in\+out": CellDelays(starts=((outs, output),), ends=((ins, 0), (controls, 0))),
        rf"{name}\+in": CellDelays(starts=((outs, product),), ends=((ins, 0), (controls, 0))),
        rf"{name}\+out": CellDelays(starts=((outs, output),), ends=((ins, setup), (controls, 0))),
        name: CellDelays(paths=((ins, outs, through),)),
    }


_ECP5 = FamilyDelays(
    cells={
        "LUT4": CellDelays(paths=(("[A-D]", "Z", 0.2),)),
        "PFUMX": CellDelays(paths=(("[AB]LUT", "Z", 0.1), ("C0", "Z", 0.19))),
        "L6MUX21": CellDelays(paths=(("D[01]", "Z", 0.1), ("SD", "Z", 0.19))),
        "CCU2C": CellDelays(
            paths=(
                ("[A-D]0", "S0", 0.2), ("[A-D]0", "S1", 0.5), ("[A-D]1", "S1", 0.2),
                ("[A-D][01]", "COUT", 0.35), ("CIN", "COUT", 0.06), ("CIN", "S[01]", 0.33),
            )
        ),
        "TRELLIS_FF": CellDelays(
            starts=(("Q", 0.4),), ends=(("DI|M|CE", 0.0), ("LSR", 0.3))
        ),
        "TRELLIS_DPR16X4": CellDelays(
            starts=(("DO", 0.4),), ends=(("DI|WAD|WRE", 0.0),), paths=(("RAD", "DO", 0.2),)
        ),
        "P?DP16KD|PDPW16KD": CellDelays(
            starts=((r"DO[AB]?\d*", 4.26),),
            ends=((r"(AD|DI|CE|OCE|WE|CS|RST|BE|DO)[ABWR]?\d*", 0.2),),
        ),
        **_multiplier(
            "MULT18X18D", r"[AB]\d+", r"P\d+", r"(CE|RST)\d", (3.0, 3.0, 3.0, 1.0)
        ),
    },
    registers={
        "+in": ("REG_INPUTA_CLK",), "+out": ("REG_OUTPUT_CLK", "REG_PIPELINE_CLK"),
    },
    wire=0.5,
    spread=0.15,
    dedicated=(
        ("CCU2C", "CCU2C", "CIN"), ("LUT4", "PFUMX", "[AB]LUT"), (".*", "L6MUX21", "D[01]"),
    ),
    local=0.2,
    pairs=((".*", "TRELLIS_FF", "DI"),),
    speeds={"7": 1.13, "6": 1.27},
)  # fmt: skip

_ICE40 = FamilyDelays(
    cells={
        "SB_LUT4": CellDelays(paths=(("I[0-2]", "O", 1.2), ("I3", "O", 0.87))),
        "SB_CARRY": CellDelays(paths=(("I[01]", "CO", 0.68), ("CI", "CO", 0.28))),
        "SB_DFF.*": CellDelays(starts=(("Q", 1.39),), ends=(("[DERS]", 0.1),)),
        "SB_RAM40_4K.*": CellDelays(
            starts=(("RDATA", 3.0),), ends=(("(R|W)(ADDR|E|CLKE)|WDATA|MASK", 0.3),)
        ),
        "SB_SPRAM256KA": CellDelays(
            starts=(("DATAOUT", 3.0),),
            ends=(("ADDRESS|DATAIN|MASKWREN|WREN|CHIPSELECT", 0.3),),
        ),
        **_multiplier("SB_MAC16", "[A-D]", "O", "CE|IR.*|OR.*|[A-D]HOLD", (8.0, 7.0, 5.0, 1.4)),
    },
    registers={"+in": ("A_REG",), "+out": ("TOPOUTPUT_SELECT", "BOTOUTPUT_SELECT")},
    wire=1.5,
    spread=0.3,
    dedicated=(("SB_CARRY", "SB_CARRY", "CI"), ("SB_CARRY", "SB_LUT4", "I3")),
    local=0.0,
    pairs=(("SB_LUT4", "SB_DFF.*", "D"),),
)

_GOWIN = FamilyDelays(
    cells={
        "LUT[1-4]": CellDelays(paths=((r"I\d", "F", 0.4),)),
        "MUX2_LUT[5-8]": CellDelays(paths=((r"I\d", "O", 0.1), ("S0", "O", 0.2))),
        "ALU": CellDelays(
            paths=((r"I\d", "SUM|COUT", 0.57), ("CIN", "COUT", 0.04), ("CIN", "SUM", 0.43))
        ),
        "DFF.*": CellDelays(
            starts=(("Q", 0.23),), ends=(("D|CE", 0.1), ("SET|RESET|PRESET|CLEAR", 0.1))
        ),
        r"RAM16SDP?\d": CellDelays(
            starts=(("DO", 0.4),), ends=(("DI|WAD|WRE", 0.1),), paths=(("RAD|AD", "DO", 0.4),)
        ),
        "(S|D|SD)P[BX9]*": CellDelays(
            starts=(("DO[AB]?", 2.3),),
            ends=(("(AD|DI|CE|OCE|WRE|RESET|BLKSEL)[AB]?", 0.2),),
        ),
        **_multiplier("MULT(9X9|18X18)", "[AB]", "DOUT", "CE|RESET", (3.0, 2.5, 2.5, 0.5)),
    },
    registers={"+in": ("AREG",), "+out": ("OUT_REG", "PIPE_REG")},
    wire=0.5,
    spread=0.15,
    dedicated=(("ALU", "ALU", "CIN"), ("LUT.|MUX2.*", "MUX2_LUT.", "I[01]")),
    local=0.1,
    pairs=(("LUT.|ALU", "DFF.*", "D"),),
)

DELAYS: Mapping[Family, FamilyDelays] = {
    Family.ECP5: _ECP5,
    Family.ICE40: _ICE40,
    Family.GOWIN: _GOWIN,
}
"""Families without an entry have no open place and route to fit delays to."""

SPREADS: Mapping[Family, tuple[float, float]] = {
    Family.ECP5: (-0.23, 0.33),
    Family.ICE40: (-0.08, -0.08),
}
"""How much less and more placed and routed accelerators reached than estimated (docs/timing.md).
Families without an entry have not been compared."""
