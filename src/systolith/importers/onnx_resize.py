"""ONNX Resize of mode nearest: onnxruntime itself says which element each one is."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from systolith.errors import ToolError
from systolith.importers.onnx_context import OnnxContext
from systolith.importers.ort import open_session
from systolith.strides import Int64Array

__all__ = ["resize"]


def resize(ctx: OnnxContext, places: Int64Array) -> Int64Array:
    """Return the places after the current node: it moves numbers of axes as it moves any floats."""
    if ctx.attribute("mode", "nearest") != "nearest":
        ctx.unsupported("its mode must be nearest: others compute in float32")
    if places.size >= 1 << 24:
        ctx.unsupported("its input must have less than 2**24 elements")
    given = [name for name in ctx.node.input[1:] if name]
    constants = [
        numpy_helper.from_array(ctx.constant(list(ctx.node.input).index(name), "operand"), name)
        for name in given
    ]
    source = helper.make_tensor_value_info(ctx.node.input[0], TensorProto.FLOAT, places.shape)
    target = onnx.ValueInfoProto(name=ctx.node.output[0])
    graph = helper.make_graph([ctx.node], "places", [source], [target], constants)
    model = helper.make_model(graph, opset_imports=ctx.opsets, ir_version=10)
    try:
        session = open_session(model.SerializeToString())
        result = session.run(None, {ctx.node.input[0]: places.astype(np.float32)})[0]
    except ToolError:
        raise
    except Exception as error:
        ctx.fail(f"cannot be run by onnxruntime: {str(error).splitlines()[0]}")
    return np.asarray(result).astype(np.int64)
