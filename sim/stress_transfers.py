"""Commands of random programs that also move data between the chip and external memory."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from systolith.sim.stress import ProgramGenerator
from systolith.sim.stress_placing import Issued
from systolith.sim.stress_softmax import random_exponents
from systolith.sim.stress_specs import pick
from systolith.sim.stress_weights import most_words
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import TRANSFER_LOOPS, Opcode, ParameterForm, Target
from systolith.spec.registers import Window, lane_word_bytes, parameter_part_bytes, window_stride
from systolith.spec.softmax import SoftmaxForm

__all__ = ["SCRATCH_BYTES", "ExternalGenerator"]

Rng = np.random.Generator
SCRATCH_BYTES = 1536
"""Bytes of external memory that programs load from and save to at random."""


class ExternalGenerator(ProgramGenerator):
    """Commands that also touch external memory, weights, parameters and tables.

    Masks cover all of them, one after the other: activations, scratch, weight words, lane words,
    table bytes, tables of exponentials.
    """

    def __init__(self, rng: Rng, spec: AcceleratorSpec) -> None:
        super().__init__(rng, spec)
        sizes = {
            "activations": self.span, "scratch": SCRATCH_BYTES, "weights": spec.weight_words,
            "parameters": spec.lane_words, "tables": 256 * spec.memory.tables,
            "exponents": spec.post.softmax_tables,
        }  # fmt: skip
        ends = np.cumsum(list(sizes.values())).tolist()
        self.start = {name: e - n for (name, n), e in zip(sizes.items(), ends, strict=True)}
        self.span = ends[-1]
        self._kept_words = 0
        self.constants: list[Callable[[NDArray[np.uint8]], None]] = []
        self.external_bytes = SCRATCH_BYTES
        if spec.array.depthwise_lines:  # some of its weights must be 0: they are not loaded
            self.depthwise_tiles //= 2
            self._kept_words = self.depthwise_tiles * spec.array.rows

    def _reads(self, memory: str, first: int, count: int) -> None:
        """The command issued last also reads these words."""
        start = self.start[memory] + first
        self.issued[-1].reads[start : start + count] = True

    def matmul(self) -> tuple[int, int, int, int] | None:
        """As of the parent; the weights it reads are noted."""
        return self._weights_noted(super().matmul())

    def depthwise_matmul(self) -> tuple[int, int, int, int] | None:
        """As of the parent; the weights it reads are noted."""
        return self._weights_noted(super().depthwise_matmul())

    def _weights_noted(
        self, nest: tuple[int, int, int, int] | None
    ) -> tuple[int, int, int, int] | None:
        if nest:
            fields = self.issued[-1].fields
            words = most_words(self.spec, {"w_format": 0, **fields})
            self._reads("weights", fields["w_base"], words)
        return nest

    def softmax(self) -> None:
        """As of the parent; the tables it reads are noted."""
        before = len(self.issued)
        super().softmax()
        if len(self.issued) > before:
            fields = self.issued[-1].fields
            self._reads("exponents", fields["table"], 1 + (fields["form"] == SoftmaxForm.QUOTIENT))

    def store(self, nest: tuple[int, int, int, int]) -> bool:
        """As of the parent; the parameters and the table it reads are noted."""
        if not super().store(nest):
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
        most = max(1, SCRATCH_BYTES // 4 // part)
        e_strides = [int(v) * part for v in rng.integers(-most // 2, most // 2 + 1, 3)]
        m_strides = [int(v) for v in rng.integers(-40, 41, 3)]
        if rng.integers(3) == 0:  # a dense copy of runs
            e_strides = [counts[1] * counts[2] * length, counts[2] * length, length]
        if target is Target.ACTIVATIONS:
            placed = self._stream(counts, m_strides, length)
        else:
            size = {
                "weights": self.spec.weight_words - self._kept_words,
                "tables": 256 * self.spec.memory.tables,
            }
            m_strides = [int(v) for v in rng.integers(-unit[1], unit[1] + 1, 3)]
            placed = self._placed(counts, m_strides, unit[1], size[target.name.lower()], 1)
        outside = self._placed(counts, e_strides, length, SCRATCH_BYTES, part)
        if placed is None or outside is None:
            return None
        kept = self._kept_words if target is Target.WEIGHTS else 0
        fields = {"e_base": outside[0], "m_base": placed[0] + kept, "length": length}
        for i, name in enumerate(TRANSFER_LOOPS):
            fields |= {f"{name}_count": counts[i], f"e_{name}_stride": e_strides[i]}
            fields |= {f"m_{name}_stride": m_strides[i]}
        chip = self._mask(placed[1] + unit[0] + kept, unit[1])
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
        kind = int(rng.integers(8 if spec.post.softmax_tables else 7))
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
        elif kind == 7:
            self._load_exponents()

    def _constant(self, fields: dict[str, int], part: int, memory: str, words: int) -> int:
        """Emit a LOAD of a run of its own, aligned to ``part`` bytes, and return where that is.

        It writes ``words`` words of a memory from its base on.
        """
        base = -(-self.external_bytes // part) * part + part * int(self.rng.integers(3))
        self.external_bytes = base + fields["length"]
        writes = np.zeros(self.span, bool)
        start = self.start[memory] + fields["m_base"]
        writes[start : start + words] = True
        nothing = np.zeros(self.span, bool)
        self.issued.append(Issued(Opcode.LOAD, fields | {"e_base": base}, nothing, writes))
        return base

    def _load_exponents(self) -> None:
        """Emit a LOAD of one table of exponentials."""
        table = int(self.rng.integers(self.spec.post.softmax_tables))
        fields = {"m_base": table, "length": 1024, "target": int(Target.EXPONENTS)}
        base = self._constant(fields, 4, "exponents", 1)
        self.issued[-1].fields["m_base"] = 256 * table
        values = random_exponents(self.rng, self.spec)[table]

        def fill(image: NDArray[np.uint8]) -> None:
            image[base : base + 1024] = values.astype("<u4").view(np.uint8)

        self.constants.append(fill)

    def _load_parameters(self) -> None:
        """Emit a LOAD of lane words whose contents are made when all parameters are known."""
        rng, lanes = self.rng, self.spec.post.lanes
        form, words = ParameterForm(int(rng.integers(4))), self.small(min(6, self.spec.lane_words))
        part = parameter_part_bytes(self.spec, form)
        first = int(rng.integers(self.spec.lane_words - words + 1))
        length = words * lane_word_bytes(self.spec, form)
        fields = {"m_base": first, "length": length, "form": int(form)}
        fields["target"] = int(Target.PARAMETERS)
        base = self._constant(fields, part, "parameters", words)
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
