"""QUANTIZE and DEQUANTIZE: runs of float32 numbers in the activation memory to codes, and back."""

import numpy as np
from numpy.typing import NDArray

from systolith.golden.memory import Chip
from systolith.golden.nests import counts, offsets
from systolith.golden.quantize import dequantize_codes, inverse_scale, quantize_codes
from systolith.golden.transfer import require_disjoint
from systolith.spec.commands import COPY_LOOPS, Command
from systolith.spec.program import ProgramError
from systolith.spec.quantize import QuantizeForm

__all__ = ["dequantize", "quantize"]

_NUMBER = 4
"""Bytes of a float32 number."""


def _runs(
    chip: Chip, command: Command, read: int, written: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Return bytes [runs, length * read], the runs' targets, and bytes that a write moves.

    Parameters
    ----------
    read, written: bytes of an element.

    Raises
    ------
    ProgramError: no lanes, no length, or a byte that is both read and written.
    """
    lanes = chip.spec.post.quantize_lanes
    if not lanes:
        raise ProgramError("post.quantize_lanes must not be 0 for a conversion")
    counts(command, COPY_LOOPS)
    length = command["length"]
    if not length:
        raise ProgramError("length must be at least 1, not 0")
    sources = command["s_base"] + offsets(command, "s", COPY_LOOPS).reshape(-1)
    targets = command["d_base"] + offsets(command, "d", COPY_LOOPS).reshape(-1)
    memory = chip.activations
    require_disjoint(
        chip,
        memory.places(sources, length * read, lanes * read),
        memory.places(targets, length * written, lanes * written),
    )
    codes = memory.read(sources, length * read, port=lanes * read, signed=False)
    return np.ascontiguousarray(codes, np.uint8), targets, lanes * written


def quantize(chip: Chip, command: Command) -> None:
    """Run a QUANTIZE.

    Raises
    ------
    ProgramError: as of `_runs`; a form that is not built in; a bad scale, inverse or zero point.
    """
    form = QuantizeForm(command["form"])
    if form not in chip.spec.post.quantize_forms:
        raise ProgramError(f"post.quantize_forms must have {form.name.lower()}")
    scale, low, high = (command[name] for name in ("scale", "low", "high"))
    numbers, targets, port = _runs(chip, command, _NUMBER, 1)
    bits = numbers.view("<u4").astype(np.int64)
    codes = quantize_codes(bits, form, scale, command["zero"], low=low, high=high)
    inverse = int(inverse_scale(scale))
    if command["inverse"] != inverse:
        raise ProgramError(f"inverse must be {inverse:#010x}, not {command['inverse']:#010x}")
    chip.activations.write(targets, (codes & 255).astype(np.uint8), port=port)


def dequantize(chip: Chip, command: Command) -> None:
    """Run a DEQUANTIZE.

    Raises
    ------
    ProgramError: as of `_runs`; a bad scale.
    """
    bytes_read, targets, port = _runs(chip, command, 1, _NUMBER)
    codes = bytes_read.view(np.int8) if command["signed"] else bytes_read
    numbers = dequantize_codes(codes, command["scale"], command["zero"])
    chip.activations.write(targets, numbers.astype("<u4").view(np.uint8), port=port)
