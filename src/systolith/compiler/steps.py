"""From the device's nodes to steps: what one or a few command pairs compute, after fusion."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import BinaryArithmetic, LutArithmetic
from systolith.compiler.errors import layer_error
from systolith.compiler.host import Partition
from systolith.graph import Graph, Node, Op, Tensor
from systolith.profiles.binary import binary_table
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Addition", "Step", "build_steps"]

_PRODUCERS = frozenset({Op.CONV2D, Op.FULLY_CONNECTED, Op.AVG_POOL, Op.MAX_POOL})
_MOVES = frozenset({Op.RESHAPE, Op.GATHER, Op.PAD, Op.CONCAT})


@dataclass(frozen=True, kw_only=True, eq=False)
class Addition:
    """A residual add at the end of a step.

    Parameters
    ----------
    node: the graph's add or sub.
    other: the tensor that is streamed in.
    swapped: whether `other` is the node's first operand.
    """

    node: Node
    other: str
    swapped: bool

    @property
    def arithmetic(self) -> BinaryArithmetic:
        """The node's arithmetic."""
        assert isinstance(self.node.arithmetic, BinaryArithmetic)
        return self.node.arithmetic


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One pass over a tensor: array, requantizer, optional add, optional table.

    Parameters
    ----------
    node: the operator on the array; for adds, tables and moves the array only copies.
    source: the tensor that streams through the array (moves: of their first input).
    target: the tensor that is written.
    addition: residual add behind the requantizer.
    table: 256 bytes applied last.
    nodes: every node the step computes, in order.
    hidden: tensors that exist only inside the step.
    """

    node: Node
    source: str
    target: str
    addition: Addition | None = None
    table: NDArray[np.uint8] | None = None
    nodes: tuple[Node, ...] = ()
    hidden: tuple[str, ...] = ()

    @property
    def is_move(self) -> bool:
        """Whether the step only moves bytes (reshape, gather, pad, concat)."""
        return self.node.op in _MOVES


class _Builder:
    """Turns nodes into steps one by one; a later node may absorb an earlier step."""

    def __init__(self, graph: Graph, cut: Partition, spec: AcceleratorSpec, fuse: bool) -> None:
        self.graph, self.spec, self.fuse = graph, spec, fuse
        self.kept = {*graph.outputs, *cut.outputs}
        self.steps: list[Step] = []

    def add(self, node: Node) -> None:
        """Append the step of one node, fused with an earlier one where that is possible."""
        tensors = [self.graph.tensor(n) for n in (*node.inputs, *node.outputs)]
        for tensor in tensors:
            if tensor.dtype not in ("int8", "uint8"):
                raise layer_error(
                    node,
                    f"tensor {tensor.name!r} must be int8 or uint8, not {tensor.dtype}",
                    "quantize the network to 8 bits",
                )
        if node.op in (Op.ADD, Op.SUB, Op.MUL):
            self._binary(node)
        elif node.op is Op.LUT:
            assert isinstance(node.arithmetic, LutArithmetic)
            self._unary(node, node.inputs[0], node.arithmetic.table)
        else:
            self._plain(node)

    def _plain(self, node: Node) -> None:
        if node.op not in _PRODUCERS | _MOVES | {Op.SOFTMAX}:
            raise layer_error(node, "the accelerator has no such operator", "remove the layer")
        for name in node.inputs:
            if self.graph.tensor(name).data is not None:
                raise layer_error(
                    node, f"operand {name!r} must not be constant", "fold it into its producer"
                )
        source, target = node.inputs[0], node.outputs[0]
        self.steps.append(Step(node=node, source=source, target=target, nodes=(node,)))

    def _binary(self, node: Node) -> None:
        a, b = (self.graph.tensor(name) for name in node.inputs)
        assert isinstance(node.arithmetic, BinaryArithmetic)
        unary = _as_unary(a, b, node.arithmetic)
        if unary is not None:
            self._unary(node, *unary)
            return
        out = self.graph.tensor(node.outputs[0])
        if node.op is Op.MUL:
            raise layer_error(
                node, "the accelerator multiplies only by one constant", "cut the network there"
            )
        if not self.spec.post.residual:
            raise layer_error(node, "post.residual is false", "set post.residual = true")
        for tensor in (a, b):
            if tensor.data is not None:
                raise layer_error(
                    node,
                    f"constant operand {tensor.name!r} must be one value for all elements",
                    "make it an input of the network or fold it into a bias",
                )
        self._addition(node, a, b, out)

    def _addition(self, node: Node, a: Tensor, b: Tensor, out: Tensor) -> None:
        whole = [t for t in (a, b) if t.shape == out.shape]
        for t in (a, b):
            if any(n not in (1, m) for n, m in zip(t.shape[:2], out.shape[:2], strict=True)):
                raise layer_error(node, f"operand {t.name!r} does not broadcast", "reshape it")
            if t.shape[2] != out.shape[2]:
                raise layer_error(
                    node, f"operand {t.name!r} is broadcast over channels", "expand it"
                )
        if not whole:
            raise layer_error(node, "both operands are broadcast", "expand one of them")
        index, old = self._fusible(whole)
        main = old.target if old else whole[0].name
        swapped = main == b.name
        addition = Addition(node=node, other=a.name if swapped else b.name, swapped=swapped)
        target = out.name
        if old is None:
            step = Step(node=node, source=main, target=target, addition=addition, nodes=(node,))
        else:
            del self.steps[index]
            step = replace(
                old,
                target=target,
                addition=addition,
                nodes=(*old.nodes, node),
                hidden=(*old.hidden, old.target),
            )
        self.steps.append(step)

    def _fusible(self, operands: list[Tensor]) -> tuple[int, Step | None]:
        """Return the latest step whose private result is one of the operands."""
        names = {t.name for t in operands}
        for index in range(len(self.steps) - 1, -1, -1):
            step = self.steps[index]
            free = step.node.op in _PRODUCERS and step.addition is None and step.table is None
            if step.target in names and free and self._private(step.target):
                return index, step
        return -1, None

    def _unary(self, node: Node, source: str, table: NDArray[np.uint8]) -> None:
        if not self.spec.memory.tables:
            raise layer_error(node, "memory.tables is 0", "set memory.tables to at least 1")
        target = node.outputs[0]
        for index, step in enumerate(self.steps):
            if step.target != source or step.is_move or step.table is not None:
                continue
            if step.node.op is Op.SOFTMAX:
                continue
            if self._private(source):
                self.steps[index] = replace(
                    step,
                    target=target,
                    table=table,
                    nodes=(*step.nodes, node),
                    hidden=(*step.hidden, source),
                )
                return
        self.steps.append(Step(node=node, source=source, target=target, table=table, nodes=(node,)))

    def _private(self, name: str) -> bool:
        readers = [i for node in self.graph.nodes for i in node.inputs if i == name]
        return self.fuse and len(readers) == 1 and name not in self.kept


def _as_unary(
    a: Tensor, b: Tensor, arithmetic: BinaryArithmetic
) -> tuple[str, NDArray[np.uint8]] | None:
    """Return (operand, table) if the result depends on one operand only."""
    if a.name != b.name and a.data is None and b.data is None:
        return None
    table = binary_table(arithmetic)
    if a.name == b.name:
        return a.name, (np.diagonal(table) & 255).astype(np.uint8)
    for const, other, axis in ((a, b, 0), (b, a, 1)):
        if const.data is not None and other.data is None and np.unique(const.data).size == 1:
            if other.shape != np.broadcast_shapes(const.shape, other.shape):
                continue
            code = int(const.data.ravel()[0]) & 255
            return other.name, (np.take(table, code, axis=axis) & 255).astype(np.uint8)
    return None


def build_steps(
    graph: Graph, cut: Partition, spec: AcceleratorSpec, *, fuse: bool
) -> tuple[Step, ...]:
    """Return the steps of the device's nodes in execution order.

    Raises
    ------
    CompileError: an operator or operand that the hardware does not have.
    """
    builder = _Builder(graph, cut, spec, fuse)
    for node in cut.device:
        builder.add(node)
    return tuple(builder.steps)
