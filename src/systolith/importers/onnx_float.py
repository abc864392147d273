"""Float operators between DequantizeLinear and QuantizeLinear: tables of what onnxruntime computes.

Elementwise float operators on one tensor's dequantized codes are a function of one code (also where
paths join, as in ``x * sigmoid(x)``), so the runtime itself, run once over all 256, gives it.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from systolith.errors import ToolError
from systolith.importers.onnx_block_steps import block_step
from systolith.importers.onnx_context import FloatTable, OnnxContext
from systolith.importers.ort import open_session

__all__ = ["FLOAT_UNARY", "float_unary"]

FLOAT_UNARY = frozenset(
    (
        *("Abs", "Add", "Ceil", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu"),
        *("HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg"),
        *("PRelu", "Pow", "QuickGelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign"),
        *("Atan", "Cos", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu"),
    )
)
"""Elementwise operators: tables if all operands are scalars or functions of the same codes."""


def float_unary(ctx: OnnxContext) -> None:
    """Continue a table, or what sums of blocks are worth, or refuse the node as left in float."""
    if any(name in ctx.blocks for name in ctx.node.input):
        block_step(ctx)
        return
    varying = sorted({name for name in ctx.node.input if name and name not in ctx.constants})
    fixed = {name: ctx.constants[name] for name in ctx.node.input if name in ctx.constants}
    if not varying or any(name not in ctx.tables for name in varying):
        ctx.left_in_float()
    if any(value.size != 1 for value in fixed.values()):
        ctx.unsupported("its constant operands must be scalars when it is left in float32")
    before = [ctx.tables[name] for name in varying]
    shapes = {ctx.tensors[name].source_shape for name in varying}
    if len({table.source for table in before}) != 1 or len(shapes) != 1:
        ctx.left_in_float()
    values, alone = _run(
        ctx,
        {n: t.values for n, t in zip(varying, before, strict=True)},
        {n: t.alone for n, t in zip(varying, before, strict=True)},
        fixed,
    )
    source = ctx.tensors[varying[0]]
    target = ctx.output(source.source_shape, None, like=source)
    ctx.tables[target.name] = FloatTable(
        source=before[0].source, values=values, alone=alone, layer=ctx.layer
    )


def _run(
    ctx: OnnxContext,
    varying: dict[str, NDArray[np.float32]],
    alone: dict[str, NDArray[np.float32]],
    fixed: dict[str, NDArray[Any]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the current node's results by onnxruntime: for 256 values, and for one at a time."""
    # Scalars of any rank broadcast as rank 0; Clip demands it.
    scalars = [numpy_helper.from_array(value.reshape(()), key) for key, value in fixed.items()]
    graph = helper.make_graph(
        [ctx.node],
        "table",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N",)) for name in varying],
        [onnx.ValueInfoProto(name=ctx.node.output[0])],
        scalars,
    )
    model = helper.make_model(graph, opset_imports=ctx.opsets, ir_version=10)
    try:
        session = open_session(model.SerializeToString())
        result = np.asarray(session.run(None, varying)[0])
        single = np.concatenate(
            [
                session.run(None, {key: value[i : i + 1] for key, value in alone.items()})[0]
                for i in range(256)
            ]
        )
    except ToolError:
        raise
    except Exception as error:
        ctx.fail(f"cannot be run by onnxruntime: {str(error).splitlines()[0]}")
    if result.shape != (256,) or result.dtype != np.float32:
        ctx.left_in_float()
    return result, single
