"""The accelerator after synthesis: every cell simulated, the shipped network, bit by bit."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.constraints import load_board
from systolith.cycles import predict
from systolith.errors import InputError
from systolith.importers.load import load_model
from systolith.sim.backends import get_backend
from systolith.sim.stress import random_inputs, random_program
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, encode
from systolith.spec.program import Program
from systolith.spec.requant import RequantMode
from systolith.verify.samples import default_model

SPEC = AcceleratorSpec(
    array=ArraySpec(rows=4, columns=4, pipelined=True, multiplier_stages=1),
    memory=MemorySpec(
        activation_bytes=2048,
        weight_bytes=16384,
        accumulator_depth=32,
        parameter_channels=128,
        command_words=1024,
        tables=1,
        stamps=16,
    ),
    post=PostSpec(
        lanes=1,
        modes=frozenset({RequantMode.FLOAT32}),
        multiplier_bits=25,
        product=False,
        softmax_tables=0,
    ),
)
"""What the network needs, and no more: synthesis takes minutes."""
LEAST = AcceleratorSpec(
    array=ArraySpec(rows=2, columns=2, pipelined=True, multiplier_stages=1),
    memory=MemorySpec(
        activation_regions=1,
        activation_bytes=512,
        weight_bytes=256,
        accumulator_depth=8,
        parameter_channels=24,
        command_words=512,
        tables=0,
        stamps=4,
    ),
    post=PostSpec(
        lanes=1,
        modes=frozenset({RequantMode.FIXED}),
        multiplier_bits=16,
        accumulator_bits=20,
        residual=False,
        product=False,
        softmax_tables=0,
    ),
    queue_depth=1,
    event_counters=False,
)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", ["netlist-ecp5", "netlist-gowin", "netlist-xilinx7"])
@pytest.mark.parametrize("fuse", [True, False])
def test_the_shipped_network(name: str, fuse: bool) -> None:
    """Every tensor is golden's; every time stamp and counter is that of the design itself."""
    program = compile_graph(load_model(default_model()), SPEC, fuse=fuse).program
    wanted = {layer.tensor for layer in program.layers}
    rng = np.random.default_rng(4)
    backend, design, golden = (get_backend(n) for n in (name, "verilator", "golden"))
    for _ in range(2):
        inputs = {}
        for tensor in program.inputs:
            buffer = program.buffers[tensor]
            inputs[tensor] = rng.integers(-128, 128, buffer.shape).astype(buffer.dtype)
        result = backend.run(program, inputs, capture=wanted)
        right = golden.run(program, inputs, capture=wanted).tensors
        assert result.tensors.keys() == right.keys()
        for tensor, values in right.items():
            np.testing.assert_array_equal(result.tensors[tensor], values, err_msg=tensor)
        same = design.run(program, inputs)
        assert (result.stamps, result.counters) == (same.stamps, same.counters)
        assert sum(values.size for values in right.values()) > 1000


def compare_programs(name: str, spec: AcceleratorSpec, seeds: range) -> int:
    """Run random programs, and return the number of values compared."""
    backend, compared = get_backend(name), 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        program = random_program(rng, spec)
        inputs = random_inputs(rng, program)
        result = backend.run(program, inputs)
        for tensor, values in get_backend("golden").run(program, inputs).tensors.items():
            message = f"seed {seed}: {tensor}"
            np.testing.assert_array_equal(result.tensors[tensor], values, err_msg=message)
            compared += values.size
        predicted, kept = predict(program), spec.memory.stamps
        assert (result.cycles, result.stamps) == (predicted.cycles, predicted.stamps[:kept]), seed
    return compared


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_small_accelerator() -> None:
    """Random programs on the least that there is, in the cells of an ECP5."""
    assert compare_programs("netlist-ecp5", LEAST, range(8)) > 4000


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_the_smallest_board() -> None:
    """Random programs on iCEBreaker's accelerator, in the cells of its iCE40UP5K."""
    spec = replace(load_board("icebreaker").spec, moves=True)  # which random programs use
    assert compare_programs("netlist-ice40", spec, range(20)) > 20_000


def test_external_memory_is_refused() -> None:
    program = Program(
        spec=replace(SPEC, external=ExternalSpec(data_bytes=4)),
        commands=np.array(encode(Opcode.END), np.uint32),
        weights=np.zeros((0, 4), np.uint8),
        parameters=np.zeros((0, 1, 8), np.uint32),
        tables=np.zeros((0, 256), np.uint8),
        buffers={}, inputs=(), outputs=(), layers=(),
    )  # fmt: skip
    message = (
        "^backend netlist-ecp5 must have an accelerator without external memory: "
        "set external.data_bytes to 0$"
    )
    with pytest.raises(InputError, match=message):
        get_backend("netlist-ecp5").run(program, {})
