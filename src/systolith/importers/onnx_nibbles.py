"""Models of int4 and uint4: the same codes in bytes, which onnxruntime computes in integers.

onnxruntime leaves a layer in float32 if a DequantizeLinear in front of it reads 4-bit codes. The
same codes as int8 or uint8 mean the same reals, so weights are widened, and a QuantizeLinear to 4
bits becomes one to 8 bits and a Clip to the 16 codes. What onnxruntime fuses then is the network.
"""

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from systolith.arithmetic import LutArithmetic
from systolith.errors import ModelError
from systolith.graph import Op
from systolith.importers.onnx_context import OnnxContext
from systolith.importers.onnx_float import float_unary

__all__ = ["clip", "widen_nibbles"]

_WIDE: Mapping[int, int] = {
    TensorProto.INT4: TensorProto.INT8,
    TensorProto.UINT4: TensorProto.UINT8,
}
_RANGES: Mapping[int, tuple[int, int]] = {TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15)}
_DTYPES: Mapping[int, type[np.integer]] = {TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    found = next((a for a in node.attribute if a.name == name), None)
    if found is not None and found.type != onnx.AttributeProto.INT:
        raise ModelError(
            f"{node.op_type} attribute {name!r} must be an integer",
            layer=_label(node), op=node.op_type,
        )  # fmt: skip
    return default if found is None else int(found.i)


def _label(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


class _Widener:
    """An ONNX graph under change."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.stored = {each.name: each for each in graph.initializer}
        self.narrow: dict[str, int] = {}
        self.blocks = self._blocks()

    def _blocks(self) -> set[str]:
        """Operands of dequantizations whose blocks differ, of matrices: MatMulNBits to the runtime.

        It fuses a DequantizeLinear of blocks of rows with the MatMul behind it.
        """
        products = [node for node in self.graph.node if node.op_type == "MatMul"]
        matrices = {name for node in products for name in node.input[1:2]}
        found: set[str] = set()
        for node in self.graph.node:
            if node.op_type != "DequantizeLinear" or node.output[0] not in matrices:
                continue
            block, names = _attribute(node, "block_size", 0), [n for n in node.input if n]
            if not block or any(name not in self.stored for name in names):
                continue
            rank, axis = len(self.stored[names[0]].dims), _attribute(node, "axis", 1)
            parameters = [np.asarray(numpy_helper.to_array(self.stored[n])) for n in names[1:]]
            alike = all(np.all(v == v[:1]) for v in parameters if v.ndim == rank)
            if rank == 2 and axis in (0, -2) and not alike:
                found.update(names)
        return found

    def initializers(self) -> None:
        """Widen all constants of 4 bits."""
        for tensor in self.graph.initializer:
            if tensor.data_type in _WIDE and tensor.name not in self.blocks:
                self.narrow[tensor.name] = tensor.data_type
                wide = _DTYPES[_WIDE[tensor.data_type]]
                tensor.CopyFrom(numpy_helper.from_array(_codes(tensor).astype(wide), tensor.name))

    def dequantize(self, node: onnx.NodeProto) -> None:
        """Turn block-wise scales that are alike into scales along one axis.

        Raises
        ------
        ModelError: blocks do not cover the tensor, or differ.
        """
        block = _attribute(node, "block_size", 0)
        if not block or node.input[0] not in self.stored or node.input[0] in self.blocks:
            return
        shape = tuple(self.stored[node.input[0]].dims)
        axis = _attribute(node, "axis", 1)
        axis += len(shape) if axis < 0 else 0
        if not 0 <= axis < len(shape):
            self._fail(node, f"axis must be one of {len(shape)} axes, not {axis}")
        if block < 1 or shape[axis] % block:
            self._fail(node, f"block_size must divide {shape[axis]}, not {block}")
        blocks = tuple(n // block if i == axis else n for i, n in enumerate(shape))
        parameters = {name: self._constant(node, name) for name in node.input[1:] if name}
        for values in parameters.values():
            if values.shape != blocks:
                self._fail(
                    node, f"scales of blocks must be {list(blocks)}, not {list(values.shape)}"
                )
        channels = _only_axis(list(parameters.values()), axis)
        if channels is None:
            self._fail(
                node,
                "scales and zero points must be alike in all blocks of a channel: onnxruntime "
                "multiplies blocks in float32; use one scale a channel",
            )
        for position, (name, values) in enumerate(parameters.items(), 1):
            some = tuple(slice(None) if i == channels else 0 for i in range(len(shape)))
            node.input[position] = self._add(f"{name}/channels", np.array(values[some]))
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("axis", channels))

    def quantize(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Turn a quantization to 4 bits into one to 8 bits and a Clip."""
        kind = self.narrow.get(node.input[2]) if len(node.input) > 2 else None
        kind = kind or _attribute(node, "output_dtype", 0)
        if kind not in _WIDE:
            return [node]
        if _attribute(node, "block_size", 0):
            self._fail(node, "activations must have one scale, not one a block")
        for attribute in node.attribute:
            if attribute.name == "output_dtype":
                attribute.i = _WIDE[kind]
        if len(node.input) < 3:
            scale = self.stored.get(node.input[1])
            zero = np.zeros(scale.dims if scale else (), _DTYPES[_WIDE[kind]])
            node.input.append(self._add(f"{node.input[1]}/zero", zero))
        codes, wide = node.output[0], f"{node.output[0]}/wide"
        node.output[0] = wide
        limits = [
            self._add(
                f"{TensorProto.DataType.Name(kind)}/{end}", np.array(value, _DTYPES[_WIDE[kind]])
            )
            for end, value in zip(("low", "high"), _RANGES[kind], strict=True)
        ]
        return [
            node,
            helper.make_node("Clip", [wide, *limits], [codes], name=f"{_label(node)}/clip"),
        ]

    def _add(self, name: str, value: NDArray[np.generic]) -> str:
        if name not in self.stored:
            self.stored[name] = numpy_helper.from_array(value, name)
            self.graph.initializer.append(self.stored[name])
        return name

    def _constant(self, node: onnx.NodeProto, name: str) -> NDArray[np.generic]:
        if name not in self.stored:
            self._fail(node, f"scales and zero points must be constants of the model, not {name!r}")
        return np.asarray(numpy_helper.to_array(self.stored[name]))

    def _fail(self, node: onnx.NodeProto, text: str) -> NoReturn:
        raise ModelError(f"{node.op_type} {text}", layer=_label(node), op=node.op_type)


def _only_axis(parameters: list[NDArray[np.generic]], blocks: int) -> int | None:
    """The only axis, besides that of the blocks, along which values differ; None if others do."""
    for axis in range(parameters[0].ndim):
        rest = tuple(i for i in range(parameters[0].ndim) if i != axis)
        if axis != blocks and all(np.all(v == v[_first(rest, v.ndim)]) for v in parameters):
            return axis
    return None


def _first(axes: tuple[int, ...], rank: int) -> tuple[slice, ...]:
    """The first element along some axes, all along the others."""
    return tuple(slice(0, 1) if i in axes else slice(None) for i in range(rank))


def _codes(tensor: onnx.TensorProto) -> NDArray[np.int64]:
    """Values of a 4-bit initializer.

    Raises
    ------
    ModelError: it does not have as many codes as its shape says.
    """
    count = int(np.prod(tensor.dims, dtype=np.int64))
    if tensor.raw_data and len(tensor.raw_data) != -(-count // 2):
        raise ModelError(
            f"initializer {tensor.name!r} is damaged: {list(tensor.dims)} codes of 4 bits take "
            f"{-(-count // 2)} bytes, not {len(tensor.raw_data)}"
        )
    try:
        return np.asarray(numpy_helper.to_array(tensor)).astype(np.int64)
    except Exception as error:
        raise ModelError(f"initializer {tensor.name!r} is damaged ({error})") from error


def widen_nibbles(model: onnx.ModelProto) -> None:
    """Rewrite a model's tensors of int4 and uint4 as int8 and uint8, in place.

    Raises
    ------
    ModelError: scales of blocks that no integer layer has, or damaged codes.
    """
    widener = _Widener(model.graph)
    widener.initializers()
    nodes = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            widener.dequantize(node)
        if node.op_type == "QuantizeLinear":
            nodes += widener.quantize(node)
        else:
            nodes.append(node)
    if len(nodes) > len(model.graph.node) or widener.narrow:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(kept)


def clip(ctx: OnnxContext) -> None:
    """Clip: of codes a table of codes, of dequantized ones a table as of any float operator."""
    name = ctx.node.input[0]
    codes = ctx.known.get(name)
    if name in ctx.tables or codes is None:
        float_unary(ctx)
        return
    ends = [codes.low, codes.high]
    for position in (1, 2):
        if position < len(ctx.node.input) and ctx.node.input[position]:
            ends[position - 1] = int(ctx.constant(position, "limit").reshape(-1)[0])
    source = ctx.input(0, codes.dtype)
    target = ctx.output(source.source_shape, codes, like=source)
    values = np.arange(256, dtype=np.uint8).view(codes.dtype).astype(np.int64)
    table = (np.clip(values, ends[0], ends[1]) & 255).astype(np.uint8)
    lookup = LutArithmetic(table=table, formula=f"clip_{ends[0]}_{ends[1]}")
    ctx.add_node(Op.LUT, (source.name,), (target.name,), lookup)
