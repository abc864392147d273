"""The cycle model against the generated hardware: all counters, all stamps, every program.

A longer sweep, over more accelerators:

    pytest -m slow tests/cycles/test_predict.py
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from systolith.cycles import MemoryModel, predict
from systolith.golden.execute import execute
from systolith.sim import stress
from systolith.sim.stress_external import random_external_program, random_external_spec
from systolith.sim.stress_specs import random_spec
from systolith.spec.accelerator import AcceleratorSpec, ArraySpec, MemorySpec, PostSpec
from systolith.spec.commands import Opcode, Unit, decode, encode
from systolith.spec.program import Program, ProgramError

MEMORIES = (MemoryModel(), MemoryModel(latency=1), MemoryModel(latency=40, bandwidth=0.3))


def random_programs(
    agree: Callable, programs: ModuleType, name: str, seeds: range, memory: MemoryModel
) -> dict[str, int]:
    """Compare random programs and return the sums of the counters."""
    spec = programs.SPECS[name]
    totals: dict[str, int] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        draw = programs.plain_program
        if spec.external.data_bytes and rng.integers(2):
            draw = programs.transfer_program
        program = draw(rng, spec)
        inputs = stress.random_inputs(rng, program)
        result = agree(program, inputs, f"{name}, {memory}, seed {seed}", memory)
        totals = {n: totals.get(n, 0) + v for n, v in result.counters.items()}
    return totals


def test_random_programs(agree: Callable, programs: ModuleType) -> None:
    totals = random_programs(agree, programs, "3x4", range(60), MEMORIES[0])
    assert all(totals.values()), totals


def nibble_programs(agree: Callable, programs: ModuleType, name: str, seeds: range) -> None:
    """Compare programs of all precisions with packed stores, and what they compute with golden."""
    spec = programs.SPECS[name]
    for seed in seeds:
        rng = np.random.default_rng(seed)
        program = programs.plain_program(rng, spec)
        inputs = stress.random_inputs(rng, program)
        result = agree(program, inputs, f"{name}, seed {seed}")
        for tensor, want in execute(program, inputs).items():
            np.testing.assert_array_equal(result.tensors[tensor], want, f"{name}, seed {seed}")


def test_nibbles(agree: Callable, programs: ModuleType) -> None:
    nibble_programs(agree, programs, "3x4 nibbles", range(40))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3x4 nibbles", "3x6 w4a8", "5x6 nibbles", "6x4 w4a4"])
def test_nibbles_everywhere(agree: Callable, programs: ModuleType, name: str) -> None:
    nibble_programs(agree, programs, name, range(1000, 1150))


@pytest.mark.slow
@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@pytest.mark.parametrize("name", ["3x4", "3x6", "5x6", "6x4", "6x6"])
def test_random_programs_everywhere(
    agree: Callable, programs: ModuleType, name: str, memory: MemoryModel
) -> None:
    random_programs(agree, programs, name, range(1000, 1150), memory)


def mixed_programs(
    agree: Callable, spec: AcceleratorSpec, seeds: range, memory: MemoryModel
) -> set[Opcode]:
    """Compare programs of all commands, and what they compute with golden; return the commands."""
    met = set()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        program = random_external_program(rng, spec, layers=4)
        inputs = stress.random_inputs(rng, program)
        result = agree(program, inputs, f"{spec}, {memory}, seed {seed}", memory)
        for name, tensor in execute(program, inputs).items():
            np.testing.assert_array_equal(result.tensors[name], tensor, f"seed {seed}: {spec}")
        met |= {command.opcode for command in predict(program).commands}
    return met


def test_mixed_programs(agree: Callable, programs: ModuleType) -> None:
    assert mixed_programs(agree, programs.SPECS["3x4"], range(30), MEMORIES[0]) == set(Opcode)


@pytest.mark.parametrize("name", ["3x4", pytest.param("5x6", marks=pytest.mark.slow)])
def test_random_programs_without_queues(agree: Callable, programs: ModuleType, name: str) -> None:
    """Words go straight to the units: it shows in every push."""
    spec = replace(programs.SPECS[name], queue_depth=0, count_bits=12)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        draw = programs.transfer_program if seed % 2 else programs.plain_program
        program = draw(rng, spec)
        inputs = stress.random_inputs(rng, program)
        result = agree(program, inputs, f"{name} without queues, seed {seed}")
        golden = {} if seed % 2 else execute(program, inputs)
        for tensor, want in golden.items():
            np.testing.assert_array_equal(result.tensors[tensor], want, f"{name}, seed {seed}")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_mixed_programs_everywhere(agree: Callable, number: int) -> None:
    rng = np.random.default_rng(number)
    spec = random_external_spec(
        rng, (4, 8, 16)[number % 3], depthwise=number % 2 == 0, softmax_tables=number % 3
    )
    for k, memory in enumerate(MEMORIES):
        mixed_programs(agree, spec, range(100 * k, 100 * k + 60), memory)


def test_broken_programs_end(programs: ModuleType) -> None:
    """Of bits that flip in commands the model makes a clear error or another program."""
    ended: Counter[str] = Counter()
    spec = programs.SPECS["3x4"]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        program = programs.transfer_program(rng, spec)
        words = program.commands.copy()
        words[int(rng.integers(len(words)))] ^= np.uint32(1 << int(rng.integers(12)))
        try:
            predict(replace(program, commands=words))
            ended["well"] += 1
        except ProgramError as error:
            assert "must" in str(error) or "is not a valid" in str(error), f"seed {seed}: {error}"
            ended["in an error"] += 1
    assert len(ended) == 2, ended


def test_commands_follow_each_other() -> None:
    """Times of single commands: what the counters alone do not show."""
    spec = random_spec(np.random.default_rng(3))
    for seed in range(20):
        program = stress.random_program(np.random.default_rng(seed), spec, layers=5)
        prediction = predict(program)
        commands = list(decode(program.commands.tolist()))
        assert [c.opcode for c in prediction.commands] == [c.opcode for c in commands]
        pushed = [c.pushed for c in prediction.commands]
        assert all(b >= a + 2 for a, b in zip(pushed[:-1], pushed[1:], strict=True))
        for unit in Unit:
            line = [c for c in prediction.commands if c.unit is unit]
            assert all(c.pushed < c.start < c.finish for c in line)
            assert all(b.start > a.finish for a, b in zip(line[:-1], line[1:], strict=True))
        stamped = [c.finish for c, d in zip(prediction.commands, commands, strict=True)
                   if d["stamp"]]  # fmt: skip
        assert prediction.stamps == tuple(stamped)
        assert prediction.commands[-1].finish + 1 == prediction.cycles


def tiny(*words: list[int]) -> Program:
    spec = AcceleratorSpec(
        array=ArraySpec(rows=4, columns=4),
        memory=MemorySpec(activation_bytes=64, weight_bytes=64, parameter_channels=16),
        post=PostSpec(lanes=4),
    )
    return Program(
        spec=spec,
        commands=np.array(sum(words, []), np.uint32),
        weights=np.zeros((16, 4), np.uint8),
        parameters=np.zeros((4, 4, 8), np.uint32),
        tables=np.zeros((0, 256), np.uint8),
        buffers={}, inputs=(), outputs=(), layers=(),
    )  # fmt: skip


def test_a_program_of_nothing_but_end() -> None:
    """Cycle 0: the word's address; 1: the word; 2: its length; 3: it is seen to be END."""
    assert predict(tiny(encode(Opcode.END))).cycles == 4


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([encode(Opcode.STORE, channels=1, tile_channels=1)], "at most 0 result vectors, not 1"),
        ([encode(Opcode.FILL, length=1, wait=1 << Unit.COMPUTE)], "wait for ever, but MOVE does"),
        ([[15]], "opcode at word 0 must be known, not 15"),
        ([encode(Opcode.FILL, length=1, d0_count=0)], "d0_count must be at least 1, not 0"),
        ([encode(Opcode.JUMP, address=0)], "must end, but jumps to word 0 for ever"),
        ([encode(Opcode.SOFTMAX, row_count=1)], "length of SOFTMAX must be at least 1, not 0"),
        (
            [encode(Opcode.FILL, length=1, d2_count=65535, d1_count=65535, d0_count=65535)],
            "steps of a command must be at most 16777216 to be predicted",
        ),
    ],
)
def test_programs_that_cannot_run(words: list[list[int]], text: str) -> None:
    with pytest.raises(ProgramError, match=text):
        predict(tiny(*words, encode(Opcode.END)))


def test_missing_results_are_waited_for_for_ever() -> None:
    """The MATMUL of results that a STORE takes waits for the STORE."""
    matmul = encode(Opcode.MATMUL, wait=1 << Unit.STORE)
    store = encode(Opcode.STORE, channels=1, tile_channels=1, signal=1 << Unit.COMPUTE)
    with pytest.raises(ProgramError, match="COMPUTE, STORE does"):
        predict(tiny(matmul, store, encode(Opcode.END)))
