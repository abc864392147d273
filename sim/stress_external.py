"""Random programs that use external memory: LOAD of everything, SAVE and JUMP among the others."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.sim.stress import Issued, ProgramGenerator, pick, random_spec
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.commands import (
    COMMANDS,
    TRANSFER_LOOPS,
    Opcode,
    ParameterForm,
    Target,
    Unit,
    encode,
)
from systolith.spec.program import Buffer, Program
from systolith.spec.registers import Window, lane_word_bytes, parameter_part_bytes, window_stride

__all__ = ["random_external_program", "random_external_spec"]

Rng = np.random.Generator
_SCRATCH = 1536
"""Bytes of external memory that programs load from and save to at random."""
_COMMAND_WORDS = 900
_TRANSFER_WORDS = COMMANDS[Opcode.LOAD].words + COMMANDS[Opcode.JUMP].words


def random_external_spec(rng: Rng, data_bytes: int) -> AcceleratorSpec:
    """A small accelerator of any shape with a bus of ``data_bytes`` bytes."""
    spec = random_spec(rng)
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
    return replace(spec, array=array, memory=memory, external=external)


class _ExternalGenerator(ProgramGenerator):
    """Commands that also touch external memory, weights, parameters and tables.

    Masks cover all of them, one after the other: activations, scratch, weight words, lane words,
    table bytes.
    """

    def __init__(self, rng: Rng, spec: AcceleratorSpec) -> None:
        super().__init__(rng, spec)
        sizes = {
            "activations": self.span, "scratch": _SCRATCH, "weights": spec.weight_words,
            "parameters": spec.lane_words, "tables": 256 * spec.memory.tables,
        }  # fmt: skip
        ends = np.cumsum(list(sizes.values())).tolist()
        self.start = {name: e - n for (name, n), e in zip(sizes.items(), ends, strict=True)}
        self.span = ends[-1]
        self.constants: list[Callable[[NDArray[np.uint8]], None]] = []
        self.external_bytes = _SCRATCH

    def _reads(self, memory: str, first: int, count: int) -> None:
        """The command issued last also reads these words."""
        start = self.start[memory] + first
        self.issued[-1].reads[start : start + count] = True

    def matmul(self) -> tuple[int, int, int, int] | None:
        """As of the parent; the weights it reads are noted."""
        nest = super().matmul()
        if nest:
            fields = self.issued[-1].fields
            tiles = 1
            if not fields["w_hold"]:
                for name in ("n", "ky", "kx", "kc"):
                    tiles *= fields[f"{name}_count"]
            self._reads("weights", fields["w_base"], tiles * self.spec.array.rows)
        return nest

    def store(self, nest: tuple[int, int, int, int], columns: int) -> bool:
        """As of the parent; the parameters and the table it reads are noted."""
        if not super().store(nest, columns):
            return False
        fields = self.issued[-1].fields
        words = -(-fields["tile_channels"] // self.spec.post.lanes)
        for n in range(nest[1]):
            self._reads("parameters", fields["p_base"] + n * fields["p_stride"], words)
        if fields.get("table"):
            self._reads("tables", 256 * fields["table_index"], 256)
        return True

    def _transfer(
        self, opcode: Opcode, length: int, part: int, target: Target, unit: tuple[int, int]
    ) -> dict[str, int] | None:
        """Fields of a transfer between scratch and ``unit``: (its first mask, words of a run).

        External addresses are multiples of ``part``.
        """
        rng = self.rng
        counts = [self.small(3) for _ in range(3)]
        most = max(1, _SCRATCH // 4 // part)
        e_strides = [int(v) * part for v in rng.integers(-most // 2, most // 2 + 1, 3)]
        m_strides = [int(v) for v in rng.integers(-40, 41, 3)]
        if rng.integers(3) == 0:  # a dense copy of runs
            e_strides = [counts[1] * counts[2] * length, counts[2] * length, length]
        if target is Target.ACTIVATIONS:
            placed = self._stream(counts, m_strides, length)
        else:
            size = {"weights": self.spec.weight_words, "tables": 256 * self.spec.memory.tables}
            m_strides = [int(v) for v in rng.integers(-unit[1], unit[1] + 1, 3)]
            placed = self._placed(counts, m_strides, unit[1], size[target.name.lower()], 1)
        outside = self._placed(counts, e_strides, length, _SCRATCH, part)
        if placed is None or outside is None:
            return None
        fields = {"e_base": outside[0], "m_base": placed[0], "length": length}
        for i, name in enumerate(TRANSFER_LOOPS):
            fields |= {f"{name}_count": counts[i], f"e_{name}_stride": e_strides[i]}
            fields |= {f"m_{name}_stride": m_strides[i]}
        chip = self._mask(placed[1] + unit[0], unit[1])
        scratch = self._mask(outside[1] + self.start["scratch"], length)
        reads, writes = (scratch, chip) if opcode is Opcode.LOAD else (chip, scratch)
        if opcode is Opcode.LOAD:
            fields["target"] = int(target)
        self.issued.append(Issued(opcode, fields, reads, writes))
        return fields

    def _placed(
        self, counts: list[int], strides: list[int], length: int, size: int, part: int
    ) -> tuple[int, NDArray[np.int64]] | None:
        """A base, a multiple of ``part``, so that all runs lie in ``size``: (base, addresses)."""
        offsets = np.zeros(1, np.int64)
        for count, stride in zip(counts, strides, strict=True):
            offsets = (offsets[:, None] + np.arange(count) * stride).reshape(-1)
        low, high = int(offsets.min()), int(offsets.max()) + length
        room = (size - (high - low)) // part
        if room < 0:
            return None
        base = int(self.rng.integers(room + 1)) * part - low
        return base, base + offsets

    def transfer(self) -> None:
        """Emit a LOAD or SAVE of any kind, if there is a place for it."""
        rng, spec, size = self.rng, self.spec, self.spec.external.data_bytes
        kind = int(rng.integers(7))
        length = int(pick(rng, 1, size, int(rng.integers(1, 30)), int(rng.integers(1, 150))))
        if kind < 4:
            opcode = Opcode.SAVE if kind < 2 else Opcode.LOAD
            self._transfer(opcode, length, 1, Target.ACTIVATIONS, (0, length))
        elif kind == 4:
            stride, words = window_stride(spec, Window.WEIGHTS), self.small(12)
            unit = (self.start["weights"], words)
            length = words * stride
            self._transfer(Opcode.LOAD, length, min(stride, size), Target.WEIGHTS, unit)
        elif kind == 5 and spec.memory.tables:
            unit = (self.start["tables"], length)
            self._transfer(Opcode.LOAD, length, 1, Target.TABLES, unit)
        elif kind == 6:
            self._load_parameters()

    def _load_parameters(self) -> None:
        """Emit a LOAD of lane words whose contents are made when all parameters are known."""
        rng, lanes = self.rng, self.spec.post.lanes
        form, words = ParameterForm(int(rng.integers(4))), self.small(min(6, self.spec.lane_words))
        part = parameter_part_bytes(self.spec, form)
        first = int(rng.integers(self.spec.lane_words - words + 1))
        base = -(-self.external_bytes // part) * part + part * int(rng.integers(3))
        length = words * lane_word_bytes(self.spec, form)
        self.external_bytes = base + length
        writes = np.zeros(self.span, bool)
        start = self.start["parameters"] + first
        writes[start : start + words] = True
        fields = {"e_base": base, "m_base": first, "length": length, "form": int(form)}
        fields["target"] = int(Target.PARAMETERS)
        self.issued.append(Issued(Opcode.LOAD, fields, np.zeros(self.span, bool), writes))
        bias = rng.integers(-3000, 3000, (words, lanes)) & 0xFFFFFFFF

        def fill(image: NDArray[np.uint8]) -> None:
            records = self.parameters[first : first + words].copy()
            records[..., 0] = bias
            if form is ParameterForm.UNIFORM:
                records = records[:, :1]
            last = records[..., 3] << 8 | records[..., 4] & 255
            short = np.concatenate([records[..., :3], last[..., None]], axis=-1)
            kept = {ParameterForm.WIDE: records, ParameterForm.BIAS: records[..., :1]}
            run = np.ascontiguousarray(kept.get(form, short), "<u4").view(np.uint8)
            image[base : base + length] = run.reshape(-1)

        self.constants.append(fill)


def random_external_program(rng: Rng, spec: AcceleratorSpec, *, layers: int = 5) -> Program:
    """A valid program whose commands lie partly in external memory and are loaded as it runs.

    Inputs and outputs are all activation bytes, ``region0``..., and the scratch part of external
    memory, ``scratch``.
    """
    generator = _ExternalGenerator(rng, spec)
    while sum(c.opcode is Opcode.STORE for c in generator.issued) < layers:
        for _ in range(int(rng.integers(5))):
            generator.transfer()
        if rng.integers(3) == 0:
            generator.fill()
        nest = generator.matmul()
        if nest and not any(generator.store(nest, spec.array.columns) for _ in range(20)):
            generator.issued.pop()
    for _ in range(3):
        generator.transfer()
    generator.order()
    return _assemble(generator)


def _segments(generator: _ExternalGenerator) -> list[list[int]]:
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


def _assemble(generator: _ExternalGenerator) -> Program:
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
        weights=rng.integers(0, 256, (spec.weight_words, spec.array.columns)).astype(np.uint8),
        parameters=generator.parameters,
        tables=rng.integers(0, 256, (spec.memory.tables, 256)).astype(np.uint8),
        external=image,
        external_bytes=len(image),
        layers=(),
        **_buffers(spec),
    )


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
        base=0, shape=(1, 1, _SCRATCH), strides=(0, 0, 1), dtype="uint8", external=True
    )
    return {"buffers": buffers, "inputs": tuple(buffers), "outputs": tuple(buffers)}
