"""Softmax on the accelerator: form, tables and constants of a layer, or why it must be the host."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import SoftmaxArithmetic
from systolith.compiler.ir import SymbolicCommand, View
from systolith.graph import Graph, Node, Op
from systolith.profiles.softmax import exponentials
from systolith.spec.commands import Opcode
from systolith.spec.softmax import SoftmaxForm

__all__ = ["SoftmaxPlan", "SoftmaxPlans", "plan_layers", "plan_softmax", "softmax_commands"]

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
    fields: form, signed, length, scale, zero, low, high; and table, once it has one.
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
        "length": count,
        "signed": int(arithmetic.codes.dtype == "int8"),
        "scale": int(np.float32(out.scale).view(np.uint32)) if form is SoftmaxForm.INVERSE else 0,
        "zero": out.low if fixed else out.zero_point,
        "low": out.low,
        "high": out.high,
    }
    return SoftmaxPlan(tables=tables, fields=fields)


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxPlans:
    """Which softmax layers the accelerator computes.

    Parameters
    ----------
    layers: plans by node name.
    reasons: why others are not among them, by node name.
    exponents: uint32 [tables, 256].
    """

    layers: dict[str, SoftmaxPlan] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    exponents: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((0, 256), np.uint32))


def plan_layers(graph: Graph, nodes: Iterable[Node], capacity: int) -> SoftmaxPlans:
    """Plan softmax layers in execution order, as far as ``capacity`` tables suffice."""
    plans = SoftmaxPlans()
    blocks: list[NDArray[np.uint32]] = []
    places: dict[bytes, int] = {}
    used = 0
    for node in nodes:
        if node.op is not Op.SOFTMAX or not capacity:
            continue
        assert isinstance(node.arithmetic, SoftmaxArithmetic)
        plan = plan_softmax(node.arithmetic, graph.tensor(node.inputs[0]).shape[2])
        if isinstance(plan, str):
            plans.reasons[node.name] = plan
            continue
        key = plan.tables.tobytes()
        if key not in places and used + len(plan.tables) > capacity:
            need = used + len(plan.tables)
            plans.reasons[node.name] = f"post.softmax_tables must be at least {need} for it"
            continue
        if key not in places:
            places[key] = used
            blocks.append(plan.tables)
            used += len(plan.tables)
        plan.fields["table"] = places[key]
        plans.layers[node.name] = plan
    images = np.concatenate(blocks) if blocks else plans.exponents
    return SoftmaxPlans(layers=plans.layers, reasons=plans.reasons, exponents=images)


def softmax_commands(
    layer: str, plan: SoftmaxPlan, source: View, target: View
) -> list[SymbolicCommand]:
    """Return the SOFTMAX commands of a layer, as few as its views and the count field allow."""
    height, width, _ = source.shape
    strides = (source.pixel, target.pixel)
    if width == 1 or all(v.row == width * v.pixel for v in (source, target)):
        strides = (source.row, target.row) if width == 1 else strides
        height, width = 1, height * width
    commands = []
    for y in range(height):
        for x in range(0, width, _LONGEST):
            values = plan.fields | {"row_count": min(_LONGEST, width - x)}
            values |= dict(zip(("s_row_stride", "d_row_stride"), strides, strict=True))
            bases = {
                f"{stream}_base": (view.storage, view.offset + y * view.row + x * stride)
                for stream, view, stride in zip("sd", (source, target), strides, strict=True)
            }
            commands.append(
                SymbolicCommand(opcode=Opcode.SOFTMAX, layer=layer, values=values, bases=bases)
            )
    return commands
