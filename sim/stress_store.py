"""Random STOREs of what a MATMUL leaves."""

import numpy as np

from systolith.sim.stress_matmul import Nest
from systolith.sim.stress_nibbles import draw_nibbles, draw_packed, result_channels
from systolith.sim.stress_placing import Issued, Mask, Placing, Rng
from systolith.sim.stress_specs import pick
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode
from systolith.spec.requant import RequantMode, ResidualRounding

__all__ = ["StoreGenerator"]


class StoreGenerator(Placing):
    """Draws STOREs, and the parameters that they need."""

    def __init__(self, rng: Rng, spec: AcceleratorSpec) -> None:
        super().__init__(rng, spec)
        self.parameters = np.zeros((spec.lane_words, spec.post.lanes, 8), np.uint32)
        self.stamps = 0

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

    def store(self, nest: Nest) -> bool:
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
        self, nest: Nest, width: int, channels: int, packed: int
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
