import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.sim import SimulatorContext

from systolith.errors import ToolError
from systolith.sim.dut import Dut
from systolith.sim.emit import (
    LINT_WAIVERS,
    lint,
    readable_verilog,
    run_yosys,
    simulation_verilog,
    to_rtlil,
)
from systolith.sim.pysim import simulate

INPUTS = {"x": (-128, 127), "address": (0, 63), "write": (0, 1), "word": (0, 0xBAC)}
INPUTS |= {"wide": (0, 2**100 - 1)}
STREAM = {"i__valid": (0, 1), "i__payload": (0, 255), "o__ready": (0, 1)}
OUTPUTS = ["read", "total", "wide_sum", "i__ready", "o__valid", "o__payload"]


def stimulus(count: int, seed: int) -> dict[str, list[int]]:
    rng = random.Random(seed)
    both = {**INPUTS, **STREAM}
    return {name: [rng.randint(*span) for _ in range(count)] for name, span in both.items()}


def pysim_outputs(component: Component, inputs: dict[str, list[int]]) -> dict[str, list[int]]:
    outputs: dict[str, list[int]] = {name: [] for name in OUTPUTS}

    def port(name: str) -> object:
        owner, _, member = name.rpartition("__")
        return getattr(getattr(component, owner), member) if owner else getattr(component, name)

    async def bench(ctx: SimulatorContext) -> None:
        # The Verilator wrapper resets for two cycles, in which memories are read at address 0.
        for cycle in range(len(inputs["x"])):
            for name, values in inputs.items():
                ctx.set(port(name), values[cycle])
            for name, values in outputs.items():
                values.append(ctx.get(port(name)))
            await ctx.tick()

    simulate(component, bench)
    return outputs


def test_readable_simulation_and_pysim_agree(mixed: Component, compiler: None) -> None:
    inputs = stimulus(300, seed=1)
    expected = pysim_outputs(type(mixed)(), inputs)
    for emit in (readable_verilog, simulation_verilog):
        with Dut.build(emit(mixed)) as dut:
            actual = dut.drive(inputs, OUTPUTS)
        for name in OUTPUTS:
            assert actual[name].tolist() == expected[name], (emit.__name__, name)


def test_readable_form_is_lint_clean_and_readable(mixed: Component) -> None:
    text = readable_verilog(mixed, "mixed")
    assert lint(text, "mixed") == []
    assert re.search(r"^module mixed \(\n  input wire clk,\n  input wire rst,$", text, re.M)
    assert "  output wire signed [16:0] total" in text
    assert 'else $error("word is bad");' in text
    assert text.count("\nmodule ") == 2  # both accumulators are one module
    assert text.count("  mixed_minus ") + text.count("  mixed_plus ") == 2
    assert "for (index = 0; index < 64; index = index + 1) store[index] = 24'h0;" in text
    assert "\\table [1] = 8'h05;" in text
    assert set(re.findall(r"\\[^$]\S*", text)) <= {"\\table"}  # a keyword of user primitives


def test_lint_reports_what_is_wrong() -> None:
    found = lint("module top(input wire a, output wire b);\nendmodule\n")
    assert any("UNDRIVEN" in line for line in found)
    assert any("syntax" in line for line in lint("module top(; endmodule"))


def test_waivers_have_reasons() -> None:
    assert all(len(reason) > 30 for reason in LINT_WAIVERS.values())


@pytest.mark.parametrize("emit", [to_rtlil, readable_verilog, simulation_verilog])
def test_same_design_same_text(mixed: Component, emit) -> None:
    assert emit(mixed) == emit(type(mixed)())


class Large(Component):
    address: In(13)
    data: Out(128)

    def __init__(self, contents: list[int]) -> None:
        self.contents = contents
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=128, depth=8192, init=self.contents)
        port = memory.read_port()
        m.d.comb += [port.addr.eq(self.address), self.data.eq(port.data)]
        return m


def test_a_large_memory_is_a_short_text() -> None:
    assert len(simulation_verilog(Large([]))) < 1000
    assert "store" not in to_rtlil(Large([]))
    text = simulation_verilog(Large([0, 3]))
    assert len(text) < 1000 and "memory[1] = 128'h00000000000000000000000000000003;" in text


def test_yosys_errors_are_ours_and_leave_the_process_alive() -> None:
    with pytest.raises(ToolError, match=r"^yosys failed: ERROR: No such command: nonsense"):
        run_yosys("", ["nonsense"], outputs=[])


def test_yosys_returns_files_and_log(mixed: Component) -> None:
    files = run_yosys(to_rtlil(mixed), ["proc", "stat"], outputs=["log"])
    assert "Number of cells" in files["log"] or "cells" in files["log"]


def test_job_needs_nothing_of_the_package() -> None:
    source = (Path(sys.modules["systolith.sim.emit"].__file__).parent / "yosys_job.py").read_text()
    assert "systolith" not in source
    assert np.__name__ not in source
