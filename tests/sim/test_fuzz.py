"""Random programs: the generated hardware against the golden model."""

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.sim.fuzz import random_memory, random_program
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, decode
from systolith.spec.precision import MultiplierForm, Precision
from systolith.spec.requant import RequantMode, ResidualRounding


def make_spec(rows, columns, lanes, modes=frozenset(RequantMode), **post) -> AcceleratorSpec:
    names = ("pipelined", "depthwise_lines", "precisions", "multiplier")
    array = {n: post.pop(n) for n in names if n in post}
    line = 2 * max(4, 1 << (max(rows, lanes) - 1).bit_length())
    return AcceleratorSpec(
        array=ArraySpec(rows=rows, columns=columns, **array),
        memory=MemorySpec(
            activation_bytes=2048 // line * line,
            weight_bytes=columns * rows * 100,
            accumulator_depth=post.pop("accumulator_depth", 9),
            parameter_channels=64 * lanes,
            tables=post.pop("tables", 2),
        ),
        post=PostSpec(lanes=lanes, modes=modes, **post),
    )


def test_programs_exercise_every_flag():
    spec = make_spec(3, 6, 2, product=True, precisions=frozenset(Precision))
    programs = [random_program(np.random.default_rng(seed), spec) for seed in range(20)]
    commands = [c for p in programs for c in decode(p.commands.tolist())]
    stores = [c for c in commands if c.opcode is Opcode.STORE]
    matmuls = [c for c in commands if c.opcode is Opcode.MATMUL]
    assert {s["mode"] for s in stores} == set(RequantMode)
    for name in ("residual", "table", "r_signed", "r_product", "packed"):
        assert {s[name] for s in stores} == {0, 1}
    assert {s["r_rounding"] for s in stores} == set(ResidualRounding)
    assert {m["precision"] for m in matmuls} == set(Precision)
    assert any(s["tile_channels"] > 6 for s in stores)
    for name in ("maximum", "w_hold", "x_signed", "w_signed"):
        assert {m[name] for m in matmuls} == {0, 1}


@pytest.mark.parametrize("mode", RequantMode)
def test_codes_are_spread(mode):
    """Results are not mostly saturated, so that a wrong bit shows."""
    spec = make_spec(3, 6, 2, frozenset({mode}), residual=False, tables=0)
    codes = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        program = random_program(rng, spec)
        before = random_memory(rng, program)
        after = execute(program, before)["region1"]
        codes.append(after[after != before["region1"]].view(np.int8))
    codes = np.concatenate(codes)
    assert np.mean((codes > -128) & (codes < 127)) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        make_spec(3, 6, 2, product=True),
        make_spec(5, 4, 4, frozenset({RequantMode.FLOAT32}), pipelined=True),
        make_spec(1, 1, 1, residual=False, tables=0),
        make_spec(9, 4, 2, depthwise_lines=3),
        make_spec(6, 6, 3, pipelined=True, depthwise_lines=3, accumulator_depth=12),
        make_spec(5, 3, 1, pipelined=True, depthwise_lines=2, accumulator_depth=5),
        make_spec(3, 5, 5, precisions=frozenset(Precision)),
        make_spec(4, 4, 2, precisions=frozenset(Precision), multiplier=MultiplierForm.PACKED18),
        make_spec(5, 3, 1, precisions=frozenset(Precision), multiplier=MultiplierForm.PACKED27),
    ],
    ids=[
        "3x6",
        "5x4-pipelined",
        "1x1",
        "9x4-lines",
        "6x6-lines",
        "5x3-lines",
        "3x5-nibbles",
        "4x4-packed18",
        "5x3-packed27",
    ],
)
def test_verilator_equals_golden(spec):
    backend = VerilatorBackend()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        program = random_program(rng, spec)
        inputs = random_memory(rng, program)
        want = execute(program, inputs)
        got = backend.run(program, inputs).tensors
        for name, tensor in want.items():
            assert np.array_equal(got[name], tensor), (seed, name)
