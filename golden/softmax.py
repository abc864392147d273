"""SOFTMAX: rows of codes to rows of codes, as `SoftmaxForm` says."""

from collections.abc import Callable, Mapping

import numpy as np

from systolith.golden.float32 import INFINITY, add, divide, multiply, to_integer
from systolith.golden.memory import Chip
from systolith.golden.nests import counts, offsets
from systolith.golden.rounding import Int64Array, bit_length, shift_half_away, shift_half_even
from systolith.golden.transfer import require_apart
from systolith.spec.commands import SOFTMAX_LOOPS, Command
from systolith.spec.program import ProgramError
from systolith.spec.softmax import SoftmaxForm

__all__ = ["softmax", "softmax_rows"]

_ONE = (1 << 31) - 1
"""1 in Q31, nearly."""


def softmax(chip: Chip, command: Command) -> None:
    """Run a SOFTMAX.

    Raises
    ------
    ProgramError: as of `softmax_rows` and `require_apart`.
    """
    counts(command, SOFTMAX_LOOPS)
    if not command["length"]:
        raise ProgramError("length must be at least 1, not 0")
    line = chip.spec.line_bytes
    sources = command["s_base"] + offsets(command, "s", SOFTMAX_LOOPS)
    targets = command["d_base"] + offsets(command, "d", SOFTMAX_LOOPS)
    require_apart(chip, sources, targets, command["length"])
    codes = chip.activations.read(
        sources, command["length"], port=line, signed=bool(command["signed"])
    )
    tables = chip.exponents.astype(np.int64)
    result = softmax_rows(codes.astype(np.int64), command, tables)
    chip.activations.write(targets, (result & 255).astype(np.uint8), port=line)


def softmax_rows(codes: Int64Array, command: Command, tables: Int64Array) -> Int64Array:
    """Return the softmax of the last axis.

    Parameters
    ----------
    codes: integers of one type of code, [rows, length].
    command: fields form, table, scale, zero, low, high.
    tables: words [tables, 256].

    Raises
    ------
    ProgramError: a form or table that does not exist, or numbers that the form does not take.
    """
    form, first = command["form"], command["table"]
    try:
        compute = _FORMS[SoftmaxForm(form)]
    except ValueError:
        raise ProgramError(f"form must be a `SoftmaxForm`, not {form}") from None
    last = first + (form == SoftmaxForm.QUOTIENT)
    if last >= len(tables):
        raise ProgramError(f"softmax table must be below {len(tables)}, not {last}")
    words = np.asarray(tables[first : last + 1], np.int64)
    limit = 1 << 31 if form == SoftmaxForm.FIXED else INFINITY
    if words.max() >= limit:
        raise ProgramError(f"words of table {first} must be below {limit:#x}, not {words.max():#x}")
    values = words[:, codes.max(axis=-1, keepdims=True) - codes]
    rounded = compute(values, command["scale"])
    return np.clip(rounded + command["zero"], command["low"], command["high"])


def _high_mul(a: Int64Array, b: Int64Array | int) -> Int64Array:
    """Return ``a * b / 2**31``, rounded half up."""
    return (a * b + (1 << 30)) >> np.int64(31)


def _reciprocal(total: Int64Array, zeros: Int64Array) -> Int64Array:
    """Return ``2**31 / (total << zeros)`` in Q31, for leading `zeros`: gemmlowp's Newton steps."""
    half = (total << zeros) >> np.int64(1)  # of the divisor: in [1/2, 1), Q31
    x = 1515870810 + _high_mul(half, -1010580540)  # 48/17 - 32/17 * half, Q29
    for _ in range(3):
        error = (1 << 29) - _high_mul(half, x)
        x = x + (_high_mul(x, error) << np.int64(2))
    return np.minimum(x << np.int64(1), _ONE)


def _fixed(values: Int64Array, scale: int) -> Int64Array:
    """Q31 exponentials, Newton's reciprocal."""
    total = shift_half_away(values[0], 12).sum(axis=-1, keepdims=True)
    if total.min() < 1 or total.max() >= 1 << 31:
        raise ProgramError(f"sum must be from 1 to 2**31 - 1, not {total.min()} to {total.max()}")
    zeros = 32 - bit_length(total)
    return shift_half_away(_high_mul(values[0], _reciprocal(total, zeros)), 35 - zeros)


def _sum(values: Int64Array) -> Int64Array:
    """float32 sum of the last axis from first to last, kept as an axis of one."""
    total = np.zeros(values.shape[:-1], np.int64)
    for index in range(values.shape[-1]):
        total = add(total, values[..., index])
    if total.min() == 0 or total.max() >= INFINITY:
        raise ProgramError("sum must be a positive float32 number, not 0 or infinity")
    return total[..., None]


def _inverse(values: Int64Array, scale: int) -> Int64Array:
    """float32 exponentials times one inverse."""
    if not 0 < scale < INFINITY:
        raise ProgramError(f"scale must be a positive float32 number, not {scale:#x}")
    divisor = multiply(_sum(values[0]), np.array([scale]))
    if divisor.min() == 0 or divisor.max() >= INFINITY:
        raise ProgramError("sum * scale must be a positive float32 number, not 0 or infinity")
    inverse = divide(np.full_like(divisor, 127 << 23), divisor)
    if inverse.max() >= INFINITY:
        raise ProgramError("1 / (sum * scale) must be a float32 number, not infinity")
    return to_integer(multiply(values[0], inverse), shift_half_away)


def _quotient(values: Int64Array, scale: int) -> Int64Array:
    """float32 exponentials of the second table over the sum of the first."""
    quotients = divide(values[1], _sum(values[0]))
    return to_integer(quotients, shift_half_even)


_FORMS: Mapping[SoftmaxForm, Callable[[Int64Array, int], Int64Array]] = {
    SoftmaxForm.FIXED: _fixed,
    SoftmaxForm.INVERSE: _inverse,
    SoftmaxForm.QUOTIENT: _quotient,
}
"""``f(values, scale)``: values [1 or 2 tables, rows, length] to integers before zero point."""
