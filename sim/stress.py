"""Random programs: what a compiler would never write, but may."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.sim.stress_depthwise import DepthwiseDraw, draw_depthwise, draw_pairs
from systolith.sim.stress_moves import random_conversion, random_copy
from systolith.sim.stress_nibbles import (
    draw_nibbles,
    draw_packed,
    draw_precision,
    mix_precisions,
    result_channels,
)
from systolith.sim.stress_partial import cut_matmul
from systolith.sim.stress_softmax import random_exponents, random_softmax
from systolith.sim.stress_specs import WEIGHT_TILES, pick
from systolith.sim.stress_weights import draw_format, most_words, weight_image
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, MATMUL_LOOPS, Opcode, Unit, encode
from systolith.spec.program import Buffer, Program
from systolith.spec.requant import RequantMode, ResidualRounding

__all__ = [
    "Issued",
    "Mask",
    "ProgramGenerator",
    "random_inputs",
    "random_program",
]

Rng = np.random.Generator
Mask = NDArray[np.bool_]


@dataclass
class Issued:
    """A command in the making: where it reads and writes, and its words' fields."""

    opcode: Opcode
    fields: dict[str, int]
    reads: Mask
    writes: Mask

    @property
    def unit(self) -> Unit:
        """The unit that runs it."""
        unit = COMMANDS[self.opcode].unit
        assert unit is not None
        return unit


