"""Random programs with many copies: both simulators, the golden and the cycle model agree."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.sim.backend import Backend
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_program
from systolith.sim.stress_moves import random_copy
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, decode, encode
from systolith.spec.program import Program

Agree = Callable[[Backend, Program, int], dict[str, int]]

SPEC = AcceleratorSpec(
    array=ArraySpec(rows=5, columns=6),
    memory=MemorySpec(
        activation_regions=1,  # all ports meet in it
        activation_bytes=512,
        weight_bytes=6 * 5 * 24,
        accumulator_depth=8,
        parameter_channels=2 * 24,
        command_words=4096,
        tables=1,
    ),
    post=PostSpec(lanes=2),
)


def layers_and_copies(seed: int) -> Program:
    """Copies that overlap with the array's and post-processing's work."""
    return random_program(np.random.default_rng(seed), SPEC, layers=4)


def copies_alone(seed: int) -> Program:
    """Copies one after the other, which may read what those before wrote."""
    rng = np.random.default_rng(seed)
    drawn = [random_copy(rng, SPEC) for _ in range(20)]
    words = [word for d in drawn if d is not None for word in encode(Opcode.COPY, **d[0])]
    commands = np.array(words + encode(Opcode.END), np.uint32)
    return replace(random_program(rng, SPEC, layers=0), commands=commands)


@pytest.mark.parametrize("draw", [layers_and_copies, copies_alone])
def test_simulators_agree(
    agree: Agree, verilator: VerilatorBackend, draw: Callable[[int], Program]
) -> None:
    copies = 0
    for seed in range(30):
        program = draw(seed)
        copies += sum(c.opcode is Opcode.COPY for c in decode(program.commands.tolist()))
        counters = agree(verilator, program, seed)
        if seed < 2:
            assert agree(PysimBackend(), program, seed) == counters
    assert copies > 60


@pytest.mark.slow
@pytest.mark.parametrize("draw", [layers_and_copies, copies_alone])
def test_simulators_agree_on_many(
    agree: Agree, verilator: VerilatorBackend, draw: Callable[[int], Program]
) -> None:
    for seed in range(1000, 1500):
        agree(verilator, draw(seed), seed)


def test_windows_of_an_image(agree: Agree) -> None:
    """The 10 x 4 windows, 2 apart, of a 49 x 10 image with its halo: a kernel row a cycle."""
    height, width, rows, taps = 25, 5, 10, 4
    spec = replace(SPEC, memory=replace(SPEC.memory, activation_bytes=8192))
    copy = {
        "s_base": 0, "d_base": 800, "length": taps,
        "d2_count": height, "s_d2_stride": 2 * 12, "d_d2_stride": width * rows * taps,
        "d1_count": width, "s_d1_stride": 2, "d_d1_stride": rows * taps,
        "d0_count": rows, "s_d0_stride": 12, "d_d0_stride": taps,
    }  # fmt: skip
    commands = np.array(encode(Opcode.COPY, **copy) + encode(Opcode.END), np.uint32)
    program = random_program(np.random.default_rng(0), spec, layers=0)
    counters = agree(PysimBackend(), replace(program, commands=commands), 0)
    runs = height * width * rows
    assert counters["move_busy"] == runs
    fetched = len(commands)
    assert counters["cycles"] <= runs + fetched + 12
