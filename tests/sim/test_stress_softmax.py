"""Random programs with softmax: both simulators, the golden and the cycle model agree."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.sim.backend import Backend
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs, random_program
from systolith.sim.stress_softmax import random_exponents, random_softmax
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, Target, Unit, decode, encode
from systolith.spec.program import Program
from systolith.spec.softmax import SoftmaxForm

Agree = Callable[[Backend, Program, int], dict[str, int]]

SPEC = AcceleratorSpec(
    array=ArraySpec(rows=5, columns=6),
    memory=MemorySpec(
        activation_regions=1,  # all ports meet in it
        activation_bytes=1024,
        weight_bytes=6 * 5 * 24,
        accumulator_depth=8,
        parameter_channels=2 * 24,
        command_words=4096,
        tables=1,
    ),
    post=PostSpec(lanes=2, softmax_tables=3),
)


def layers_and_softmax(seed: int) -> Program:
    """Softmax, fills and copies that overlap with the array's and post-processing's work."""
    return random_program(np.random.default_rng(seed), SPEC, layers=4)


def softmax_alone(seed: int) -> Program:
    """Softmax one after the other, which may read what those before wrote."""
    rng = np.random.default_rng(seed)
    drawn = [random_softmax(rng, SPEC) for _ in range(8)]
    words = [word for d in drawn if d is not None for word in encode(Opcode.SOFTMAX, **d[0])]
    commands = np.array(words + encode(Opcode.END), np.uint32)
    return replace(random_program(rng, SPEC, layers=0), commands=commands)


@pytest.mark.parametrize("draw", [layers_and_softmax, softmax_alone])
def test_simulators_agree(
    agree: Agree, verilator: VerilatorBackend, draw: Callable[[int], Program]
) -> None:
    forms = []
    for seed in range(30):
        program = draw(seed)
        commands = [c for c in decode(program.commands.tolist()) if c.opcode is Opcode.SOFTMAX]
        forms += [command["form"] for command in commands]
        counters = agree(verilator, program, seed)
        if seed < 1:
            assert agree(PysimBackend(), program, seed) == counters
    assert all(forms.count(form) > 8 for form in SoftmaxForm)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [layers_and_softmax, softmax_alone])
def test_simulators_agree_on_many(
    agree: Agree, verilator: VerilatorBackend, draw: Callable[[int], Program]
) -> None:
    for seed in range(1000, 1500):
        agree(verilator, draw(seed), seed)


@pytest.mark.parametrize(
    ("form", "slope", "constant"),
    [(SoftmaxForm.FIXED, 3, 120), (SoftmaxForm.INVERSE, 5, 150), (SoftmaxForm.QUOTIENT, 26, 60)],
)
def test_cycles_of_a_row(
    verilator: VerilatorBackend, form: SoftmaxForm, slope: int, constant: int
) -> None:
    """As `SoftmaxUnit` says, and a little more with short lines; stamps are right."""
    length = 200
    fields = {
        "form": form, "length": length, "d_base": 512, "high": 255, "stamp": 1,
        "scale": int(np.float32(1 / 256).view(np.uint32)),
    }  # fmt: skip
    words = [*encode(Opcode.SOFTMAX, **fields), *encode(Opcode.SOFTMAX, **fields)]
    rng = np.random.default_rng(3)
    program = replace(
        random_program(rng, SPEC, layers=0),
        commands=np.array(words + encode(Opcode.END), np.uint32),
        exponents=random_exponents(rng, SPEC),
    )
    first, second = verilator.run(program, random_inputs(rng, program)).stamps
    assert slope * length < second - first <= slope * length + constant


def test_the_move_unit_keeps_its_order(agree: Agree, verilator: VerilatorBackend) -> None:
    """FILL, SOFTMAX of what it wrote, COPY of that, without tokens."""
    rng = np.random.default_rng(4)
    words = [
        *encode(Opcode.FILL, d_base=0, value=7, length=40),
        *encode(Opcode.FILL, d_base=20, value=9, length=1),
        *encode(Opcode.SOFTMAX, d_base=100, length=40, form=SoftmaxForm.FIXED, high=255),
        *encode(Opcode.COPY, s_base=100, d_base=200, length=40),
        *encode(Opcode.END),
    ]
    program = replace(random_program(rng, SPEC, layers=0), commands=np.array(words, np.uint32))
    agree(verilator, program, 4)


def test_tables_from_external_memory(agree: Agree, verilator: VerilatorBackend) -> None:
    """LOAD writes tables between commands that read them; tokens keep them apart."""
    rng = np.random.default_rng(5)
    spec = replace(SPEC, external=ExternalSpec(data_bytes=4))
    tables = random_exponents(rng, spec)
    fields = {"length": 50, "form": SoftmaxForm.INVERSE, "scale": 0x3B800000, "high": 255}
    load = {"target": Target.EXPONENTS, "e_base": 64, "m_base": 256, "length": 1024}
    words = [
        *encode(Opcode.LOAD, **load, signal=1 << Unit.MOVE),
        *encode(
            Opcode.SOFTMAX, **fields, table=1, d_base=100,
            wait=1 << Unit.LOAD, signal=1 << Unit.LOAD,
        ),
        *encode(
            Opcode.LOAD, **load | {"e_base": 64 + 1024, "length": 512},
            wait=1 << Unit.MOVE, signal=1 << Unit.MOVE,
        ),
        *encode(Opcode.SOFTMAX, **fields, table=1, d_base=200, wait=1 << Unit.LOAD),
        *encode(Opcode.END),
    ]  # fmt: skip
    image = np.concatenate([np.zeros(64, np.uint8), tables.view(np.uint8).reshape(-1)])
    program = replace(
        random_program(rng, spec, layers=0),
        commands=np.array(words, np.uint32),
        external=image,
        external_bytes=len(image),
    )
    agree(verilator, program, 5)
