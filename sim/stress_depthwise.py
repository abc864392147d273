"""Random depthwise MATMULs for random programs: what the line buffers and their gate must bear."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import MATMUL_LOOPS

__all__ = ["DepthwiseDraw", "draw_depthwise", "draw_pairs"]


@dataclass(frozen=True)
class DepthwiseDraw:
    """A depthwise MATMUL without its addresses.

    Parameters
    ----------
    fields: of the command, but for `x_base` and `w_base`.
    tiles: weight tiles it uses.
    used: [rows, columns], which weights may be other than 0.
    shared: columns at a row's begin in which outputs of the row before end; if 2 or more, they must
        hold one byte, wherever the streams lie.
    """

    fields: dict[str, int]
    tiles: int
    used: NDArray[np.bool_]
    shared: int

    def blank(self, weights: NDArray[np.uint8], w_base: int) -> None:
        """Make the weights 0 that must be, in place."""
        rows = len(self.used)
        part = weights[w_base : w_base + self.tiles * rows].reshape(self.tiles, *self.used.shape)
        part[:, ~self.used] = self.fields["w_zero"] & 255

    def padding(self, x_base: int, value: int) -> dict[str, int]:
        """Fields of a FILL that makes the shared columns of all streams equal."""
        f, rows = self.fields, len(self.used)
        reach = (self.shared - 1) * f["x_mx_stride"]
        return {
            "d_base": x_base + min(0, reach),
            "length": abs(reach) + rows,
            "value": value,
            "d1_count": f["t_count"],
            "d_d1_stride": f["x_t_stride"],
            "d0_count": f["my_count"],
            "d_d0_stride": f["x_my_stride"],
        }


def _small(rng: np.random.Generator, high: int) -> int:
    """From 1 to ``high``, small values more often."""
    return int(rng.integers(1, rng.integers(1, max(1, high) + 1) + 1))


def _row(rng: np.random.Generator, spec: AcceleratorSpec) -> tuple[dict[str, int], int]:
    """Fields along a row, and the shared columns."""
    width = spec.array.depthwise_width
    x_step = int(rng.integers(1, 4))
    most = min(spec.memory.accumulator_depth, (width - 1) // x_step + 1, 12)
    ox = _small(rng, most) if rng.integers(2) else int(rng.integers(1, most + 1))
    reach = (ox - 1) * x_step
    mx = min(width, max(2, reach + 1) + int(rng.integers(3)))
    if rng.integers(2):  # outputs end in the next row, by any number of columns
        x_first = int(rng.integers(max(0, mx - reach), mx)) if reach else mx - 1
    else:
        x_first = int(rng.integers(mx - reach))
    fields = {"x_step": x_step, "ox_count": ox, "mx_count": mx, "x_first": x_first}
    return fields, max(0, x_first + reach + 1 - mx)


def draw_depthwise(
    rng: np.random.Generator, spec: AcceleratorSpec, *, results: int, stride: int, tiles: int
) -> DepthwiseDraw:
    """Draw a depthwise MATMUL for an accelerator that can run it.

    Parameters
    ----------
    results: most result vectors.
    stride: largest distance of pixels, bytes.
    tiles: most weight tiles.
    """
    lines, taps = spec.array.depthwise_lines, spec.array.depthwise_taps
    fields, shared = _row(rng, spec)
    ox = fields["ox_count"]
    passes = [1, 1, 1] if rng.integers(2) else [_small(rng, 2) for _ in range(3)]
    room = results // ox
    if np.prod(passes) > 1:
        room = min(room, spec.memory.accumulator_depth // ox)
    oy = _small(rng, min(5, room))
    t = _small(rng, min(3, room // oy))
    n = _small(rng, min(3, room // oy // t))
    hold = bool(rng.integers(4) == 0) or n * int(np.prod(passes)) > tiles
    y_step, y_first = int(rng.integers(1, 4)), int(rng.integers(lines + 1))
    mx_stride = int(rng.integers(-stride // 3, stride + 1))
    gap = 0 if shared else int(rng.integers(-3, 4))
    outer = {f"x_{n}_stride": int(rng.integers(-stride, stride + 1)) for n in MATMUL_LOOPS[:5]}
    if shared > 1:  # so that one FILL reaches all streams
        outer = dict.fromkeys(outer, 0) | {"x_t_stride": outer["x_t_stride"]}
    signed, expand = int(rng.integers(2)), int(rng.integers(4))
    my = y_first + (oy - 1) * y_step + 1 + bool(shared) + int(rng.integers(2))
    counts = [t, n, *passes, my, fields["mx_count"]]
    fields |= {f"{name}_count": k for name, k in zip(MATMUL_LOOPS, counts, strict=True)}
    fields |= outer | {
        "x_mx_stride": mx_stride,
        "x_my_stride": fields["mx_count"] * mx_stride + gap,
    }
    fields |= {
        "depthwise": 1, "expand": expand, "oy_count": oy, "y_step": y_step, "y_first": y_first,
        "x_signed": int(rng.integers(2)), "w_signed": signed, "w_hold": int(hold),
        "w_zero": int(rng.integers(-128, 128) if signed else rng.integers(0, 256)),
        "maximum": int(rng.integers(4) == 0),
    }  # fmt: skip
    kernel = int(rng.integers(1, lines + 1)), int(rng.integers(1, taps + 1))
    return DepthwiseDraw(
        fields, 1 if hold else n * int(np.prod(passes)), _used(spec, fields, kernel), shared
    )


def draw_pairs(
    rng: np.random.Generator, spec: AcceleratorSpec, draw: DepthwiseDraw
) -> DepthwiseDraw:
    """The same MATMUL reading its rows in pairs, from other places; `x_base` must be a line's.

    Parameters
    ----------
    draw: without shared columns, for an accelerator with `AcceleratorSpec.row_pairs`.
    """
    line, fields = spec.line_bytes, dict(draw.fields)
    for name in MATMUL_LOOPS[:5]:
        fields[f"x_{name}_stride"] = line * int(rng.integers(-1, 2))
    fields["x_mx_stride"] = line * int(rng.integers(-1, 3))
    fields["x_my_stride"] = line * (2 * int(rng.integers(-2, 3)) + 1)
    fields["y_first"] |= 1
    fields["y_step"] = 2 * int(rng.integers(1, 3))
    end = fields["y_first"] + (fields["oy_count"] - 1) * fields["y_step"] + 1
    fields["my_count"] = end + 2 * int(rng.integers(2))
    return replace(draw, fields=fields | {"pairs": 1})


def _used(
    spec: AcceleratorSpec, fields: dict[str, int], kernel: tuple[int, int]
) -> NDArray[np.bool_]:
    """Weights of a kernel [rows, taps], less what would meet pixels before the first."""
    lines, taps = spec.array.depthwise_lines, spec.array.depthwise_taps
    height = min(kernel[0], fields["y_first"] + 1)
    width = min(kernel[1], fields["x_first"] + 1)
    window = np.zeros((lines, taps), bool)
    window[lines - height :, taps - width :] = True
    used = np.zeros((spec.array.rows, spec.array.columns), bool)
    used[: lines * taps] = window.reshape(-1, 1)
    used[:, spec.array.rows << fields["expand"] :] = False
    return used
