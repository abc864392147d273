"""What onnxruntime computes inside MatMulNBits, asked of it by models made for the purpose.

Its kernels keep codes, scales and sums of blocks to themselves. Where all scales are 1 and only one
block is not 0, its float output is that block's sum, exactly (below 2**24); with an identity for
weights it is each code times its scale.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import (
    MacArithmetic,
)
from systolith.errors import ToolError
from systolith.float_steps import (
    BlockSumsArithmetic,
)
from systolith.graph import Graph, Node
from systolith.importers.ort import open_session
from systolith.profiles.formulas import requantize_codes

__all__ = ["BlockLayer", "block_layers"]

Arrays = dict[str, NDArray[Any]]
Sides = tuple[int, int]

_GREATEST = 127
"""Code of a block's greatest magnitude: integers up to it have scale 1."""
_DEGENERATE = -128
"""All codes of a block whose scale is too small for a finite inverse."""


def _model(node: Any, stored: Mapping[str, Any], inputs: list[str], sides: Sides) -> bytes:
    """Return a model of one MatMulNBits of sides K, N, any number of rows and stored operands."""
    from onnx import TensorProto, helper

    own = type(node)()
    own.CopyFrom(node)
    own.input[:] = ["A", *inputs]
    own.output[:] = ["Y"]
    for attribute in own.attribute:
        if attribute.name in ("K", "N"):
            attribute.i = sides["KN".index(attribute.name)]
    graph = helper.make_graph(
        [own],
        "blocks",
        [helper.make_tensor_value_info("A", TensorProto.FLOAT, ("M", sides[0]))],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ("M", sides[1]))],
        [stored[name] for name in inputs],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


