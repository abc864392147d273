"""The technologies that blocks are mapped to: which primitives multiply and remember."""

from enum import StrEnum

__all__ = ["Technology"]


class Technology(StrEnum):
    """A family of chips, whose primitives a design may contain in place of plain operators.

    The functions are the same in all of them, cycle by cycle. `GENERIC` has no primitives, is what
    simulators run and what ASIC flows get. The others leave to the synthesis tool what it maps
    well, and name a primitive where it does not.
    """

    GENERIC = "generic"
    ECP5 = "ecp5"
    ICE40 = "ice40"
    GOWIN = "gowin"
    XILINX7 = "xilinx7"
    ULTRASCALE = "ultrascale"
