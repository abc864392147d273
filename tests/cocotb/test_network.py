"""The embedded network at the ports of a board top, in cocotb: through the bus, and as streams."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.errors import ToolError
from systolith.host import run_model
from systolith.hw.board import BoardTop
from systolith.importers import load_model
from systolith.sim.cocotb_bench import run_cocotb
from systolith.sim.emit import readable_verilog
from systolith.sim.golden_backend import GoldenBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, BusSpec, MemorySpec, PostSpec
from systolith.spec.requant import RequantMode
from systolith.verify.samples import choose_samples, default_model

SPEC = AcceleratorSpec(
    name="digits",
    array=ArraySpec(rows=8, columns=4),
    memory=MemorySpec(
        activation_bytes=8192, weight_bytes=32768, accumulator_depth=32, parameter_channels=256,
        command_words=1024, tables=0, stamps=32,
    ),
    post=PostSpec(lanes=2, modes=frozenset({RequantMode.FLOAT32, RequantMode.FIXED})),
    bus=BusSpec(stream_bytes=4),
)  # fmt: skip
COUNT = 3


def test_embedded_network_at_the_ports(tmp_path: Path) -> None:
    """Digits of the test set; the codes are golden's, and the classes are the labels."""
    for name in ("cocotb", "cocotbext"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: `pip install cocotb cocotbext-axi`")
    compiled = compile_graph(load_model(default_model()), SPEC)
    graph, program = compiled.graph, compiled.program
    samples, _ = choose_samples(graph, None, None, COUNT)
    (source,), (inner,), (output,) = graph.inputs, program.inputs, program.outputs
    images, wanted = [], []
    for value in samples.inputs[source]:
        tensor = graph.tensors[source]
        image = tensor.canonical(value.reshape(tensor.source_shape))
        tensors = run_model(compiled, GoldenBackend(), {source: image}).tensors
        images.append(tensors[inner])
        wanted.append(tensors[output])
    assert [int(codes.argmax()) for codes in wanted] == list(samples.labels)
    (tmp_path / "program.bin").write_bytes(program.to_bytes())
    np.savez(tmp_path / "tensors.npz", images=np.stack(images), wanted=np.stack(wanted))
    bench = Path(__file__).with_name("network_bench.py")
    try:
        tests, failures = run_cocotb(
            readable_verilog(BoardTop(SPEC), SPEC.name), SPEC.name, bench, tmp_path,
            environment={"SYSTOLITH_BENCH": str(tmp_path)},
        )  # fmt: skip
    except ToolError as error:
        pytest.skip(str(error))
    assert (tests, failures) == (1, 0)
