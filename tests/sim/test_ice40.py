"""Passes for an iCE40: every product in a block, no sum lost. Arrays: `test_netlist.py`."""

import pytest

from systolith.errors import ToolError
from systolith.sim.emit import run_yosys
from systolith.sim.ice40 import synth_ice40

CHAIN = """
module top(input clk, input signed [8:0] x, w, output signed [23:0] o);
  reg signed [23:0] s [0:LAST];
  assign o = s[LAST];
  integer i;
  always @(posedge clk) for (i = 0; i <= LAST; i = i + 1)
    s[i] <= (i ? s[i - 1] : 24'sd0) + (x ^ i) * w;
endmodule
"""


@pytest.mark.parametrize("rows", [2, 8])
def test_sums_wider_than_they_need_be(rows: int) -> None:
    """Registers with copies of the sign; `synth_ice40 -dsp` alone left 2 sums without a driver."""
    text = CHAIN.replace("LAST", str(rows - 1))
    passes = ["read_verilog -sv chain.v", *synth_ice40(), "write_verilog netlist.v"]
    found = run_yosys("", passes, outputs=["netlist.v"], inputs={"chain.v": text})
    assert found["netlist.v"].count("SB_MAC16 #") == rows


def test_what_has_no_driver_is_an_error() -> None:
    text = "module top(input a, output o); wire lost; assign o = a & lost; endmodule"
    passes = ["read_verilog lost.v", *synth_ice40()]
    with pytest.raises(ToolError, match="Found 1 problems in 'check -assert'"):
        run_yosys("", passes, outputs=[], inputs={"lost.v": text})
