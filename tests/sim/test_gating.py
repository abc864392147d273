"""Gated logic: what is moved, and that no output changes in any cycle."""

import re

import numpy as np
import pytest
from amaranth.lib.wiring import Component

from systolith.hw.lane import PostLane
from systolith.hw.loops import LoopNest
from systolith.hw.queue import CommandQueue
from systolith.sim.binding import Model
from systolith.sim.emit import simulation_verilog
from systolith.sim.gating import gate_logic
from systolith.sim.verilator import build_model
from systolith.spec.requant import RequantMode

CYCLES = 3000

MODULE = """module top(clk, rst, en, a, o, p);
  input clk;
  wire clk;
  input [7:0] a;
  wire [7:0] a;
  output [7:0] o;
  reg [7:0] o;
  output [7:0] p;
  wire [7:0] p;
  wire signed [7:0] sum;
  wire [7:0] double;
  wire [7:0] both;
  wire [7:0] ring;
  wire dead;
  reg [7:0] q;
  assign dead = a[0];
  assign sum = double + 8'h01;
  assign both = a ^ 8'h80;
  assign double = { a[6:0], 1'h0 };
  assign p = both;
  assign ring[0] = a[0];
  assign ring[7:1] = ring[6:0];
  always_ff @(posedge clk)
    if (rst) o <= 8'h00;
    else if (en) o <= sum;
  always_ff @(posedge clk) begin
    if (en) begin
      q <= both & ring;
    end
  end
endmodule
"""


def test_logic_of_one_enable_is_moved_behind_what_it_reads() -> None:
    """Into the block of the enable, in the order of the data, with its sign."""
    text = gate_logic(MODULE)
    block = text[text.index("begin : systolith_gate_0") :]
    assert "automatic logic signed [7:0] sum;" in block
    assert block.index("double = {") < block.index("sum = double") < block.index("o <= sum")
    assert re.search(r"if \(en\) begin.*q <= both & ring;\n    end\n", block, re.S)
    assert "wire signed [7:0] sum" not in text


def test_resets_come_last() -> None:
    """The last assignment of a block wins: reset has priority over the enable."""
    assert re.search(r"    end\n    if \(rst\) o <= 8'h00;\n  end", gate_logic(MODULE))


@pytest.mark.parametrize("name", ["both", "p", "ring"])
def test_other_logic_stays(name: str) -> None:
    """Logic with another use, of a port, or that reads itself bit by bit, is always evaluated."""
    assert re.search(rf"^  assign {name}\b.* = ", gate_logic(MODULE), re.M)


def test_unused_logic_goes() -> None:
    """What nobody reads is neither declared nor evaluated."""
    assert "dead" not in gate_logic(MODULE)


def drive(model: Model, ports: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs, [cycle, byte] each."""
    outputs = {
        name: np.zeros((CYCLES, variable.word_bytes), np.uint8)
        for name, variable in model.variables.items()
        if variable.direction == "out"
    }
    assert model.drive(CYCLES, ports, outputs) == CYCLES
    return outputs


COMPONENTS = {
    "lane": lambda: PostLane(frozenset(RequantMode), residual=True, tables=1),
    "loops": lambda: LoopNest(3, 2, address_bits=12, count_bits=3, stride_bits=8),
    "queue": lambda: CommandQueue(70, 4),
}


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", COMPONENTS)
def test_outputs_are_the_same_in_every_cycle(name: str) -> None:
    """For random inputs, in long busy and long idle stretches."""
    component: Component = COMPONENTS[name]()
    gated = simulation_verilog(component, gated=True)
    assert "automatic logic" in gated
    rng = np.random.default_rng(7)
    plain, ours = (
        Model(build_model(text, jobs=1)) for text in (simulation_verilog(component), gated)
    )
    ports = {}
    for port, variable in plain.variables.items():
        if variable.direction != "in" or port == "clk":
            continue
        density = rng.choice([0.02, 0.3, 0.9], CYCLES // 100).repeat(100)[:, None]
        bits = rng.random((CYCLES, variable.width)) < (density if variable.width == 1 else 0.5)
        if port == "rst":
            bits = rng.random((CYCLES, 1)) < 0.005
        packed = np.packbits(bits, axis=1, bitorder="little")
        ports[port] = np.pad(packed, ((0, 0), (0, variable.word_bytes - packed.shape[1])))
    expected, found = drive(plain, ports), drive(ours, ports)
    assert any(values.any() for values in expected.values())
    for port, values in expected.items():
        np.testing.assert_array_equal(found[port], values, err_msg=f"port {port}")
