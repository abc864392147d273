"""The embedded network on the generated Verilog, through its bus, in cocotb."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.errors import ToolError
from systolith.hw.top import Accelerator
from systolith.importers import load_model
from systolith.sim.cocotb_bench import run_cocotb
from systolith.sim.emit import readable_verilog
from systolith.sim.golden_backend import GoldenBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.requant import RequantMode
from systolith.verify.samples import default_model

SPEC = AcceleratorSpec(
    name="digits",
    array=ArraySpec(rows=8, columns=4),
    memory=MemorySpec(
        activation_bytes=8192, weight_bytes=32768, accumulator_depth=32, parameter_channels=256,
        command_words=1024, tables=0, stamps=32,
    ),
    post=PostSpec(lanes=2, modes=frozenset({RequantMode.FLOAT32, RequantMode.FIXED})),
)  # fmt: skip


def test_embedded_network_through_the_bus(tmp_path: Path) -> None:
    for name in ("cocotb", "cocotbext"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: `pip install cocotb cocotbext-axi`")
    program = compile_graph(load_model(default_model()), SPEC).program
    rng = np.random.default_rng(11)
    inputs = {}
    for name in program.inputs:
        buffer = program.buffers[name]
        limits = np.iinfo(buffer.dtype)
        inputs[name] = rng.integers(
            limits.min, limits.max, buffer.shape, dtype=buffer.dtype, endpoint=True
        )
    outputs = GoldenBackend().run(program, inputs).tensors
    (tmp_path / "program.bin").write_bytes(program.to_bytes())
    tensors = {f"in_{k}": v for k, v in inputs.items()}
    tensors |= {f"out_{k}": v for k, v in outputs.items()}
    np.savez(tmp_path / "tensors.npz", **tensors)
    bench = Path(__file__).with_name("network_bench.py")
    try:
        tests, failures = run_cocotb(
            readable_verilog(Accelerator(SPEC), SPEC.name), SPEC.name, bench, tmp_path,
            environment={"SYSTOLITH_BENCH": str(tmp_path)},
        )  # fmt: skip
    except ToolError as error:
        pytest.skip(str(error))
    assert (tests, failures) == (1, 0)
