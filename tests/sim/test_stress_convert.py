"""Random programs with conversions: both simulators, the golden and the cycle model agree."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.hw.dequantize import DequantizeLane
from systolith.hw.quantize import QuantizeLane
from systolith.sim.backend import Result
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_program
from systolith.sim.stress_moves import random_conversion
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import COMMANDS, Opcode, decode, encode
from systolith.spec.program import Program

Agree = Callable[..., Result]
SPEC = AcceleratorSpec(
    array=ArraySpec(rows=6, columns=4),
    memory=MemorySpec(
        activation_regions=2,
        activation_bytes=1024,
        weight_bytes=4 * 6 * 24,
        accumulator_depth=8,
        parameter_channels=2 * 24,
        command_words=4096,
        tables=1,
    ),
    post=PostSpec(lanes=2, quantize_lanes=2),
)


def layers_and_conversions(seed: int) -> Program:
    """Conversions, fills and copies beside the array's and post-processing's work."""
    return random_program(np.random.default_rng(seed), SPEC, layers=4)


def conversions_alone(seed: int) -> Program:
    """Conversions one after the other, which may read what those before wrote."""
    rng = np.random.default_rng(seed)
    drawn = [random_conversion(rng, SPEC) for _ in range(8)]
    words = [word for opcode, d in drawn if d is not None for word in encode(opcode, **d[0])]
    commands = np.array(words + encode(Opcode.END), np.uint32)
    return replace(random_program(rng, SPEC, layers=0), commands=commands)


@pytest.mark.parametrize("draw", [layers_and_conversions, conversions_alone])
def test_simulators_agree(
    agree: Agree, verilator: VerilatorBackend, draw: Callable[[int], Program]
) -> None:
    opcodes: Counter[Opcode] = Counter()
    for seed in range(30):
        program = draw(seed)
        opcodes.update(c.opcode for c in decode(program.commands.tolist()))
        counters = agree(verilator, program, seed)
        if seed < 1:
            assert agree(PysimBackend(), program, seed) == counters
    assert min(opcodes[o] for o in (Opcode.QUANTIZE, Opcode.DEQUANTIZE)) > 8


@pytest.mark.slow
@pytest.mark.parametrize("draw", [layers_and_conversions, conversions_alone])
def test_simulators_agree_on_many(
    agree: Agree, verilator: VerilatorBackend, draw: Callable[[int], Program]
) -> None:
    for seed in range(1000, 1500):
        agree(verilator, draw(seed), seed)


def test_fields_lie_where_those_of_a_copy_do() -> None:
    """The move unit reads them as a COPY's."""
    offsets = COMMANDS[Opcode.COPY].offsets
    for opcode in (Opcode.QUANTIZE, Opcode.DEQUANTIZE):
        assert offsets.items() <= COMMANDS[opcode].offsets.items()


def test_the_cycle_model_knows_the_latencies() -> None:
    from systolith.cycles import move

    assert {
        Opcode.QUANTIZE: QuantizeLane.latency,
        Opcode.DEQUANTIZE: DequantizeLane.latency,
    } == move._LANES
