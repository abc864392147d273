"""ONNX files to graphs: the table of operators."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import onnx

from systolith.arithmetic import Codes
from systolith.errors import ModelError
from systolith.graph import Graph, Op, Tensor
from systolith.importers import onnx_layers as layers
from systolith.importers import onnx_mean as mean
from systolith.importers import onnx_pointwise as pointwise
from systolith.importers import onnx_reduce as reduce
from systolith.importers.damage import damage_as_model_error, damage_of_layer
from systolith.importers.onnx_blocks import matmul_nbits
from systolith.importers.onnx_context import OnnxContext
from systolith.importers.onnx_float import FLOAT_UNARY, float_unary
from systolith.importers.onnx_moves import MOVES, input_layout, move
from systolith.importers.onnx_nibbles import clip, widen_nibbles
from systolith.importers.onnx_pad import pad
from systolith.importers.onnx_reader import constants, fixed_shape, fuse_qdq, is_qdq, parse_onnx
from systolith.profiles.table import Profile

__all__ = ["ONNX_OPERATORS", "import_onnx"]

Handler = Callable[[OnnxContext], None]

ONNX_OPERATORS: Mapping[str, Handler] = MappingProxyType(
    {
        "QLinearConv": layers.conv,
        "QLinearMatMul": layers.matmul,
        "QGemm": layers.gemm,
        "MatMulNBits": matmul_nbits,
        "QLinearAveragePool": layers.average_pool,
        "QLinearGlobalAveragePool": layers.global_average_pool,
        "MaxPool": reduce.max_pool,
        "GlobalMaxPool": reduce.global_max_pool,
        "ReduceMax": reduce.extremum(least=False),
        "ReduceMin": reduce.extremum(least=True),
        "ReduceMean": mean.reduce_mean,
        "GlobalAveragePool": mean.global_average_pool,
        "Pad": pad,
        "QLinearAdd": pointwise.binary(Op.ADD),
        "QLinearMul": pointwise.binary(Op.MUL),
        "QLinearSigmoid": pointwise.lut("logistic"),
        "QLinearLeakyRelu": pointwise.leaky_relu,
        "QLinearSoftmax": pointwise.softmax,
        "QLinearConcat": pointwise.concat,
        "Concat": pointwise.concat_codes,
        "QuantizeLinear": pointwise.quantize,
        "DequantizeLinear": pointwise.dequantize,
        **dict.fromkeys(sorted(MOVES), move),
        **dict.fromkeys(FLOAT_UNARY, float_unary),
        "Clip": clip,
    }
)
"""Handler of every supported operator, of the domains ai.onnx and com.microsoft."""

_QUANTIZED = (
    "QLinear",
    "QGemm",
    "QuantizeLinear",
    "DequantizeLinear",
    "MatMulInteger",
    "MatMulNBits",
)
_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
}


def import_onnx(data: bytes, profile: Profile, *, name: str, path: str = "") -> Graph:
    """Return the graph of an ONNX file: QOperator form as it is, QDQ form as onnxruntime fuses it.

    Parameters
    ----------
    data: the file's bytes.
    profile: one whose container is onnx.
    name, path: of the model.

    Raises
    ------
    ModelError: the file is damaged or has what cannot be imported; the layer is named.
    """
    with damage_as_model_error("ONNX"):
        model = parse_onnx(data)
        widen_nibbles(model)
        if not any(node.op_type.startswith(_QUANTIZED) for node in model.graph.node):
            raise ModelError(
                "model must be quantized, it has no quantized operator; "
                "quantize it, for example with onnxruntime.quantization"
            )
        if is_qdq(model):
            model = fuse_qdq(model)
        return _import(model, profile, name, path)


def _import(model: onnx.ModelProto, profile: Profile, name: str, path: str) -> Graph:
    values = constants(model.graph)
    ctx = OnnxContext(values, profile)
    ctx.opsets = list(model.opset_import)
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    inputs = [value for value in model.graph.input if value.name not in values]
    for value in inputs:
        _add_input(ctx, value, nodes)
    outputs = [value.name for value in model.graph.output]
    for index, node in enumerate(nodes):
        ctx.enter(node, index)
        handler = ONNX_OPERATORS.get(node.op_type)
        if handler is None or node.domain not in ("", "ai.onnx", "com.microsoft"):
            _refuse(ctx)
        else:
            with damage_of_layer(ctx.layer, node.op_type):
                handler(ctx)
    made = {name for node in ctx.nodes for name in node.outputs}
    for output in outputs:
        if output in ctx.tables and output not in made:
            ctx.layer = ctx.tables[output].layer
            ctx.unsupported("it computes the output in float32; remove it from the model")
    return ctx.finish(model, name, path)


def _add_input(ctx: OnnxContext, value: onnx.ValueInfoProto, nodes: list[onnx.NodeProto]) -> None:
    dtype = _DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        raise ModelError(f"input {value.name!r} must be float32, int8 or uint8")
    tensor = input_layout(ctx, value.name, fixed_shape(value), nodes)
    ctx.from_input.add(value.name)
    if dtype != "float32":
        # Codes of the input: its first reader's scale would say; unknown scales stay 1.
        ctx.known[value.name] = Codes(dtype=dtype, scale=1.0, zero_point=0)
    ctx.add_tensor(
        Tensor(
            name=tensor.name,
            shape=tensor.shape,
            dtype=dtype,
            source_name=tensor.source_name,
            source_shape=tensor.source_shape,
            order=tensor.order,
        )
    )


def _refuse(ctx: OnnxContext) -> None:
    """Raise the error of an operator that is not in the table, with the likely reason."""
    read = [ctx.tensors[name] for name in ctx.node.input if name in ctx.tensors]
    if any(tensor.dtype == "float32" for tensor in read):
        ctx.left_in_float()
    if ctx.node.domain not in ("", "ai.onnx", "com.microsoft"):
        ctx.unsupported(f"its domain {ctx.node.domain!r} is unknown")
    ctx.unsupported()
