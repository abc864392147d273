"""LOAD, SAVE and JUMP: predicted counters and stamps against the generated hardware."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from systolith.cycles import MemoryModel, predict
from systolith.cycles.external import Bandwidth
from systolith.sim import stress
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.commands import COMMANDS, Opcode, Target, Unit, decode, encode
from systolith.spec.program import Program
from systolith.spec.registers import Window, window_stride

EXTERNAL_BYTES = 6000
UNITS = (Unit.MOVE, Unit.COMPUTE, Unit.STORE, Unit.LOAD, Unit.SAVE)


def spec_of(seed: int, **external: int) -> AcceleratorSpec:
    spec = stress.random_spec(np.random.default_rng(seed))
    memory = replace(spec.memory, command_words=2000)
    return replace(spec, external=ExternalSpec(**external), memory=memory)


SPECS = {
    "4 bytes": spec_of(0, data_bytes=4, burst_beats=4, outstanding=2),
    "8 bytes": spec_of(1, data_bytes=4, burst_beats=16, outstanding=1),
    "one beat": spec_of(4, data_bytes=8, burst_beats=1, outstanding=4),
}
MEMORIES = (MemoryModel(), MemoryModel(latency=1), MemoryModel(latency=40, bandwidth=0.3))


def transfer(rng: np.random.Generator, spec: AcceleratorSpec) -> dict[str, int]:
    """Fields of a LOAD (with a target) or a SAVE of activations, of what hazards it may."""
    fields: dict[str, int] = {}
    kind = rng.choice(["save", "activations", "weights", "parameters", "tables"])
    unit, room = 1, spec.memory.activation_bytes
    if kind == "weights":
        unit, room = window_stride(spec, Window.WEIGHTS), spec.weight_words
    elif kind == "parameters":
        fields["wide"] = int(rng.integers(2))
        unit, room = (32 if fields["wide"] else 16) * spec.post.lanes, spec.lane_words
    elif kind == "tables":
        room = 256 * spec.memory.tables
    if kind != "save":
        fields["target"] = int(Target[kind.upper()])
    counts = rng.integers(1, 4, 3)
    many = int(rng.integers(1, 1 + min(room, 150 if unit == 1 else 5)))
    if room == 0:
        return transfer(rng, spec)
    strides = rng.integers(0, 200 // unit + 1, 3) * unit
    span = int((strides * (counts - 1)).sum()) + many * unit
    fields |= {"length": many * unit}
    fields["e_base"] = int(rng.integers((EXTERNAL_BYTES - span) // unit)) * unit
    # On chip all runs may lie on one another; activations anywhere in one region.
    region = int(rng.integers(spec.memory.activation_regions)) * spec.region_stride
    place = int(rng.integers(room - many + 1))
    fields["m_base"] = place + (region if kind in ("save", "activations") else 0)
    for name, count, stride in zip(("d2", "d1", "d0"), counts, strides, strict=True):
        fields |= {f"{name}_count": int(count), f"e_{name}_stride": int(stride)}
    if kind in ("save", "activations") and rng.integers(2):
        slack = spec.memory.activation_bytes - place - many
        fields["m_d0_stride"] = int(rng.integers(slack // max(1, int(counts[2]) - 1) + 1))
    return fields


def random_program(rng: np.random.Generator, spec: AcceleratorSpec) -> Program:
    """A random program with transfers and jumps between its commands.

    What it computes depends on the hardware's timing; that timing depends on no data.
    """
    program = stress.random_program(rng, spec, layers=int(rng.integers(1, 6)))
    commands = []
    for command in list(decode(program.commands.tolist()))[:-1]:
        for _ in range(int(rng.integers(3))):
            fields = transfer(rng, spec)
            commands.append((Opcode.LOAD if "target" in fields else Opcode.SAVE, fields))
        commands.append((command.opcode, dict(command.values)))
        if rng.integers(4) == 0:
            commands.append((Opcode.JUMP, {}))
    add_tokens(rng, commands)
    words: list[int] = []
    for opcode, fields in commands:
        if opcode is Opcode.JUMP:
            gap = int(rng.integers(3))
            fields["address"] = len(words) + COMMANDS[opcode].words + gap
            words += encode(opcode, **fields) + [15] * gap  # which must not be executed
        else:
            words += encode(opcode, **fields)
    return replace(
        program,
        commands=np.array(words + encode(Opcode.END), np.uint32),
        external=rng.integers(0, 256, EXTERNAL_BYTES).astype(np.uint8),
        external_bytes=EXTERNAL_BYTES,
    )


def add_tokens(rng: np.random.Generator, commands: list[tuple[Opcode, dict[str, int]]]) -> None:
    """Let transfers give tokens to later commands of other units, and those to transfers."""
    for place, (opcode, fields) in enumerate(commands):
        taker = COMMANDS[opcode].unit
        assert taker is not None
        # The command just before may be the MATMUL whose results this takes.
        late = [c for c in commands[max(0, place - 6) : max(0, place - 1)]]
        for earlier, given in late:
            giver = COMMANDS[earlier].unit
            if giver in (taker, Unit.FETCH) or Unit.LOAD not in (giver, taker):
                if giver in (taker, Unit.FETCH) or Unit.SAVE not in (giver, taker):
                    continue
            taken, signalled = fields.get("wait", 0), given.get("signal", 0)
            if taken >> giver & 1 or signalled >> taker & 1 or rng.integers(3):
                continue
            fields["wait"], given["signal"] = taken | 1 << giver, signalled | 1 << taker


def check(agree: Callable, name: str, memory: MemoryModel, seeds: range) -> dict[str, int]:
    """Compare random programs and return the sums of the counters."""
    totals: dict[str, int] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        program = random_program(rng, SPECS[name])
        inputs = stress.random_inputs(rng, program)
        result = agree(program, inputs, f"{name}, {memory}, seed {seed}", memory)
        totals = {n: totals.get(n, 0) + v for n, v in result.counters.items()}
    return totals


def test_random_transfers(agree: Callable) -> None:
    totals = check(agree, "4 bytes", MEMORIES[0], range(30))
    assert all(totals.values()), totals


@pytest.mark.slow
@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_random_transfers_of_any_memory(agree: Callable, name: str, memory: MemoryModel) -> None:
    check(agree, name, memory, range(1000, 1100))


def test_loaded_commands_are_followed(agree: Callable) -> None:
    """A LOAD brings the words that a JUMP goes to once they are there."""
    spec = SPECS["4 bytes"]
    rng = np.random.default_rng(1)
    program = stress.random_program(rng, spec, layers=2)
    rest = program.commands.astype("<u4").view(np.uint8)
    words = encode(
        Opcode.LOAD, target=Target.COMMANDS, length=len(rest), m_base=100, signal=1 << Unit.FETCH
    )
    words += encode(Opcode.JUMP, address=100, wait=1 << Unit.LOAD)
    loaded = replace(
        program, commands=np.array(words, np.uint32), external=rest, external_bytes=len(rest)
    )
    result = agree(loaded, stress.random_inputs(rng, program), "loaded commands")
    assert result.counters["load_beats"] == len(program.commands)
    assert len(predict(loaded).commands) == 2 + len(predict(program).commands)


@pytest.mark.parametrize("bandwidth", [0.1, 0.3, 0.5, 0.99])
def test_bandwidth_is_that_of_the_memory(bandwidth: float) -> None:
    """Against a credit that is refilled cycle by cycle."""
    rng = np.random.default_rng(0)
    rate = round(bandwidth * 65536)
    model, credit, cycle = Bandwidth(bandwidth), -(-65536 // rate) * rate, 0
    for _ in range(300):
        asked = cycle + int(rng.integers(1, 9))
        while cycle < asked or credit < 65536:
            cycle += 1
            credit += rate if credit < 65536 else 0
        credit -= 65536
        assert model.take(asked) == cycle


@pytest.mark.parametrize(("field", "value"), [("latency", 0), ("bandwidth", 0), ("bandwidth", 2)])
def test_memory_model_is_checked(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{field} must be .*, not {value}"):
        MemoryModel(**{field: value})
