"""Random programs that use external memory: LOAD of everything, SAVE and JUMP among the others."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.sim.stress_softmax import random_exponents
from systolith.sim.stress_specs import pick, random_spec
from systolith.sim.stress_transfers import SCRATCH_BYTES, ExternalGenerator
from systolith.sim.stress_weights import weight_image
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.commands import COMMANDS, Opcode, Target, Unit, encode
from systolith.spec.program import Buffer, Program

__all__ = ["random_external_program", "random_external_spec"]

Rng = np.random.Generator
_COMMAND_WORDS = 900
_TRANSFER_WORDS = COMMANDS[Opcode.LOAD].words + COMMANDS[Opcode.JUMP].words


def random_external_spec(
    rng: Rng, data_bytes: int, *, depthwise: bool = False, softmax_tables: int = 0
) -> AcceleratorSpec:
    """A small accelerator of any shape with a bus of ``data_bytes`` bytes.

    Parameters
    ----------
    depthwise: with a depthwise mode.
    softmax_tables: tables of exponentials; 0: without a softmax unit.
    """
    spec = random_spec(rng, depthwise=depthwise)
    rows = max(spec.array.rows, data_bytes // 2 + 1) if data_bytes > 4 else spec.array.rows
    line = max(spec.line_bytes, data_bytes)
    memory = spec.memory
    unit = 2 * line
    memory = replace(
        memory,
        activation_bytes=-(-memory.activation_bytes // unit) * unit,
        weight_bytes=spec.array.columns * max(rows * 24, -(-16 // spec.array.columns)),
        command_words=_COMMAND_WORDS,
    )
    external = ExternalSpec(
        data_bytes=data_bytes,
        address_bits=int(pick(rng, 32, 40, 64)),
        burst_beats=int(pick(rng, 1, 2, 4, 16)),
        outstanding=int(rng.integers(1, 5)),
    )
    array = replace(spec.array, rows=rows)
    post = replace(spec.post, softmax_tables=softmax_tables)
    return replace(spec, array=array, memory=memory, external=external, post=post)


def random_external_program(rng: Rng, spec: AcceleratorSpec, *, layers: int = 5) -> Program:
    """A valid program whose commands lie partly in external memory and are loaded as it runs.

    Inputs and outputs are all activation bytes, ``region0``..., and the scratch part of external
    memory, ``scratch``.
    """
    generator = ExternalGenerator(rng, spec)
    while sum(c.opcode is Opcode.STORE for c in generator.issued) < layers:
        for _ in range(int(rng.integers(5))):
            generator.transfer()
        if rng.integers(3) == 0:
            generator.fill()
        if rng.integers(3) == 0:
            generator.copy()
        if spec.post.softmax_tables and rng.integers(2):
            generator.softmax()
        if spec.post.quantize_lanes and rng.integers(2):
            generator.conversion()
        nest = generator.drawn_matmul()
        if nest and not any(generator.store(nest) for _ in range(20)):
            generator.issued.pop()
    for _ in range(3):
        generator.transfer()
    generator.order()
    return _assemble(generator)


def _segments(generator: ExternalGenerator) -> list[list[int]]:
    """The commands in pieces that fit half of the command memory, with room to go on."""
    room = generator.spec.memory.command_words // 2 - _TRANSFER_WORDS
    segments: list[list[int]] = [[]]
    for issued in generator.issued:
        words = encode(issued.opcode, **issued.fields)
        cut = generator.rng.integers(12) == 0
        if cut or len(segments[-1]) + len(words) > room:
            segments.append([])
        segments[-1] += words
    segments[-1] += encode(Opcode.END)
    return segments


def _assemble(generator: ExternalGenerator) -> Program:
    """The program of the commands issued: the first segment on chip, the others in external memory.

    Every segment but the last loads the next one into the other half of the command memory, and
    jumps there.
    """
    rng, spec = generator.rng, generator.spec
    segments = _segments(generator)
    part = min(4, spec.external.data_bytes)
    places = []
    for number, segment in enumerate(segments):
        places.append(-(-generator.external_bytes // part) * part + 4 * int(rng.integers(4)))
        if number:
            more = _TRANSFER_WORDS if number < len(segments) - 1 else 0
            generator.external_bytes = places[-1] + 4 * (len(segment) + more)
    half = spec.memory.command_words // 2
    for number, segment in enumerate(segments[:-1]):
        later = len(segments[number + 1])
        if number + 1 < len(segments) - 1:
            later += _TRANSFER_WORDS
        slot = (number + 1) % 2 * half
        segment += encode(
            Opcode.LOAD, target=Target.COMMANDS, e_base=places[number + 1], m_base=slot,
            length=4 * later, signal=1 << Unit.FETCH,
        )  # fmt: skip
        segment += encode(Opcode.JUMP, address=slot, wait=1 << Unit.LOAD)
    image = rng.integers(0, 256, generator.external_bytes).astype(np.uint8)
    for fill in generator.constants:
        fill(image)
    for place, segment in zip(places[1:], segments[1:], strict=True):
        words = np.array(segment, "<u4").view(np.uint8)
        image[place : place + len(words)] = words
    generator.parameters[..., 7] = 0
    return Program(
        spec=spec,
        commands=np.array(segments[0], np.uint32),
        weights=_weights(generator),
        parameters=generator.parameters,
        tables=rng.integers(0, 256, (spec.memory.tables, 256)).astype(np.uint8),
        external=image,
        external_bytes=len(image),
        layers=(),
        exponents=random_exponents(rng, spec),
        **_buffers(spec),
    )


def _weights(generator: ExternalGenerator) -> NDArray[np.uint8]:
    """Random weights, but for those of depthwise tiles that must be 0."""
    weights = weight_image(generator.rng, generator.spec)
    for w_base, draw in generator.depthwise.items():
        draw.blank(weights, w_base)
    return weights


def _buffers(spec: AcceleratorSpec) -> dict[str, Any]:
    """All activation bytes and the scratch, as inputs and outputs."""
    size = spec.memory.activation_bytes
    buffers = {
        f"region{g}": Buffer(
            base=g * spec.region_stride, shape=(1, 1, size), strides=(size, size, 1), dtype="uint8"
        )
        for g in range(spec.memory.activation_regions)
    }
    buffers["scratch"] = Buffer(
        base=0, shape=(1, 1, SCRATCH_BYTES), strides=(0, 0, 1), dtype="uint8", external=True
    )
    return {"buffers": buffers, "inputs": tuple(buffers), "outputs": tuple(buffers)}
