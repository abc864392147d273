"""QONNX files to graphs: the table of operators."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import onnx

from systolith.errors import ModelError
from systolith.graph import Graph, Tensor
from systolith.importers import qonnx_layers as layers
from systolith.importers.damage import damage_as_model_error, damage_of_layer
from systolith.importers.onnx_layers import check_ceil, window_of
from systolith.importers.onnx_moves import MOVES, input_layout, move, place_results
from systolith.importers.onnx_pad import pad
from systolith.importers.onnx_pointwise import concat_codes
from systolith.importers.onnx_reader import constants, fixed_shape, parse_onnx
from systolith.importers.onnx_reduce import global_max_pool, max_pool
from systolith.importers.places import all_places
from systolith.importers.qonnx_context import QonnxContext
from systolith.importers.qonnx_edges import emit_output
from systolith.importers.qonnx_emit import quantize
from systolith.importers.qonnx_quantizers import QUANTIZERS
from systolith.profiles.table import Profile

__all__ = ["QONNX_OPERATORS", "import_qonnx", "is_qonnx"]

_OWN = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold"})
_DOMAINS = frozenset({"qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas"})


def is_qonnx(model: onnx.ModelProto) -> bool:
    """Say whether a model has QONNX's operators."""
    return any(node.op_type in _OWN or node.domain in _DOMAINS for node in model.graph.node)


def _move(ctx: QonnxContext) -> None:
    """Reshape, Transpose and the like, of codes or of what becomes codes."""
    name = ctx.node.input[0]
    if name not in ctx.pending:
        move(ctx)
        return
    pending = ctx.pending[name]
    results = place_results(ctx, all_places(pending.current))
    if len(results) > 1:
        ctx.unsupported("its input is not quantized; put a Quant before it")
    ctx.postpone(pending, results[0].shape)


def _dropout(ctx: QonnxContext) -> None:
    """Dropout does nothing where a network is not trained."""
    node = onnx.helper.make_node("Identity", ctx.node.input[:1], ctx.node.output[:1])
    ctx.node = node
    _move(ctx)


def _max_pool(ctx: QonnxContext) -> None:
    """MaxPool, GlobalMaxPool: of the codes, as the greatest value has the greatest code."""
    name = ctx.node.input[0]
    windowed = ctx.node.op_type == "MaxPool"
    if name not in ctx.pending:
        ctx.quantized_input(0)
        (max_pool if windowed else global_max_pool)(ctx)
        return
    pending = ctx.pending[name]
    shape = pending.current
    if len(shape) != 4:
        ctx.unsupported(f"its input must have rank 4, not {list(shape)}")
    if not windowed:
        ctx.postpone(pending, (*shape[:2], 1, 1), maximum=True)
        return
    check_ceil(ctx)
    image = Tensor(name=name, shape=(*shape[2:], shape[1]), dtype="int8", source_shape=shape)
    window = window_of(ctx, image, ctx.attribute("kernel_shape", ()))
    sides = window.positions(*shape[2:])
    if min(sides) < 1:
        ctx.fail(f"window {window.kernel} must fit its input {shape[2:]}")
    ctx.postpone(pending, (*shape[:2], *sides), maximum=True)


def _concat(ctx: QonnxContext) -> None:
    """Concat of codes that all have one scale."""
    found = [ctx.quantized_input(position)[1] for position in range(len(ctx.node.input))]
    if len({(c.dtype, c.scale, c.zero_point) for c in found}) != 1:
        ctx.unsupported("its inputs must have one scale, zero point and sign: share their Quant")
    concat_codes(ctx)


def _pad(ctx: QonnxContext) -> None:
    """Pad of codes with 0, or by repetition."""
    _, codes = ctx.quantized_input(0)
    value = ctx.constants.get(ctx.node.input[2]) if len(ctx.node.input) > 2 else None
    zero = value is None or not np.any(value)
    if not zero or codes.zero_point or not codes.low <= 0 <= codes.high:
        ctx.unsupported("its constant must be 0, and a code of zero point 0")
    pad(ctx)


QONNX_OPERATORS: Mapping[str, Callable[[QonnxContext], None]] = MappingProxyType(
    {
        **dict.fromkeys(QUANTIZERS, quantize),
        "MatMul": layers.matmul,
        "Gemm": layers.gemm,
        "Conv": layers.conv,
        "AveragePool": layers.average_pool,
        "GlobalAveragePool": layers.average_pool,
        "MaxPool": _max_pool,
        "GlobalMaxPool": _max_pool,
        "BatchNormalization": layers.batch_norm,
        "Add": layers.binary("add"),
        "Sub": layers.binary("sub"),
        "Mul": layers.binary("mul"),
        "Div": layers.binary("div"),
        "Relu": layers.relu_or_clip,
        "Clip": layers.relu_or_clip,
        "Concat": _concat,
        "Pad": _pad,
        "Dropout": _dropout,
        **dict.fromkeys(sorted(MOVES), _move),
    }
)
"""Handler of every supported operator."""


def import_qonnx(data: bytes, profile: Profile, *, name: str, path: str = "") -> Graph:
    """Return the graph of a QONNX file.

    Parameters
    ----------
    data: the file's bytes.
    profile: the profile qonnx.
    name, path: of the model.

    Raises
    ------
    ModelError: the file is damaged or has what cannot be imported; the layer is named.
    """
    with damage_as_model_error("ONNX"):
        model = parse_onnx(data)
        if not is_qonnx(model):
            raise ModelError(
                "model must be a QONNX file: it has no Quant, BipolarQuant, Trunc or "
                "MultiThreshold; export it from Brevitas with export_qonnx"
            )
        return _import(model, profile, name, path)


def _import(model: onnx.ModelProto, profile: Profile, name: str, path: str) -> Graph:
    ctx = QonnxContext(constants(model.graph), profile)
    ctx.opsets = list(model.opset_import)
    inputs = [value for value in model.graph.input if value.name not in ctx.constants]
    outputs = [value.name for value in model.graph.output]
    shapes = {value.name: fixed_shape(value) for value in inputs}
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    # What the shapes of inputs decide comes first: how an input lies depends on its reshapes.
    nodes = [node for node in nodes if not _is_constant(ctx, node, shapes)]
    for value in inputs:
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise ModelError(f"input {value.name!r} must be float32")
        tensor = input_layout(ctx, value.name, shapes[value.name], nodes)
        ctx.from_input.add(value.name)
        ctx.add_tensor(tensor)
    for index, node in enumerate(nodes):
        ctx.enter(node, index)
        with damage_of_layer(ctx.layer, node.op_type):
            if _is_constant(ctx, node, {n: ctx.value_shape(n) for n in node.input}):
                continue
            QONNX_OPERATORS.get(node.op_type, QonnxContext.unsupported)(ctx)
    for output in outputs:
        if output in ctx.pending:
            emit_output(ctx, output)
    return ctx.finish(model, name, path)


def _is_constant(
    ctx: QonnxContext, node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Compute a node that depends on constants and shapes alone; say whether it does."""
    if node.op_type == "Shape" and node.input and shapes.get(node.input[0]):
        ctx.constants[node.output[0]] = np.array(shapes[node.input[0]], np.int64)
        return True
    return node.op_type not in QUANTIZERS and ctx.fold_standard(node)
