"""What both importers share: collecting nodes and tensors, geometry, and the checks' wording."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import Arithmetic, Codes, MacArithmetic, Requant
from systolith.errors import ModelError, UnsupportedOperatorError
from systolith.graph import Graph, Node, Op, Tensor
from systolith.profiles.multipliers import SCALE_RULES, quantize_multiplier
from systolith.profiles.table import Profile, Row
from systolith.strides import Int64Array

__all__ = ["GraphBuilder", "canonical_shape", "mac_requant", "output_size", "same_pads"]

Pads = tuple[int, int, int, int]


def canonical_shape(shape: Sequence[int], what: str) -> tuple[int, int, int]:
    """Return ``(H, W, C)`` of a runtime's NHWC shape with batch 1; more sides are rows.

    Raises
    ------
    ModelError: the batch of four sides is not 1, or a side is not positive.
    """
    sides = tuple(int(side) for side in shape)
    if len(sides) == 4 and sides[0] != 1:
        raise ModelError(f"{what}: shape must be [1, H, W, C], not {list(sides)}")
    if any(side < 1 for side in sides):
        raise ModelError(f"{what}: shape must be positive, not {list(sides)}")
    *rest, width, channels = (1, 1, *sides)
    return int(np.prod(rest)), width, channels


def output_size(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    """Return the number of window positions along one axis."""
    return (size + pads - (kernel - 1) * dilation - 1) // stride + 1


def same_pads(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return padding before and after that makes ``ceil(size / stride)`` positions, more after."""
    positions = -(-size // stride)
    total = max((positions - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def mac_requant(row: Row, source: Codes, weights: NDArray[np.float32], out: Codes) -> Requant:
    """Return the requantizer that a profile's row means for these scales (no activation)."""
    factor = SCALE_RULES[row.scale](source.scale, weights, out.scale)
    empty = np.zeros(0, np.int64)
    fixed = row.formula in ("double", "upward")
    q, shift = quantize_multiplier(factor) if fixed else (empty, empty)
    return Requant(
        formula=row.formula,
        zero_point=out.zero_point,
        low=out.low,
        high=out.high,
        scale=factor,
        multiplier=q,
        shift=shift,
    )


class GraphBuilder:
    """Nodes and tensors of a graph under construction.

    Parameters
    ----------
    profile: gives the rows of arithmetic.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self.layer = ""
        self.source_op = ""

    def fail(self, message: str) -> NoReturn:
        """Raise ModelError naming the current layer."""
        raise ModelError(f"{self.source_op} {message}", layer=self.layer, op=self.source_op)

    def unsupported(
        self, why: str = "remove it or run it before or after the accelerator"
    ) -> NoReturn:
        """Raise UnsupportedOperatorError naming the current layer."""
        raise UnsupportedOperatorError(
            f"operator {self.source_op} is not supported; {why}",
            layer=self.layer,
            op=self.source_op,
        )

    def row(self, operator: str) -> Row:
        """Return the profile's arithmetic for `operator`, which must have one."""
        row = self.profile.rows.get(operator)
        if row is None:
            self.unsupported(f"profile {self.profile.name!r} has no exact arithmetic for it")
        return row

    def add_tensor(self, tensor: Tensor) -> Tensor:
        """Store a tensor under its name."""
        return self.tensors.setdefault(tensor.name, tensor)

    def add_node(
        self,
        op: Op,
        inputs: Sequence[str],
        outputs: Sequence[str],
        arithmetic: Arithmetic | None = None,
        attributes: Mapping[str, Any] | None = None,
        suffix: str = "",
    ) -> Node:
        """Append a node for the current layer."""
        node = Node(
            name=self.layer + suffix,
            op=op,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            attributes=attributes or {},
            arithmetic=arithmetic,
            source_op=self.source_op,
        )
        self.nodes.append(node)
        return node

    def add_choice(self, source: str, target: str, index: Int64Array, suffix: str = "") -> None:
        """Append the node of a choice of elements: a reshape if all stay where they are.

        Parameters
        ----------
        index: for each element of the target, in canonical order, that of the source.
        suffix: of the node's name.
        """
        index = np.ascontiguousarray(index).reshape(-1)
        size = self.tensors[source].size
        if index.size == size and np.array_equal(index, np.arange(size)):
            self.add_node(Op.RESHAPE, (source,), (target,), suffix=suffix)
        else:
            self.add_node(Op.GATHER, (source,), (target,), None, {"index": index}, suffix)

    def reshaped(self, tensor: Tensor, shape: tuple[int, int, int], suffix: str) -> Tensor:
        """Return `tensor` under another canonical shape, through a reshape node if it differs."""
        if tensor.shape == shape:
            return tensor
        after = self.add_tensor(_view(tensor, f"{tensor.name}{suffix}", shape))
        self.add_node(Op.RESHAPE, (tensor.name,), (after.name,), suffix=suffix)
        return after

    def unfolded(self, tensor: Tensor, shape: tuple[int, int, int], suffix: str) -> Tensor:
        """Return the tensor of canonical `shape` to write, which `fold` then views as `tensor`."""
        if tensor.shape == shape:
            return tensor
        return self.add_tensor(_view(tensor, f"{tensor.name}{suffix}", shape))

    def unfolded_copy(self, tensor: Tensor, suffix: str) -> Tensor:
        """Return a tensor of its own that is like another."""
        return self.add_tensor(_view(tensor, f"{tensor.name}{suffix}", tensor.shape))

    def fold(self, before: Tensor, after: Tensor, suffix: str) -> None:
        """Close `unfolded`: make `after` a view of `before`."""
        if before.name != after.name:
            self.add_node(Op.RESHAPE, (before.name,), (after.name,), suffix=suffix)

    def add_mac(
        self,
        op: Op,
        source: Tensor,
        target: Tensor,
        arithmetic: MacArithmetic,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a convolution or fully connected layer after checking its parameters' sizes."""
        channels = arithmetic.weights.shape[0]
        if arithmetic.bias.shape != (channels,):
            self.fail(f"bias must have {channels} values, not {arithmetic.bias.size}")
        if arithmetic.requant.channels not in (1, channels):
            self.fail(f"weights must have 1 or {channels} scales")
        if target.shape[2] != channels:
            self.fail(f"output must have {channels} channels, not {target.shape[2]}")
        self.add_node(op, (source.name,), (target.name,), arithmetic, attributes)

    def drop_dead(self, outputs: Sequence[str]) -> None:
        """Forget the nodes whose results reach no output."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]

    def graph(
        self,
        *,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        source_path: str,
        model_bytes: bytes,
    ) -> Graph:
        """Return the finished, validated graph without tensors that nothing uses."""
        used = {*inputs, *outputs}
        for node in self.nodes:
            used.update(node.inputs, node.outputs)
        return Graph(
            name=name,
            nodes=tuple(self.nodes),
            tensors={key: value for key, value in self.tensors.items() if key in used},
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            profile=self.profile.name,
            source_path=source_path,
            model_bytes=model_bytes,
        ).validate()


def _view(tensor: Tensor, name: str, shape: tuple[int, int, int]) -> Tensor:
    return Tensor(
        name=name,
        shape=shape,
        dtype=tensor.dtype,
        quantization=tensor.quantization,
        source_name=tensor.source_name,
        source_shape=tensor.source_shape,
        order=tensor.order,
        limits=tensor.limits,
    )
