"""Post-processing of result vectors: requantizer, residual operand, table."""

import numpy as np
from numpy.typing import NDArray

from systolith.golden.memory import Chip
from systolith.golden.requant import requantize
from systolith.golden.residual import residual_add, residual_product
from systolith.golden.rounding import Int64Array
from systolith.spec.commands import Command
from systolith.spec.program import ProgramError
from systolith.spec.requant import RequantMode, ResidualRounding

__all__ = ["post_process", "write_codes"]


def post_process(
    chip: Chip, command: Command, acc: Int64Array, base: int, others: Int64Array
) -> NDArray[np.uint8]:
    """Return the bytes of result vectors.

    Parameters
    ----------
    command: a STORE.
    acc: [tiles, vectors, channels].
    base: lane word of the first channel's parameters.
    others: byte addresses of the residual vectors, [tiles, vectors].

    Raises
    ------
    ProgramError: what the command asks for is not built in or not given.
    """
    code = _requantized(chip, command, acc, base)
    if command["residual"]:
        code = _combined(chip, command, code, others)
    return _looked_up(chip, command, code)


def write_codes(
    chip: Chip, addresses: Int64Array, codes: NDArray[np.uint8], *, packed: bool
) -> None:
    """Write vectors of bytes, the last axis of ``codes``, a beat of lanes at a time.

    Packed, byte i of a vector holds the low 4 bits of codes 2i and, above them, 2i + 1; there is
    a 0 in place of a code that does not exist. A byte is written in the beat of its last code.

    Raises
    ------
    ProgramError: an address has no memory.
    """
    lanes, count = chip.spec.post.lanes, codes.shape[-1]
    if not packed:
        chip.activations.write(addresses, codes, port=lanes)
        return
    padded = np.pad(codes & 15, [(0, 0)] * (codes.ndim - 1) + [(0, count % 2)])
    pairs = padded[..., 0::2] | padded[..., 1::2] << 4
    for first in range(0, count, lanes):
        last = first + lanes
        part = slice(first // 2, -(-count // 2) if last >= count else last // 2)
        chip.activations.write(addresses + part.start, pairs[..., part], port=lanes)


def _requantized(chip: Chip, command: Command, acc: Int64Array, base: int) -> Int64Array:
    """Requantize vectors with the parameters from lane word ``base`` on."""
    mode = RequantMode(command["mode"])
    if mode not in chip.spec.post.modes:
        raise ProgramError(f"mode must be one that the accelerator has, not {mode.name}")
    return requantize(
        acc,
        mode=mode,
        **chip.channels(base, acc.shape[-1]),
        zero_point=command["zero"],
        low=command["low"],
        high=command["high"],
        widths=chip.spec.post.widths,
    )


def _combined(chip: Chip, command: Command, code: Int64Array, others: Int64Array) -> Int64Array:
    """Add the residual operand, or multiply by it."""
    if not chip.spec.post.residual:
        raise ProgramError("residual must be 0 on an accelerator without residual add, not 1")
    if command["r_product"] and not chip.spec.post.product:
        raise ProgramError("r_product must be 0 on an accelerator without product, not 1")
    operand = chip.activations.read(
        others,
        code.shape[-1],
        port=chip.spec.post.lanes,
        signed=bool(command["r_signed"]),
    )
    names = ("multiplier_y", "multiplier_r", "offset", "shift", "zero", "low", "high")
    fields = {name: command[f"r_{name}"] for name in names}
    rounding = ResidualRounding(command["r_rounding"])
    if command["r_product"]:
        zero_r = command["r_zero_r"]
        return residual_product(code, operand, zero_r=zero_r, rounding=rounding, **fields)
    return residual_add(code, operand, rounding=rounding, **fields)


def _looked_up(chip: Chip, command: Command, code: Int64Array) -> NDArray[np.uint8]:
    """Return the byte of each code, through a table if the command says so."""
    byte = (code & 255).astype(np.uint8)
    if not command["table"]:
        return byte
    held = min(chip.spec.memory.tables, len(chip.tables))
    if command["table_index"] >= held:
        raise ProgramError(f"table_index must be below {held}, not {command['table_index']}")
    return np.asarray(chip.tables, np.uint8)[command["table_index"]][byte]
