"""Random programs: what a compiler would never write, but may."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from systolith.sim.stress_matmul import MatmulGenerator
from systolith.sim.stress_moves import random_conversion, random_copy
from systolith.sim.stress_nibbles import mix_precisions
from systolith.sim.stress_partial import cut_matmul
from systolith.sim.stress_placing import Issued, Mask, Rng
from systolith.sim.stress_softmax import random_exponents, random_softmax
from systolith.sim.stress_specs import pick
from systolith.sim.stress_store import StoreGenerator
from systolith.sim.stress_weights import tile_words, weight_image
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, Unit, encode
from systolith.spec.precision import WeightFormat
from systolith.spec.program import Buffer, Program

__all__ = ["ProgramGenerator", "random_inputs", "random_program"]


class ProgramGenerator(MatmulGenerator, StoreGenerator):
    """Commands one by one; tokens last, where commands of different units touch the same bytes."""

    def fill(self) -> None:
        """Emit a FILL, if there is a place for it."""
        counts = [self.small(3) for _ in range(3)]
        length = int(pick(self.rng, 1, 3, self.spec.line_bytes, int(self.rng.integers(1, 40))))
        strides = [int(v) for v in self.rng.integers(-60, 61, 3)]
        placed = self._stream(counts, strides, length)
        if placed is None:
            return
        fields = {"d_base": placed[0], "value": int(self.rng.integers(256)), "length": length}
        for name, count, stride in zip(("d2", "d1", "d0"), counts, strides, strict=True):
            fields |= {f"{name}_count": count, f"d_{name}_stride": stride}
        nothing = np.zeros(self.span, bool)
        self.issued.append(Issued(Opcode.FILL, fields, nothing, self._mask(placed[1], length)))

    def copy(self) -> None:
        """Emit a COPY, if there is a place for it."""
        self._move(Opcode.COPY, random_copy(self.rng, self.spec))

    def softmax(self) -> None:
        """Emit a SOFTMAX, if there is a place for it."""
        self._move(Opcode.SOFTMAX, random_softmax(self.rng, self.spec))

    def conversion(self) -> None:
        """Emit a QUANTIZE or a DEQUANTIZE, if there is a place for it."""
        self._move(*random_conversion(self.rng, self.spec))

    def _move(self, opcode: Opcode, drawn: tuple[dict[str, int], Mask, Mask] | None) -> None:
        """Emit what was drawn; its masks are of activations, which come first in all masks."""
        if drawn is not None:
            fields, *masks = drawn
            reads, writes = (np.pad(mask, (0, self.span - len(mask))) for mask in masks)
            self.issued.append(Issued(opcode, fields, reads, writes))

    def order(self) -> None:
        """Give tokens between units wherever bytes are shared; nowhere else."""
        synced: dict[tuple[Unit, Unit], int] = {}
        for j, later in enumerate(self.issued):
            touched = later.reads | later.writes
            for unit in set(Unit) - {later.unit}:
                others = [i for i in range(j) if self.issued[i].unit == unit]
                clash = [
                    i
                    for i in others
                    if i > synced.get((unit, later.unit), -1)
                    and (
                        (self.issued[i].writes & touched).any()
                        or (self.issued[i].reads & later.writes).any()
                    )
                ]
                if not clash:
                    continue
                # Any later command of the unit gives the token as well, but not the MATMUL whose
                # results `later` takes: the array may need their room first.
                late = [i for i in others if i < j - 1] or clash
                giver = max(clash[-1], int(pick(self.rng, late[-1], clash[-1])))
                fields = self.issued[giver].fields
                fields["signal"] = fields.get("signal", 0) | 1 << later.unit
                later.fields["wait"] = later.fields.get("wait", 0) | 1 << unit
                synced[unit, later.unit] = giver


def random_program(rng: Rng, spec: AcceleratorSpec, *, layers: int = 4) -> Program:
    """A valid program of random commands whose inputs and outputs are all activation bytes.

    Buffers are named ``region0``, ``region1``...; all are inputs and outputs. Commands that share
    bytes are ordered by tokens, all others overlap as they like.

    Parameters
    ----------
    layers: most MATMUL and STORE pairs; fewer if the command memory is full.
    """
    generator = ProgramGenerator(rng, spec)
    kinds = (Opcode.MATMUL, Opcode.MATMUL, Opcode.STORE, Opcode.FILL, Opcode.FILL, Opcode.COPY)
    longest = sum(COMMANDS[o].words for o in (*kinds, Opcode.SOFTMAX, Opcode.QUANTIZE))
    budget = spec.memory.command_words - 1
    for _ in range(20 * layers):
        words = sum(COMMANDS[c.opcode].words for c in generator.issued)
        pairs = sum(c.opcode is Opcode.STORE for c in generator.issued)
        if pairs == layers or words + longest > budget:
            break
        if rng.integers(3) == 0:
            generator.fill()
        if rng.integers(2):
            generator.copy()
        if spec.post.softmax_tables and rng.integers(2):
            generator.softmax()
        if spec.post.quantize_lanes and rng.integers(2):
            generator.conversion()
        nest = generator.drawn_matmul()
        if nest and not any(generator.store(nest) for _ in range(20)):
            generator.issued.pop()
        elif nest:
            fields = generator.issued[-2].fields
            words = tile_words(spec, WeightFormat(fields.get("w_format", 0)))
            parts = cut_matmul(rng, fields, words)
            mix_precisions(rng, spec, parts)
            generator.issued[-2:-1] = [replace(generator.issued[-2], fields=f) for f in parts]
    generator.order()
    return _assemble(generator)


def _assemble(generator: ProgramGenerator) -> Program:
    """The program of the commands issued, with random weights and tables."""
    rng, spec = generator.rng, generator.spec
    commands = [w for c in generator.issued for w in encode(c.opcode, **c.fields)]
    size, stride = spec.memory.activation_bytes, spec.region_stride
    names = [f"region{g}" for g in range(spec.memory.activation_regions)]
    generator.parameters[..., 7] = 0
    weights = weight_image(rng, spec)
    for w_base, draw in generator.depthwise.items():
        draw.blank(weights, w_base)
    return Program(
        spec=spec,
        commands=np.array(commands + encode(Opcode.END), np.uint32),
        weights=weights,
        parameters=generator.parameters,
        tables=rng.integers(0, 256, (spec.memory.tables, 256)).astype(np.uint8),
        buffers={
            name: Buffer(
                base=g * stride, shape=(1, 1, size), strides=(size, size, 1), dtype="uint8"
            )
            for g, name in enumerate(names)
        },
        inputs=tuple(names),
        outputs=tuple(names),
        layers=(),
        exponents=random_exponents(rng, spec),
    )


def random_inputs(rng: Rng, program: Program) -> dict[str, NDArray[np.uint8]]:
    """Random bytes for every input of a program."""
    buffers = program.buffers
    return {n: rng.integers(0, 256, buffers[n].shape).astype(np.uint8) for n in program.inputs}
