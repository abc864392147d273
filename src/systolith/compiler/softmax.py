"""Softmax on the accelerator: form, tables and constants of a layer, or why it must be the host."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import SoftmaxArithmetic
from systolith.profiles.softmax import exponentials
from systolith.spec.softmax import SoftmaxForm

__all__ = ["SoftmaxPlan", "plan_softmax"]

_FORMS = {
    "tflite_reference": SoftmaxForm.FIXED,
    "tflite_table": SoftmaxForm.INVERSE,
    "onnxruntime": SoftmaxForm.QUOTIENT,
}
_LONGEST = (1 << 16) - 1
_FIXED_LONGEST = (1 << 12) - 1
"""Each code adds up to 2**19 to a sum of 31 bits."""
_SCALES = (2.0**-64, 2.0**64)
"""Scales for which no result of a float32 operation comes near 0 or infinity."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxPlan:
    """The constants of a SOFTMAX command.

    Parameters
    ----------
    tables: uint32 [1 or 2, 256], by difference from the row's maximum.
    fields: form, signed, scale, zero, low, high.
    """

    tables: NDArray[np.uint32]
    fields: dict[str, int]


def plan_softmax(arithmetic: SoftmaxArithmetic, count: int) -> SoftmaxPlan | str:
    """Return how the accelerator computes rows of ``count`` codes, or why it does not.

    Every choice has the exact result of the formula: see `systolith.golden.softmax`.
    """
    form, out = _FORMS[arithmetic.formula], arithmetic.out
    longest = _FIXED_LONGEST if form is SoftmaxForm.FIXED else _LONGEST
    if count > longest:
        return f"rows must have at most {longest} codes, not {count}"
    for codes in (arithmetic.codes, out):
        if not _SCALES[0] <= codes.scale <= _SCALES[1]:
            return f"scales must be between 2**-64 and 2**64, not {codes.scale!r}"
    with np.errstate(all="ignore"):
        tables = exponentials(arithmetic, count)
    if form is not SoftmaxForm.FIXED:
        values = tables.view(np.float32).astype(np.float64)
        most = float(np.finfo(np.float32).max) / 2
        fits = values[0, 0] >= 2.0**-32 and count * values[0].max() < most
        if not (fits and np.isfinite(values).all()):
            return "its exponentials or their sum leave the range of float32"
    elif int(tables[0, 0]) != (1 << 31) - 1:
        return "its input scale is too small for the runtime's fixed-point numbers"
    fixed = form is SoftmaxForm.FIXED
    fields = {
        "form": int(form),
        "signed": int(arithmetic.codes.dtype == "int8"),
        "scale": int(np.float32(out.scale).view(np.uint32)) if form is SoftmaxForm.INVERSE else 0,
        "zero": out.low if fixed else out.zero_point,
        "low": out.low,
        "high": out.high,
    }
    return SoftmaxPlan(tables=tables, fields=fields)
