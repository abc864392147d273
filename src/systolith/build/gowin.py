"""What Gowin's block RAMs need besides what Yosys gives them."""

import json

__all__ = ["tie_output_enables"]

_ENABLES = {
    "SP": {"OCE": "CE"},
    "SPX9": {"OCE": "CE"},
    "SDPB": {"OCE": "CEB"},
    "SDPX9B": {"OCE": "CEB"},
    "DPB": {"OCEA": "CEA", "OCEB": "CEB"},
    "DPX9B": {"OCEA": "CEA", "OCEB": "CEB"},
}
"""Of each cell: the enables of output registers, and the ports' own."""


def tie_output_enables(netlist: str) -> str:
    """Connect the enables of block RAMs' output registers to those of their ports.

    Yosys has them at 1. Without such a register they have no function by the data sheet (UG285),
    but reads have been seen on the chip that were lost or repeated where the two differ. Nextpnr
    does the same, for dual ports of up to nine bits alone.

    Parameters
    ----------
    netlist: Yosys' JSON, whose top module is `top`.
    """
    data = json.loads(netlist)
    for cell in data["modules"]["top"]["cells"].values():
        for output, port in _ENABLES.get(cell["type"], {}).items():
            cell["connections"][output] = cell["connections"][port]
    return json.dumps(data)
