"""float32 tensors on the accelerator: QUANTIZE and DEQUANTIZE nodes that its lanes compute."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from systolith.arithmetic import (
    DequantizeArithmetic,
    FloatQuantizeArithmetic,
    QuantizeArithmetic,
)
from systolith.compiler.ir import SymbolicCommand, View
from systolith.float_steps import (
    BlockQuantizeArithmetic,
    BlockSumsArithmetic,
    FloatOutputArithmetic,
)
from systolith.graph import Graph, Node, Op, Tensor
from systolith.spec.accelerator import PostSpec
from systolith.spec.commands import Opcode
from systolith.spec.quantize import QuantizeForm, scale_fault

__all__ = [
    "FLOAT_BYTES",
    "EdgePlan",
    "EdgePlans",
    "as_bytes",
    "conversion_commands",
    "plan_edges",
]

FLOAT_BYTES = 4
_FORMS = {
    "onnxruntime": QuantizeForm.DIVIDE_EVEN,
    "tflite_reference": QuantizeForm.DIVIDE_AWAY,
    "xnnpack": QuantizeForm.MULTIPLY_EVEN,
}
_LONGEST = (1 << 16) - 1


@dataclass(frozen=True, kw_only=True)
class EdgePlan:
    """The constants of a node's commands.

    Parameters
    ----------
    opcode: QUANTIZE or DEQUANTIZE.
    values: fields besides addresses and loops.
    text: for the node's note.
    """

    opcode: Opcode
    values: Mapping[str, int]
    text: str


@dataclass(frozen=True, kw_only=True)
class EdgePlans:
    """Which nodes the accelerator computes.

    Parameters
    ----------
    nodes: plans by node name.
    reasons: why others are not among them, by node name.
    """

    nodes: dict[str, EdgePlan] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def _bits(value: float | np.float32) -> int:
    return int(np.float32(value).view(np.uint32))


def _plan(graph: Graph, node: Node, post: PostSpec) -> EdgePlan | str:
    """Return how the lanes compute a node, or why they do not."""
    source, target = (graph.tensor(n) for n in (node.inputs[0], node.outputs[0]))
    arithmetic = node.arithmetic
    if isinstance(arithmetic, FloatQuantizeArithmetic | FloatOutputArithmetic):
        return "its float steps are no quotient or product alone"
    if isinstance(arithmetic, BlockQuantizeArithmetic | BlockSumsArithmetic):
        return "scales of blocks are the host's"
    if isinstance(arithmetic, QuantizeArithmetic):
        codes, numbers, stored = arithmetic.out, source, target
    else:
        assert isinstance(arithmetic, DequantizeArithmetic)
        codes, numbers, stored = arithmetic.codes, target, source
    if source.data is not None:
        return "its input is constant"
    if numbers.dtype != "float32" or stored.dtype not in ("int8", "uint8"):
        return f"it converts {source.dtype} to {target.dtype}, not float32 and codes of 8 bits"
    fault = scale_fault(_bits(codes.scale))
    if fault is not None:
        return fault
    values = {"zero": codes.zero_point, "scale": _bits(codes.scale)}
    if isinstance(arithmetic, DequantizeArithmetic):
        values["signed"] = int(stored.dtype == "int8")
        return EdgePlan(opcode=Opcode.DEQUANTIZE, values=values, text="the runtime's own product")
    form = _FORMS.get(arithmetic.formula)
    if form is None:
        return f"QUANTIZE has no form for {arithmetic.formula!r}"
    if form not in post.quantize_forms:
        return f"post.quantize_forms must have {form.name.lower()} for it"
    with np.errstate(under="ignore"):
        values["inverse"] = _bits(np.float32(1) / np.float32(codes.scale))
    values |= {"form": int(form), "low": codes.low, "high": codes.high}
    return EdgePlan(opcode=Opcode.QUANTIZE, values=values, text="the runtime's own formula")


def plan_edges(graph: Graph, post: PostSpec) -> EdgePlans:
    """Plan every QUANTIZE and DEQUANTIZE for which there are lanes."""
    plans = EdgePlans()
    for node in graph.nodes:
        if node.op in (Op.QUANTIZE, Op.DEQUANTIZE) and post.quantize_lanes:
            plan = _plan(graph, node, post)
            if isinstance(plan, str):
                plans.reasons[node.name] = plan
            else:
                plans.nodes[node.name] = plan
    return plans


def as_bytes(graph: Graph, names: Collection[str]) -> Graph:
    """Return a graph whose float32 tensors of these names are tensors of as many bytes."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in graph.tensors.items():
        if name in names and tensor.dtype == "float32":
            *places, channels = tensor.shape
            shape = (places[0], places[1], FLOAT_BYTES * channels)
            tensors[name] = replace(tensor, shape=shape, dtype="uint8")
        else:
            tensors[name] = tensor
    return replace(graph, tensors=tensors)


def conversion_commands(
    layer: str, plan: EdgePlan, source: View, target: View
) -> list[SymbolicCommand]:
    """Return the commands that convert a tensor, or a box of one; one, but for huge tensors.

    Parameters
    ----------
    source, target: the numbers' bytes and the codes, or the other way round.
    """
    widths = (FLOAT_BYTES, 1) if plan.opcode is Opcode.QUANTIZE else (1, FLOAT_BYTES)
    views = (source, target)
    height, width, channels = (min(a, b) for a, b in zip(source.shape, target.shape, strict=True))
    # Loops from the innermost out: (count, strides of the source and of the target).
    loops = [
        (width, [v.pixel for v in views]),
        (height, [v.row for v in views]),
    ]
    length = channels
    while loops:
        count, strides = loops[0]
        joined = strides == [length * w for w in widths] and count * length <= _LONGEST
        if count > 1 and not joined:
            break
        length *= count
        del loops[0]
    commands = []
    for first in range(0, length, _LONGEST):
        values = dict(plan.values) | {"length": min(_LONGEST, length - first)}
        for index, (count, strides) in enumerate(loops):
            values[f"d{index}_count"] = count
            values |= {f"{s}_d{index}_stride": n for s, n in zip("sd", strides, strict=True)}
        bases = {
            f"{s}_base": (v.storage, v.offset + first * w)
            for s, v, w in zip("sd", views, widths, strict=True)
        }
        commands.append(
            SymbolicCommand(opcode=plan.opcode, layer=layer, values=values, bases=bases)
        )
    return commands
