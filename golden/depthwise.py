"""Depthwise passes: column c filters channel c with the taps that its array rows hold."""

import numpy as np
from numpy.typing import NDArray

from systolith.golden.memory import Activations
from systolith.golden.rounding import Int64Array
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Command
from systolith.spec.program import ProgramError

__all__ = ["check_depthwise", "depthwise_sums"]


def check_depthwise(spec: AcceleratorSpec, command: Command) -> None:
    """Require a stream of pixels that holds every output.

    Raises
    ------
    ProgramError: the accelerator has no depthwise mode, or the fields do not agree.
    """
    if not spec.array.depthwise_lines:
        raise ProgramError("depthwise must be 0 on an accelerator without depthwise mode, not 1")
    width, step = command["mx_count"], command["x_step"]
    if 0 in (command["y_step"], step, command["oy_count"], command["ox_count"]):
        raise ProgramError("y_step, x_step, oy_count and ox_count must be at least 1, not 0")
    if not 2 <= width <= spec.array.depthwise_width:
        raise ProgramError(
            f"mx_count must be between 2 and {spec.array.depthwise_width}, not {width}"
        )
    if command["x_first"] >= width:
        raise ProgramError(f"x_first must be below {width}, not {command['x_first']}")
    if (command["ox_count"] - 1) * step >= width:
        raise ProgramError(f"outputs of a row must span at most {width} pixels")
    fault = spec.pair_fault(command.values) if command["pairs"] else None
    if fault:
        raise ProgramError(fault)
    last = command["x_first"] + (command["ox_count"] - 1) * step
    if last >= width and command["x_my_stride"] != width * command["x_mx_stride"]:
        raise ProgramError("outputs that end in the next row must have rows without gaps")
    end = (command["y_first"] + (command["oy_count"] - 1) * command["y_step"]) * width + last
    if end >= command["my_count"] * width:
        raise ProgramError(f"last output must need a pixel below {end + 1}, which is not read")


def depthwise_sums(
    spec: AcceleratorSpec,
    memory: Activations,
    command: Command,
    base: int,
    weights: NDArray[np.float64],
) -> Int64Array:
    """Return the sums of one pass over one tile, int64 [oy * ox, columns].

    ``out[i, j, c] = sum_{l, k} w[l * taps + k, c] * x(y - lines + 1 + l, x - taps + 1 + k, c)``
    with ``y = y_first + i * y_step``, ``x = x_first + j * x_step``: the last line and the last tap
    are the newest pixel. A row may end in the one after it: columns count on from row to row.

    Parameters
    ----------
    base: byte address of pixel (0, 0).
    weights: [rows, columns].

    Raises
    ------
    ProgramError: a weight other than 0 meets a pixel before the first.
    """
    lines, taps = spec.array.depthwise_lines, spec.array.depthwise_taps
    ys = command["y_first"] + np.arange(command["oy_count"]) * command["y_step"]
    xs = command["x_first"] + np.arange(command["ox_count"]) * command["x_step"]
    rows, columns = weights.shape
    channel = np.arange(columns) >> command["expand"]
    held = channel < rows  # a vector has as many bytes as the array has rows
    total = np.zeros((len(ys) * len(xs), columns), np.int64)
    if weights[lines * taps :].any():
        raise ProgramError(f"weights of array row {lines * taps} and later must be 0")
    for line in range(lines):
        for tap in range(taps):
            w = weights[line * taps + tap].astype(np.int64)
            if not w.any():
                continue
            y, x = ys - (lines - 1) + line, xs - (taps - 1) + tap
            if y[0] < 0 or x[0] < 0:
                raise ProgramError(f"weight of line {line}, tap {tap} must be 0: no such pixel")
            pixels = (y[:, None] * command["x_my_stride"] + x * command["x_mx_stride"]).reshape(-1)
            read = memory.read(base + pixels, rows, port=rows, signed=bool(command["x_signed"]))
            value = np.where(held, read[:, np.minimum(channel, rows - 1)].astype(np.int64), 0)
            if (w[~held] != 0).any():
                raise ProgramError(f"weights of column {rows << command['expand']} must be 0")
            total += value * w
    return total
