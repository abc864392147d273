"""Random programs for small accelerators, with transfers and jumps among their commands."""

from dataclasses import replace

import numpy as np

from systolith.sim import stress
from systolith.sim.stress_specs import LANE_WORDS, random_spec
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.commands import COMMANDS, Opcode, ParameterForm, Target, Unit, decode, encode
from systolith.spec.precision import MultiplierForm, Precision
from systolith.spec.program import Program
from systolith.spec.registers import Window, lane_word_bytes, window_stride

__all__ = ["EXTERNAL_BYTES", "SPECS", "plain_program", "transfer_program"]

EXTERNAL_BYTES = 6000


def _spec(seed: int, regions: int, tables: int = 1, **external: int) -> AcceleratorSpec:
    """A random accelerator with every part; few regions, so that the units meet in them."""
    spec = random_spec(np.random.default_rng(seed), depthwise=True)
    spec = replace(spec, post=replace(spec.post, softmax_tables=2, quantize_lanes=1))
    memory = replace(
        spec.memory, activation_regions=regions, tables=tables, command_words=2000, stamps=64
    )
    post = replace(spec.post, residual=True, product=True)
    return replace(spec, external=ExternalSpec(**external), memory=memory, post=post)


def _nibbles(
    spec: AcceleratorSpec,
    *precisions: Precision,
    multiplier: MultiplierForm = MultiplierForm.GENERIC,
) -> AcceleratorSpec:
    """With these precisions, and one lane: the most beats, and bytes of two of them."""
    array = replace(spec.array, precisions=frozenset(precisions), multiplier=multiplier)
    memory = replace(spec.memory, parameter_channels=2 * LANE_WORDS)
    post = replace(spec.post, lanes=1)
    return replace(spec, array=array, memory=memory, post=post)


SPECS = {
    "3x4": _spec(6, 2, data_bytes=4, burst_beats=4, outstanding=2),
    "3x6": _spec(9, 1, data_bytes=8, burst_beats=16, outstanding=1),
    "5x6": _spec(10, 3, data_bytes=8, burst_beats=1, outstanding=4),
    "6x4": _spec(7, 1, tables=0),
    "6x6": _spec(13, 2, data_bytes=4, burst_beats=256, outstanding=3),
    "3x4 nibbles": _nibbles(_spec(6, 1), *Precision),
    "3x6 w4a8": _nibbles(_spec(9, 2), Precision.W8A8, Precision.W4A8),
    "5x6 nibbles": _nibbles(_spec(10, 1), *Precision, multiplier=MultiplierForm.PACKED27),
    "6x4 w4a4": _nibbles(_spec(7, 3), Precision.W8A8, Precision.W4A4),
}


def plain_program(rng: np.random.Generator, spec: AcceleratorSpec) -> Program:
    """A random program without transfers."""
    return stress.random_program(rng, spec, layers=int(rng.integers(1, 9)))


def transfer(rng: np.random.Generator, spec: AcceleratorSpec) -> dict[str, int]:
    """Fields of a LOAD (with a target) or a SAVE of activations, of what hazards it may."""
    fields: dict[str, int] = {}
    kind = rng.choice(["save", "activations", "weights", "parameters", "tables"])
    unit, room = 1, spec.memory.activation_bytes
    if kind == "weights":
        unit, room = window_stride(spec, Window.WEIGHTS), spec.weight_words
    elif kind == "parameters":
        form = ParameterForm(rng.integers(4))
        fields["form"] = int(form)
        unit, room = lane_word_bytes(spec, form), spec.lane_words
    elif kind == "tables":
        room = 256 * spec.memory.tables
    if kind != "save":
        fields["target"] = int(Target[kind.upper()])
    if room == 0:
        return transfer(rng, spec)
    counts = rng.integers(1, 4, 3)
    many = int(rng.integers(1, 1 + min(room, 150 if unit == 1 else 5)))
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


def transfer_program(rng: np.random.Generator, spec: AcceleratorSpec) -> Program:
    """A random program with transfers and jumps between its commands.

    What it computes depends on the hardware's timing; that timing depends on no data.
    """
    program = stress.random_program(rng, spec, layers=int(rng.integers(1, 9)))
    commands: list[tuple[Opcode, dict[str, int]]] = []
    for command in list(decode(program.commands.tolist()))[:-1]:
        for _ in range(int(rng.integers(3))):
            fields = transfer(rng, spec)
            commands.append((Opcode.LOAD if "target" in fields else Opcode.SAVE, fields))
        values = {k: v for k, v in command.values.items() if k not in ("opcode", "words")}
        commands.append((command.opcode, values))
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
        recent = commands[max(0, place - 6) : place]
        for i, (earlier, given) in enumerate(recent):
            giver = COMMANDS[earlier].unit
            assert giver is not None
            if giver in (taker, Unit.FETCH) or not {Unit.LOAD, Unit.SAVE} & {giver, taker}:
                continue
            # A MATMUL may wait for the STORE that takes its results, which must not wait for this.
            if giver is Unit.COMPUTE and Opcode.STORE not in [c for c, _ in recent[i:]]:
                continue
            taken, signalled = fields.get("wait", 0), given.get("signal", 0)
            if taken >> giver & 1 or signalled >> taker & 1 or rng.integers(3):
                continue
            fields["wait"], given["signal"] = taken | 1 << giver, signalled | 1 << taker
