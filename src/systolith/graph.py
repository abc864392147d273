"""The network as integers: operators with the exact arithmetic of the runtime they came from.

Activations are NHWC without the batch: an activation's canonical shape is ``(H, W, C)``; a vector
of K values is ``(1, 1, K)`` and a matrix of M rows is ``(1, M, K)``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Arithmetic, MacArithmetic
from systolith.errors import InputError, ModelError

__all__ = ["Graph", "Node", "Op", "Quantization", "Tensor"]


class Op(StrEnum):
    """Operators of the graph; each names the class of its ``Node.arithmetic``."""

    CONV2D = "conv2d"
    """MacArithmetic; attributes kernel, strides, dilations (each h, w), groups, and
    pads (top, bottom, left, right)."""
    FULLY_CONNECTED = "fully_connected"
    """MacArithmetic; input (1, M, K), output (1, M, Cout): the same weights for each of M rows."""
    AVG_POOL = "avg_pool"
    """PoolArithmetic; attributes kernel, strides, pads."""
    MAX_POOL = "max_pool"
    """MaxPoolArithmetic; attributes kernel, strides, pads; padding never wins."""
    ADD = "add"
    """BinaryArithmetic."""
    SUB = "sub"
    """BinaryArithmetic."""
    MUL = "mul"
    """BinaryArithmetic."""
    LUT = "lut"
    """LutArithmetic: any unary 8-bit operator."""
    SOFTMAX = "softmax"
    """SoftmaxArithmetic, over the last axis of the canonical shape."""
    QUANTIZE = "quantize"
    """QuantizeArithmetic, FloatQuantizeArithmetic, BlockQuantizeArithmetic: float32 to 8 bits (or
    to the scales of blocks of them)."""
    DEQUANTIZE = "dequantize"
    """DequantizeArithmetic, FloatOutputArithmetic: 8 bits (or sums in two bytes) to float32.
    BlockSumsArithmetic: scales and codes of blocks, and sums in bytes, the lowest first."""
    PAD = "pad"
    """PadArithmetic; attributes pads (top, bottom, left, right), channel_pads (front, back)."""
    CONCAT = "concat"
    """ConcatArithmetic; attribute axis (0, 1 or 2 of the canonical shape)."""
    RESHAPE = "reshape"
    """No arithmetic: the same bytes in the same order under another shape."""
    GATHER = "gather"
    """No arithmetic: transposes, slices, repetitions, any choice of elements. Attribute index,
    int64: for each output element, in canonical order, the place of the input's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantization:
    """``real = scale * (code - zero_point)``, per tensor or along one axis of the source tensor.

    Parameters
    ----------
    scale: float32, one value or one per slice of `axis`.
    zero_point: int64, of scale's shape.
    axis: the source tensor's axis of the slices, or None.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """An activation (or a constant operand) and how its canonical bytes lie in the runtime's array.

    ``canonical.ravel() == source.ravel()[order]``; no `order` means the same order.

    Parameters
    ----------
    name: unique in the graph; the key in the runtime's results.
    shape: canonical ``(H, W, C)``.
    dtype: numpy name: int8, uint8, int32, float32 ...
    quantization: of the codes, or None (float).
    data: constant value in canonical layout, or None.
    source_name: the name in the model file.
    source_shape: the runtime's shape with batch 1.
    order: int64 permutation of the flat source, or None for the identity.
    limits: least and greatest code that occur, or None for those of the dtype; of the codes also
        where two of them share a byte.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: str
    quantization: Quantization | None = None
    data: NDArray[Any] | None = None
    source_name: str = ""
    source_shape: tuple[int, ...] = ()
    order: NDArray[np.int64] | None = None
    limits: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def code_range(self) -> tuple[int, int]:
        """Least and greatest code of an int8 or uint8 tensor."""
        return self.limits or ((-128, 127) if self.dtype == "int8" else (0, 255))

    def canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a runtime's array (batch 1, or without it) in the canonical layout.

        Raises
        ------
        InputError: the array's shape is not this tensor's.
        """
        wanted = self.source_shape
        if array.shape != wanted and (wanted[:1] != (1,) or array.shape != wanted[1:]):
            raise InputError(
                f"tensor {self.source_name or self.name!r}: shape must be {wanted}, "
                f"not {tuple(array.shape)!r}"
            )
        flat = array.ravel()
        return (flat if self.order is None else flat[self.order]).reshape(self.shape)

    def source(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a canonical array in the runtime's layout, batch 1 (inverse of `canonical`).

        Raises
        ------
        InputError: the array's shape is not the canonical one.
        """
        if array.shape != self.shape:
            raise InputError(
                f"tensor {self.name!r}: canonical shape must be {self.shape}, "
                f"not {tuple(array.shape)!r}"
            )
        flat = np.ascontiguousarray(array).ravel()
        if self.order is not None:
            result = np.empty_like(flat)
            result[self.order] = flat
            flat = result
        return flat.reshape(self.source_shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operator.

    Parameters
    ----------
    name: unique in the graph; what error messages call the layer.
    op: what it computes.
    inputs, outputs: names of tensors.
    attributes: geometry, see `Op`.
    arithmetic: exact numbers, see `Op`; None for moves.
    source_op: the operator's name in the model file.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    arithmetic: Arithmetic | None = None
    source_op: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network whose every node has the exact arithmetic of one profile.

    Parameters
    ----------
    name: the model's name (its file's stem).
    nodes: in execution order.
    tensors: by name.
    inputs, outputs: names of tensors.
    profile: name of the arithmetic profile.
    source_path: the imported file, or empty.
    model_bytes: the file that the profile's runtime runs to give the same bits; for QDQ models
        this is what onnxruntime itself made of the imported one.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    profile: str
    source_path: str = ""
    model_bytes: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of that name."""
        return self.tensors[name]

    def producer(self, tensor: str) -> Node | None:
        """Return the node that writes `tensor`, or None for inputs and constants."""
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Return the nodes that read `tensor`, in execution order."""
        return tuple(node for node in self.nodes if tensor in node.inputs)

    def macs(self, node: Node | None = None) -> int:
        """Return the multiply-accumulates of `node` (0 if it has no weights), or of all nodes."""
        if node is None:
            return sum(self.macs(each) for each in self.nodes)
        if not isinstance(node.arithmetic, MacArithmetic):
            return 0
        height, width, _ = self.tensors[node.outputs[0]].shape
        return height * width * int(node.arithmetic.weights.size)

    def validate(self) -> "Graph":
        """Check names, order of execution and shapes of moves; return the graph itself.

        Raises
        ------
        ModelError: a tensor is undefined, written twice, or read before it is written.
        """
        known = set(self.inputs) | {n for n, t in self.tensors.items() if t.data is not None}
        for node in self.nodes:
            for name in node.inputs:
                if name not in known:
                    raise ModelError(f"reads {name!r} before it is written", layer=node.name)
            for name in node.outputs:
                if name in known or name not in self.tensors:
                    raise ModelError(f"must write a new tensor, not {name!r}", layer=node.name)
                known.add(name)
            if node.op is Op.RESHAPE:
                self._validate_move(node)
            if node.op is Op.GATHER:
                self._validate_gather(node)
        for name in (*self.inputs, *self.outputs):
            if name not in known or name not in self.tensors:
                raise ModelError(f"graph input or output {name!r} must be a tensor of the graph")
        return self

    def _validate_move(self, node: Node) -> None:
        before, after = self.tensors[node.inputs[0]], self.tensors[node.outputs[0]]
        if before.size != after.size:
            raise ModelError(
                f"reshape must keep the size, not {before.shape!r} to {after.shape!r}",
                layer=node.name,
            )

    def _validate_gather(self, node: Node) -> None:
        before, after = self.tensors[node.inputs[0]], self.tensors[node.outputs[0]]
        index = node.attributes["index"]
        if index.shape != (after.size,) or index.min() < 0 or index.max() >= before.size:
            raise ModelError(
                f"index must have {after.size} places below {before.size}, not {index.shape!r}",
                layer=node.name,
            )
