"""Whole board tops with a small core, at their ports: see board_bench.py."""

import importlib.util
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from systolith.errors import ToolError
from systolith.hw.board import BoardTop
from systolith.sim.cocotb_bench import run_cocotb
from systolith.sim.emit import readable_verilog
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.stress import random_inputs
from systolith.sim.stress_external import random_external_program
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    BusSpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.bus import BusClock, HostBus, MemoryBus
from systolith.spec.requant import RequantMode

BENCH = Path(__file__).with_name("board_bench.py")
REPORT = os.environ.get("SYSTOLITH_BUS_REPORT")
SPEC = AcceleratorSpec(
    name="board",
    array=ArraySpec(rows=2, columns=2),
    memory=MemorySpec(
        activation_regions=2, activation_bytes=512, weight_bytes=2 * 48, accumulator_depth=8,
        parameter_channels=24, command_words=900, tables=1, stamps=4,
    ),
    post=PostSpec(lanes=1, modes=frozenset({RequantMode.FIXED}), residual=False),
    external=ExternalSpec(data_bytes=4, burst_beats=4, outstanding=3),
)  # fmt: skip
BUSES = {
    "axi": BusSpec(bus_clock=BusClock.SEPARATE),
    "wishbone": BusSpec(host=HostBus.WISHBONE, memory=MemoryBus.WISHBONE, stream_bytes=4),
}
TESTS = {"axi": 9, "wishbone": 5}


@pytest.mark.parametrize("name", ["axi", pytest.param("wishbone", marks=pytest.mark.slow)])
def test_board(name: str, tmp_path: Path) -> None:
    for module in ("cocotb", "cocotbext"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: `pip install systolith[test]`")
    rng = np.random.default_rng(7)  # a program with transfers of every kind, and jumps
    program = random_external_program(rng, replace(SPEC, bus=BUSES[name]), layers=3)
    inputs = random_inputs(rng, program)
    outputs = GoldenBackend().run(program, inputs).tensors
    (tmp_path / "program.bin").write_bytes(program.to_bytes())
    tensors = {f"in_{k}": v for k, v in inputs.items()}
    tensors |= {f"out_{k}": v for k, v in outputs.items()}
    np.savez(tmp_path / "tensors.npz", **tensors)
    folder = str(tmp_path)
    try:
        result = run_cocotb(
            readable_verilog(BoardTop(program.spec), "board"), "board", BENCH, tmp_path,
            environment={"SYSTOLITH_BENCH": folder, "SYSTOLITH_PROGRAM": folder},
        )  # fmt: skip
    except ToolError as error:
        pytest.skip(str(error))
    assert result == (TESTS[name], 0)
    if REPORT:
        shutil.copy(tmp_path / "tally.json", Path(REPORT) / f"board_{name}.json")
