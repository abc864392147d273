"""Random programs with weights of two of four: their cases, and both forms of Verilog."""

from collections.abc import Callable

import numpy as np
import pytest

from systolith.golden.execute import execute
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_nibbles import with_nibbles
from systolith.sim.stress_sparse import with_places
from systolith.sim.stress_specs import random_spec
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import MATMUL_LOOPS, Opcode, decode
from systolith.spec.precision import MultiplierForm, Precision, WeightFormat
from systolith.spec.program import Program

TWO_OF_FOUR = WeightFormat.TWO_OF_FOUR
FLAGS = ("x_signed", "w_signed", "w_hold", "maximum", "partial", "accumulate")


def matmuls(program: Program) -> list:
    commands = decode(program.commands.tolist())
    return [c for c in commands if c.opcode is Opcode.MATMUL]


def test_random_programs_meet_every_case() -> None:
    """What the tests of the whole accelerator are meant to cover; golden runs all of them."""
    met: set[object] = set()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        spec = random_spec(rng, depthwise=seed % 3 == 0, formats=seed % 5 > 0)
        spec = with_places(with_nibbles(rng, spec) if seed % 4 > 1 else spec)
        program = random_program(rng, spec)
        execute(program, random_inputs(rng, program))
        met |= {("rows", spec.array.rows), ("form", spec.array.multiplier)}
        before = None
        for c in matmuls(program):
            kind = c["precision"], c["w_format"], c["depthwise"]
            if c["w_format"] == TWO_OF_FOUR:
                met |= {(flag, c[flag]) for flag in FLAGS}
                met |= {n for n in MATMUL_LOOPS if c[f"{n}_count"] > 1 and c[f"x_{n}_stride"]}
                met.add(("bank", c["x_base"] // spec.line_bytes % 2))
                met.add(("behind", before))
            elif before and before[1] == TWO_OF_FOUR:
                met.add(("in front of", kind))
            before = kind
    w8a8, w4a8, w4a4 = (int(p) for p in Precision)
    others = [(w8a8, int(f), 0) for f in WeightFormat if f is not TWO_OF_FOUR]
    others += [(w8a8, 0, 1), (w4a8, 0, 0), (w4a4, 0, 0)]
    wanted = {(flag, v) for flag in FLAGS for v in (0, 1)} | {("bank", v) for v in (0, 1)}
    wanted |= set(MATMUL_LOOPS) | {("rows", n) for n in (2, 4, 6)}
    wanted |= {("form", form) for form in MultiplierForm}
    wanted |= {("behind", kind) for kind in (*others, (w8a8, int(TWO_OF_FOUR), 0))}
    wanted |= {("in front of", kind) for kind in others}
    assert wanted <= met, wanted - met


def spec_of(array: ArraySpec) -> AcceleratorSpec:
    return AcceleratorSpec(
        array=array,
        memory=MemorySpec(
            activation_bytes=2048,
            weight_bytes=200 * array.columns,
            accumulator_depth=9,
            parameter_channels=128,
            tables=1,
        ),
        post=PostSpec(lanes=2),
    )


SPECS = {
    "formats": spec_of(
        ArraySpec(
            rows=6,
            columns=4,
            depthwise_lines=2,
            weight_formats=frozenset(WeightFormat),
            multiplier=MultiplierForm.PACKED27,
        )
    ),
    "precisions": spec_of(
        ArraySpec(
            rows=4,
            columns=2,
            pipelined=True,
            precisions=frozenset(Precision),
            weight_formats=frozenset({WeightFormat.DENSE, TWO_OF_FOUR}),
            multiplier=MultiplierForm.PACKED18,
        )
    ),
}


def run(agree: Callable, name: str, structural: bool, seeds: range) -> int:
    """Random programs in Verilator; return how many MATMULs had places."""
    backend, sparse = VerilatorBackend(structural=structural), 0
    for seed in seeds:
        program = random_program(np.random.default_rng(seed), SPECS[name], layers=6)
        sparse += sum(c["w_format"] == TWO_OF_FOUR for c in matmuls(program))
        agree(backend, program, seed)
    return sparse


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("structural", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_verilator_agrees(agree: Callable, name: str, structural: bool) -> None:
    """All activations, counters and stamps, of the fast form and of every gate."""
    assert run(agree, name, structural, range(12)) >= 8


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("structural", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_many_programs_agree(agree: Callable, name: str, structural: bool) -> None:
    assert run(agree, name, structural, range(100, 500)) >= 300