class ProgramGenerator:
    """Commands one by one; tokens last, where commands of different units touch the same bytes."""

    def __init__(self, rng: Rng, spec: AcceleratorSpec) -> None:
        self.rng, self.spec = rng, spec
        self.span = spec.region_stride * spec.memory.activation_regions
        self.issued: list[Issued] = []
        self.parameters = np.zeros((spec.lane_words, spec.post.lanes, 8), np.uint32)
        self.stamps = 0
        self.depthwise: dict[int, DepthwiseDraw] = {}  # by w_base
        self.depthwise_tiles = WEIGHT_TILES  # from word 0 on

    def small(self, high: int) -> int:
        """From 1 to ``high``, small values and 1 above all more often."""
        return int(min(self.rng.integers(1, high + 1), self.rng.integers(1, high + 1)))

    def _mask(self, starts: NDArray[np.int64], length: int) -> Mask:
        mask = np.zeros(self.span, bool)
        mask[(starts[..., None] + np.arange(length)).reshape(-1)] = True
        return mask

    def _stream(self, counts: list[int], strides: list[int], length: int) -> tuple[int, Any] | None:
        """A base in some region so that all vectors lie in it: (base, vector addresses)."""
        offsets = np.zeros(1, np.int64)
        for count, stride in zip(counts, strides, strict=True):
            offsets = (offsets[:, None] + np.arange(count) * stride).reshape(-1)
        low, high = int(offsets.min()), int(offsets.max()) + length
        if high - low > self.spec.memory.activation_bytes:
            return None
        region = int(self.rng.integers(self.spec.memory.activation_regions))
        room = self.spec.memory.activation_bytes - (high - low)
        base = region * self.spec.region_stride - low + int(self.rng.integers(room + 1))
        return base, base + offsets

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

    def drawn_matmul(self) -> tuple[int, int, int, int] | None:
        """Emit a MATMUL, depthwise or not, and return the nest (t, n, my, mx) of its results."""
        depthwise = self.spec.array.depthwise_lines and self.rng.integers(3)
        return self.depthwise_matmul() if depthwise else self.matmul()

    def matmul(self) -> tuple[int, int, int, int] | None:
        """Emit a MATMUL and return the nest (t, n, my, mx) of its results."""
        rng, depth = self.rng, self.spec.memory.accumulator_depth
        hold = bool(rng.integers(4) == 0)
        my = self.small(min(4, depth))
        mx = self.small(max(1, min(5, depth // my)))
        t, n, ky, kx, kc = self.small(3), self.small(3), self.small(3), self.small(2), self.small(2)
        counts = [t, n, ky, kx, kc, my, mx]
        strides = [int(v) for v in rng.integers(-25, 26, 7)]
        tiles = 1 if hold else n * ky * kx * kc
        placed = self._stream(counts, strides, self.spec.array.rows)
        if placed is None or tiles > WEIGHT_TILES:
            return None
        signed = int(rng.integers(2))
        fields = {
            "x_base": placed[0], "x_signed": int(rng.integers(2)), "w_signed": signed,
            "w_hold": int(hold), "maximum": int(rng.integers(4) == 0),
            "w_zero": int(rng.integers(-128, 128) if signed else rng.integers(0, 256)),
        }  # fmt: skip
        for name, count, stride in zip(MATMUL_LOOPS, counts, strides, strict=True):
            fields |= {f"{name}_count": count, f"x_{name}_stride": stride}
        fields |= draw_precision(rng, self.spec, signed)
        if most_words(self.spec, fields) > self.spec.weight_words:
            return None
        fields |= draw_format(rng, self.spec, fields)
        nothing = np.zeros(self.span, bool)
        reads = self._mask(placed[1], self.spec.array.rows)
        self.issued.append(Issued(Opcode.MATMUL, fields, reads, nothing))
        return t, n, my, mx

    def depthwise_matmul(self) -> tuple[int, int, int, int] | None:
        """Emit a depthwise MATMUL, if need be a FILL before it; return the nest of its results."""
        rng, rows = self.rng, self.spec.array.rows
        used = sum(draw.tiles for draw in self.depthwise.values())
        if used == self.depthwise_tiles:
            return None
        results = 3 * self.spec.memory.accumulator_depth
        tiles = min(8, self.depthwise_tiles - used)
        draw = draw_depthwise(rng, self.spec, results=results, stride=8, tiles=tiles)
        if self.spec.row_pairs and not draw.shared and rng.integers(2):
            draw = draw_pairs(rng, self.spec, draw)
        counts = [draw.fields[f"{name}_count"] for name in MATMUL_LOOPS]
        strides = [draw.fields[f"x_{name}_stride"] for name in MATMUL_LOOPS]
        placed = self._stream(counts, strides, rows)
        if placed is None:
            return None
        if draw.fields.get("pairs"):
            back = placed[0] % self.spec.line_bytes
            placed = placed[0] - back, placed[1] - back
        nothing = np.zeros(self.span, bool)
        if draw.shared > 1:
            fill = draw.padding(placed[0], int(rng.integers(256)))
            runs = fill["d_base"] + sum(
                np.arange(fill[f"{d}_count"]).reshape(shape) * fill[f"d_{d}_stride"]
                for d, shape in (("d1", (-1, 1)), ("d0", (1, -1)))
            )
            mask = self._mask(np.asarray(runs, np.int64), fill["length"])
            self.issued.append(Issued(Opcode.FILL, fill, nothing, mask))
        fields = draw.fields | {"x_base": placed[0], "w_base": used * rows}
        self.depthwise[used * rows] = draw
        self.issued.append(Issued(Opcode.MATMUL, fields, self._mask(placed[1], rows), nothing))
        return fields["t_count"], fields["n_count"], fields["oy_count"], fields["ox_count"]

    def _parameters(self, mode: RequantMode, words: int) -> int:
        """Write random parameters of some lane words and return the first word."""
        rng, lanes = self.rng, self.spec.post.lanes
        base = int(rng.integers(max(1, self.spec.lane_words - words + 1)))
        part = self.parameters[base : base + words]
        shape = part.shape[:2]
        # Words that an earlier command uses keep their contents: of the same mode all are valid.
        fresh = ~part[..., 7].astype(bool)
        widths = self.spec.post.widths
        half, less = 1 << (widths.multiplier - 1), 32 - widths.multiplier
        fixed = -half, half, (37 - less, 44 - less)
        low, high, shifts = {
            RequantMode.DOUBLE: (1 << 30, (1 << 31) - 1, (-13, -6)),
            RequantMode.FLOAT32: (1 << 23, 1 << 24, (-37, -30)),
            RequantMode.FIXED: fixed,
            RequantMode.MAGNITUDE: fixed,
        }[mode]
        # The offset's upper word, so that it fits in the sum.
        upper = min(1000, 1 << max(0, widths.sum - 33))
        values = {
            0: rng.integers(-3000, 3000, shape),
            1: rng.integers(low, high, shape),
            2: rng.integers(-(1 << 31), 1 << 31, shape),
            3: rng.integers(-upper, upper, shape),
            4: rng.integers(*shifts, shape),
            7: np.full(shape, 1 + mode),
        }
        for word, value in values.items():
            part[..., word] = np.where(fresh, value.astype(np.int64) & 0xFFFFFFFF, part[..., word])
        assert part.shape == (words, lanes, 8)
        return base if (part[..., 7] == 1 + mode).all() else -1

    def store(self, nest: tuple[int, int, int, int]) -> bool:
        """Emit the STORE of the last MATMUL's results; False if there was no place for it."""
        rng, lanes = self.rng, self.spec.post.lanes
        t, n, my, mx = nest
        width = int(rng.integers(1, result_channels(self.spec, self.issued[-1].fields) + 1))
        channels = (n - 1) * width + int(rng.integers(1, width + 1))
        mode = pick(rng, *sorted(self.spec.post.modes))
        words = -(-width // lanes)
        p_stride = int(rng.integers(words + 1))
        base = self._parameters(mode, words + (n - 1) * p_stride)
        packed = draw_packed(rng, self.spec)
        tile, strides = self._output_strides(nest, width, channels, packed)
        placed = self._stream([t, n, my, mx], strides, tile)
        if placed is None or base < 0:
            return False
        writes = self._mask(placed[1], tile)
        # To wait for the MATMUL whose results it takes is for ever, if it cannot store them all.
        many = t * n * my * mx > self.spec.memory.accumulator_depth
        if many and (writes & self.issued[-1].reads).any():
            return False
        low, high = (-128, 127) if rng.integers(2) else (0, 255)
        fields = {
            "y_base": placed[0], "mode": int(mode), "p_base": base, "p_stride": p_stride,
            "channels": channels, "tile_channels": width,
            "zero": int(rng.integers(-50, 50)) + (low + high) // 2, "low": low, "high": high,
            "stamp": int(self.stamps < self.spec.memory.stamps and rng.integers(2)),
        }  # fmt: skip
        if packed:
            fields |= draw_nibbles(rng)
        reads = np.zeros(self.span, bool)
        if self.spec.post.residual and rng.integers(2):
            reads = self._residual(fields, [t, n, my, mx], strides, writes)
        if self.spec.memory.tables and rng.integers(2):
            fields |= {"table": 1, "table_index": int(rng.integers(self.spec.memory.tables))}
        self.stamps += fields["stamp"]
        for name, count, stride in zip(("t", "n", "my", "mx"), nest, strides, strict=True):
            fields |= {f"{name}_count": count, f"y_{name}_stride": stride}
        self.issued.append(Issued(Opcode.STORE, fields, reads, writes))
        return True

    def _output_strides(
        self, nest: tuple[int, int, int, int], width: int, channels: int, packed: int
    ) -> tuple[int, list[int]]:
        """Bytes of a channel tile, and strides (t, n, my, mx) of outputs that do not overlap."""
        _, n, my, mx = nest
        tile, last = (-(-k // (1 + packed)) for k in (width, channels - (n - 1) * width))
        pixel = (n - 1) * tile + last + int(self.rng.integers(3))
        signs = pick(self.rng, (1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1))
        return tile, [my * mx * pixel * signs[0], tile, mx * pixel * signs[1], pixel * signs[2]]

    def _residual(
        self, fields: dict[str, int], counts: list[int], y_strides: list[int], writes: Mask
    ) -> Mask:
        """Add a residual stream to a STORE's fields and return what it reads.

        It reads what the STORE overwrites only in place, code by code: all other overlaps depend on
        how far reads run ahead of writes.
        """
        rng, width = self.rng, fields["tile_channels"]
        if rng.integers(4) == 0 and not fields.get("packed"):
            strides, base, reads = y_strides, fields["y_base"], writes
        else:
            strides = [int(v) for v in rng.integers(-20, 21, 4)]
            placed = self._stream(counts, strides, width)
            if placed is None:
                return np.zeros(self.span, bool)
            base, reads = placed[0], self._mask(placed[1], width)
            if (reads & writes).any():
                return np.zeros(self.span, bool)
        shift = int(rng.integers(20, 32))
        fields |= {
            "residual": 1, "r_signed": int(rng.integers(2)), "r_base": base,
            "r_shift": shift, "r_rounding": int(rng.integers(len(ResidualRounding))),
            "r_zero": int(rng.integers(-60, 60)), "r_low": -128, "r_high": 127,
            "r_multiplier_y": int(rng.integers(-(2 << shift), 2 << shift) >> 1),
            "r_multiplier_r": int(rng.integers(-(2 << shift), 2 << shift) >> 1),
            "r_offset": int(rng.integers(-(50 << shift), 50 << shift)),
        }  # fmt: skip
        if self.spec.post.product and rng.integers(2):
            # Products are 2**7 times as large as sums.
            fields |= {
                "r_product": 1, "r_zero_r": int(rng.integers(-256, 256)),
                "r_multiplier_y": fields["r_multiplier_y"] >> 7,
            }  # fmt: skip
        for name, stride in zip(("t", "n", "my", "mx"), strides, strict=True):
            fields[f"r_{name}_stride"] = stride
        return reads

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
            parts = cut_matmul(rng, generator.issued[-2].fields, spec.array.rows)
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