class BlockLayer:
    """One MatMulNBits of a model.

    Parameters
    ----------
    graph: the network.
    node: its node of float outputs.
    proto: the operator in the model's file.
    stored: the model's initializers by name.
    """

    def __init__(self, graph: Graph, node: Node, proto: Any, stored: Mapping[str, Any]) -> None:
        self.graph, self.node = graph, node
        self.source: str = proto.input[0]
        self.depth = next(int(a.i) for a in proto.attribute if a.name == "K")
        self.block = next(int(a.i) for a in proto.attribute if a.name == "block_size")
        self.bits = next((int(a.i) for a in proto.attribute if a.name == "bits"), 4)
        assert isinstance(node.arithmetic, BlockSumsArithmetic)
        self.blocks, self.channels = node.arithmetic.scales.shape
        self._sums = open_session(self._own(proto, stored))
        self._identity = open_session(self._diagonal(proto, self.depth))
        self._whole = open_session(self._diagonal(proto, self.blocks * self.block))

    def _own(self, proto: Any, stored: Mapping[str, Any]) -> bytes:
        """The layer's weights as they are stored, with scales of 1 and no zero points."""
        from onnx import numpy_helper

        ones = numpy_helper.from_array(np.ones(self.blocks * self.channels, np.float32), "ones")
        sides = self.depth, self.channels
        return _model(proto, {**stored, "ones": ones}, [proto.input[1], "ones"], sides)

    def _diagonal(self, proto: Any, depth: int) -> bytes:
        """Weights that are 1 on the diagonal, with scales of 1 and zero points of 0."""
        from onnx import numpy_helper

        blocks = self.blocks
        row, own = blocks * self.block * self.bits // 8, np.arange(depth)
        packed = np.zeros((depth, row), np.uint8)
        packed[own, own * self.bits // 8] = 1 << own * self.bits % 8
        values = {
            "eye": packed.reshape(depth, blocks, -1),
            "ones": np.ones(depth * blocks, np.float32),
            "zeros": np.zeros(depth * -(-blocks * self.bits // 8), np.uint8),
        }
        stored = {name: numpy_helper.from_array(value, name) for name, value in values.items()}
        return _model(proto, stored, list(values), (depth, depth))

    def _run(self, session: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {"A": np.ascontiguousarray(rows)})[0])

    def _by_block(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows filled up with zeros [rows, blocks, block]."""
        more = self.blocks * self.block - self.depth
        return np.pad(rows, ((0, 0), (0, more))).reshape(len(rows), self.blocks, self.block)

    def _scales(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scales of blocks: what a code of 1 is worth beside the block's greatest magnitude."""
        most = np.abs(self._by_block(rows)).max(axis=2)
        probe = np.zeros((len(rows), self.blocks, self.block), np.float32)
        probe[..., 0], probe[..., 1] = most, most / np.float32(_GREATEST)
        worth = self._run(self._whole, probe.reshape(len(rows), -1)).reshape(probe.shape)[..., 1]
        return np.where(worth < 0, worth / np.float32(_DEGENERATE), worth)

    def tensors(self, rows: NDArray[Any]) -> Arrays:
        """Return codes, scales and bytes of sums by the graph's names, in the graph's shapes.

        Parameters
        ----------
        rows: the layer's input as the model has it.

        Raises
        ------
        ToolError: an output is no integer where it must be one.
        """
        rows = np.asarray(rows, np.float32).reshape(-1, self.depth)
        scales = self._scales(rows)
        worth = self._by_block(self._run(self._identity, rows))
        with np.errstate(divide="ignore", invalid="ignore"):
            real = np.where(scales[..., None] > 0, worth / scales[..., None], 0)
        codes = np.rint(real).astype(np.int64)
        if not np.array_equal(scales[..., None] * codes.astype(np.float32), worth):
            raise ToolError(f"onnxruntime's codes of {self.source!r} are no multiples of scales")
        sums = self._block_sums(codes)
        found: Arrays = {}
        first, second, *parts = self.node.inputs
        found[first], found[second] = scales, codes.astype(np.int8)
        for name in parts:
            layer = self.graph.producer(name)
            assert layer is not None and isinstance(layer.arithmetic, MacArithmetic)
            found[name] = requantize_codes(sums, layer.arithmetic.requant).astype(np.int8)
        shapes = self.graph.tensors
        return {name: value.reshape(shapes[name].source_shape) for name, value in found.items()}

    def _block_sums(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sums [rows, blocks * channels] of codes [rows, blocks, block]."""
        most = np.abs(codes).max(axis=2)
        if not np.all((most == _GREATEST) | (most == -_DEGENERATE) | (most == 0)):
            raise ToolError(f"onnxruntime's codes of {self.source!r} do not reach {_GREATEST}")
        alone = np.zeros((len(codes), self.blocks, self.blocks, self.block), np.float32)
        own = np.arange(self.blocks)
        # Codes of -128 are alike: their sum is 128 / 127 of what it is with -127.
        alone[:, own, own] = np.maximum(codes, -_GREATEST)
        probe = alone.reshape(len(codes) * self.blocks, -1)[:, : self.depth]
        sums = self._run(self._sums, probe).reshape(len(codes), self.blocks, -1)
        whole = np.rint(sums).astype(np.int64)
        if not np.array_equal(whole, sums):
            raise ToolError(f"onnxruntime's sums of blocks of {self.source!r} are no integers")
        larger = whole * _DEGENERATE // -_GREATEST
        whole = np.where(most[..., None] == -_DEGENERATE, larger, whole)
        return whole.reshape(len(codes), -1)


def block_layers(graph: Graph, model: Any) -> list[BlockLayer]:
    """Return the layers of blocks that a graph has of its model."""
    protos = {node.output[0]: node for node in model.graph.node if node.output}
    stored = {each.name: each for each in model.graph.initializer}
    found = {
        node.attributes["output"]: node
        for node in graph
        if isinstance(node.arithmetic, BlockSumsArithmetic)
    }
    return [BlockLayer(graph, node, protos[name], stored) for name, node in found.items()]
