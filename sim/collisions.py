"""Designs whose block RAMs give garbage for what is written in the cycle in which it is read.

Block RAMs of the ECP5, iCE40 and Gowin do. A design that runs right in this form needs no logic
around them, and `reads_apart` tells Yosys so.
"""

import re
from pathlib import Path

from amaranth.lib.wiring import Component

from systolith.hw.technology import Technology
from systolith.hw.top import Accelerator
from systolith.sim.accelerator import TOP, cached_verilog
from systolith.sim.emit import simulation_verilog, to_rtlil
from systolith.sim.netlist import reads_apart
from systolith.sim.verilator import build_model
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["PREFIX", "CollidingBackend", "colliding_verilog"]

PREFIX = "collided_"
"""Of the counters of cycles in which a read of a memory met a write; dots become underscores."""

_READ = re.compile(r"^\s*_\d+_ <= (?:\\(\S+) |(\w+) ?)\[")
_ZEROS = re.compile(r"<= \d+'[dh]0+;$")
_UNKNOWN = re.compile(r"^(\s*)(\S+ <= )(\d+)'[bh]x+;$")
_SOURCE = """
  reg [63:0] garbage = 64'h9e3779b97f4a7c15;
  always_ff @(posedge clk)
    garbage <= {garbage[62:0], garbage[63] ^ garbage[62] ^ garbage[60] ^ garbage[59]};
"""


def colliding_verilog(design: Component, name: str = "top") -> str:
    """Return Verilog of a design in which what is read while it is written is garbage.

    Every bit that a port writes in a cycle is of a pseudorandom number in what a clocked port reads
    at the same address in that cycle. A counter for each memory, ``collided_MEMORY``, counts the
    cycles in which that was so.

    Parameters
    ----------
    design: with a single clock, ``clk``.
    name: of the top module.
    """
    lines = simulation_verilog(reads_apart(to_rtlil(design, name)), name).split("\n")
    counters: dict[str, None] = {}
    memory = ""
    for n, line in enumerate(lines):
        if read := _READ.match(line):
            memory = re.sub(r"\W", "_", read[1] or read[2])
        if not (unknown := _UNKNOWN.match(line)):
            continue
        indent, target, width = unknown[1], unknown[2], int(unknown[3])
        if _ZEROS.search(lines[n - 1]):  # no bit of it is used
            lines[n] = f"{indent}{target}'0;"
            continue
        copies = ", ".join(["garbage"] * -(-width // 64))
        lines[n] = f"{indent}{target}{width}'({{{copies}}});"
        lines[n] += f" {PREFIX}{memory} <= {PREFIX}{memory} + 1;"
        counters[memory] = None
    declared = "".join(f"  reg [31:0] {PREFIX}{memory} = 0;\n" for memory in counters)
    text = "\n".join(lines)
    start = text.index(");\n", text.index(f"module {name}")) + 3
    return text[:start] + _SOURCE + declared + text[start:]


class CollidingBackend(VerilatorBackend):
    """Runs of a design with such memories; `collisions` tells how often reads met writes.

    Parameters
    ----------
    technology: of the design, one whose blocks are not named in it.
    """

    def __init__(self, technology: Technology = Technology.GENERIC) -> None:
        super().__init__()
        self._technology = technology
        self.name = "verilator-colliding"

    def collisions(self, spec: AcceleratorSpec) -> dict[str, int]:
        """Cycles in which that was so, by memory, in all runs so far."""
        values = self.dut(spec).internals
        return {name.removeprefix(PREFIX): int(values[name]) for name in values}

    def _library(self, spec: AcceleratorSpec) -> Path:
        def emit() -> str:
            return colliding_verilog(Accelerator(spec, technology=self._technology), TOP)

        form = f"colliding {self._technology} {Path(__file__).read_text()}"
        text = cached_verilog(form, spec, emit)
        return build_model(text, TOP, public=[f"{PREFIX}*"])
