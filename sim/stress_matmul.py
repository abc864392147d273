"""Random MATMULs: of any precision and format of weights, depthwise or not."""

import numpy as np

from systolith.sim.stress_depthwise import DepthwiseDraw, draw_depthwise, draw_pairs
from systolith.sim.stress_nibbles import draw_precision
from systolith.sim.stress_placing import Issued, Placing, Rng
from systolith.sim.stress_specs import WEIGHT_TILES
from systolith.sim.stress_weights import draw_format, most_words
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import MATMUL_LOOPS, Opcode

__all__ = ["MatmulGenerator", "Nest"]

Nest = tuple[int, int, int, int]
"""Loop counts (t, n, my, mx) of results."""


class MatmulGenerator(Placing):
    """Draws MATMULs; the weights of depthwise ones lie in front of the weight memory."""

    def __init__(self, rng: Rng, spec: AcceleratorSpec) -> None:
        super().__init__(rng, spec)
        self.depthwise: dict[int, DepthwiseDraw] = {}  # by w_base
        self.depthwise_tiles = WEIGHT_TILES  # from word 0 on

    def drawn_matmul(self) -> Nest | None:
        """Emit a MATMUL, depthwise or not, and return the nest (t, n, my, mx) of its results."""
        depthwise = self.spec.array.depthwise_lines and self.rng.integers(3)
        return self.depthwise_matmul() if depthwise else self.matmul()

    def matmul(self) -> Nest | None:
        """Emit a MATMUL and return the nest (t, n, my, mx) of its results."""
        rng, depth = self.rng, self.spec.memory.accumulator_depth
        hold = bool(rng.integers(4) == 0)
        my = self.small(min(4, depth))
        mx = self.small(max(1, min(5, depth // my)))
        t, n, ky, kx, kc = self.small(3), self.small(3), self.small(3), self.small(2), self.small(2)
        counts = [t, n, ky, kx, kc, my, mx]
        tiles = 1 if hold else n * ky * kx * kc
        sparse = self.spec.array.sparse and rng.integers(3) == 0
        length = self.spec.vector_bytes if sparse else self.spec.array.rows
        align = self.spec.line_bytes if sparse else 1
        reach = 25 // align
        strides = [align * int(v) for v in rng.integers(-reach, reach + 1, 7)]
        placed = self._stream(counts, strides, length, align)
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
        if not sparse:
            fields |= draw_precision(rng, self.spec, signed)
        if most_words(self.spec, fields) > self.spec.weight_words:
            return None
        fields |= draw_format(rng, self.spec, fields, sparse=sparse)
        nothing = np.zeros(self.span, bool)
        reads = self._mask(placed[1], length)
        self.issued.append(Issued(Opcode.MATMUL, fields, reads, nothing))
        return t, n, my, mx

    def depthwise_matmul(self) -> Nest | None:
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
