"""From the device's nodes to steps: what one or a few command pairs compute, after fusion."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import BinaryArithmetic, Codes, LutArithmetic
from systolith.compiler.errors import layer_error
from systolith.compiler.host import Partition
from systolith.graph import Graph, Node, Op, Tensor
from systolith.profiles.binary import binary_table
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["BESIDE", "Addition", "Step", "build_steps"]

_PRODUCERS = frozenset({Op.CONV2D, Op.FULLY_CONNECTED, Op.AVG_POOL, Op.MAX_POOL})
_MOVES = frozenset({Op.RESHAPE, Op.GATHER, Op.PAD, Op.CONCAT})
BESIDE = frozenset({Op.SOFTMAX, Op.QUANTIZE, Op.DEQUANTIZE})
"""Operators that the move unit computes."""
_COPIED = frozenset({Op.LUT, Op.ADD, Op.SUB, Op.MUL})


@dataclass(frozen=True, kw_only=True, eq=False)
class Addition:
    """A residual operand at the end of a step, to add or to multiply by.

    Parameters
    ----------
    node: the graph's add, sub or mul.
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

    @property
    def own(self) -> Codes:
        """Codes of the step's own operand."""
        return self.arithmetic.b if self.swapped else self.arithmetic.a

    @property
    def second(self) -> Codes:
        """Codes of `other`."""
        return self.arithmetic.a if self.swapped else self.arithmetic.b


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One pass over a tensor: array, requantizer, optional operand, optional table.

    Parameters
    ----------
    node: the operator on the array; for adds, tables and moves the array only copies.
    source: the tensor that streams through the array (moves: of their first input).
    target: the tensor that is written.
    addition: residual operand behind the requantizer.
    table: 256 bytes applied last.
    nodes: every node the step computes, in order.
    hidden: tensors that exist only inside the step.
    packed_source: whether and how `source` holds two codes a byte: where their window begins.
    packed: whether `target` does.
    """

    node: Node
    source: str
    target: str
    addition: Addition | None = None
    table: NDArray[np.uint8] | None = None
    nodes: tuple[Node, ...] = ()
    hidden: tuple[str, ...] = ()
    packed_source: int | None = None
    packed: bool = False

    @property
    def is_move(self) -> bool:
        """Whether the step only moves bytes (reshape, gather, pad, concat)."""
        return self.node.op in _MOVES


@dataclass(frozen=True, kw_only=True, eq=False)
class _Function:
    """A function of one tensor's bytes.

    Parameters
    ----------
    source: the tensor.
    table: result of each byte, 256 bytes.
    steps: those that compute parts of it, tables only, in order.
    """

    source: str
    table: NDArray[np.uint8]
    steps: tuple[Step, ...] = ()


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
            function = _Function(source=node.inputs[0], table=node.arithmetic.table)
            self._unary(node, function)
        else:
            self._plain(node)

    def _plain(self, node: Node) -> None:
        if node.op not in _PRODUCERS | _MOVES | BESIDE:
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
        parts = ("residual", "product") if node.op is Op.MUL else ("residual",)
        absent = [f"post.{part}" for part in parts if not getattr(self.spec.post, part)]
        unary = _as_unary(a, b, node.arithmetic)
        if unary is None and (self.fuse or absent):
            unary = self._joined(a, b, node.arithmetic)
        if unary is not None:
            self._unary(node, unary)
            return
        out = self.graph.tensor(node.outputs[0])
        if absent:
            remedy = " and ".join(f"{name} = true" for name in absent)
            raise layer_error(node, f"{absent[-1]} is false", f"set {remedy}")
        if a.data is not None and b.data is not None:
            raise layer_error(node, "both operands are constant", "make its result a constant")
        self._addition(node, a, b, out)

    def _addition(self, node: Node, a: Tensor, b: Tensor, out: Tensor) -> None:
        for t in (a, b):
            if any(n not in (1, m) for n, m in zip(t.shape, out.shape, strict=True)):
                raise layer_error(node, f"operand {t.name!r} does not broadcast", "reshape it")
        # What is whole may stay in its producer; only the array spreads one channel over many.
        computed = sorted((a, b), key=lambda t: t.data is not None)
        whole = [t for t in computed if t.shape == out.shape]
        thin = [t for t in (a, b) if t.shape[2] < out.shape[2]]
        if len(thin) > 1:
            raise layer_error(node, "both operands are broadcast over channels", "expand one")
        index, old = self._fusible([] if thin else whole)
        main = old.target if old else (thin or whole or computed)[0].name
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

    def _joined(self, a: Tensor, b: Tensor, arithmetic: BinaryArithmetic) -> _Function | None:
        """Return the function if both operands are functions of one tensor, as x * sigmoid(x)."""
        if a.data is not None or b.data is not None:
            return None
        left, right = self._function(a.name), self._function(b.name)
        if left.source != right.source:
            return None
        table = (binary_table(arithmetic)[left.table, right.table] & 255).astype(np.uint8)
        steps = tuple(s for s in self.steps if s in left.steps or s in right.steps)
        return _Function(source=left.source, table=table, steps=steps)

    def _function(self, name: str) -> _Function:
        """Return a tensor as a function of the first one from which only tables lead to it."""
        found = _Function(source=name, table=np.arange(256, dtype=np.uint8))
        tables = {s.target: s for s in self.steps if s.node.op in _COPIED and s.addition is None}
        while found.source in tables:
            step = tables[found.source]
            assert step.table is not None
            found = _Function(
                source=step.source,
                table=found.table[step.table],
                steps=(step, *found.steps),
            )
        return found

    def _unary(self, node: Node, function: _Function) -> None:
        if not self.spec.memory.tables:
            raise layer_error(node, "memory.tables is 0", "set memory.tables to at least 1")
        source, table, target = function.source, function.table, node.outputs[0]
        nodes: tuple[Node, ...] = (node,)
        hidden: tuple[str, ...] = ()
        for step in reversed(function.steps):
            # What only led to this table need not be stored.
            if self._private(step.target, nodes):
                self.steps.remove(step)
                nodes, hidden = (*step.nodes, *nodes), (*step.hidden, step.target, *hidden)
        for index, step in enumerate(self.steps):
            free = step.target == source and not step.is_move and step.node.op not in BESIDE
            if free and self._private(source, nodes):
                self.steps[index] = replace(
                    step,
                    target=target,
                    table=table if step.table is None else table[step.table],
                    nodes=(*step.nodes, *nodes),
                    hidden=(*step.hidden, source, *hidden),
                )
                return
        self.steps.append(
            Step(node=node, source=source, target=target, table=table, nodes=nodes, hidden=hidden)
        )

    def _private(self, name: str, nodes: tuple[Node, ...] = ()) -> bool:
        """Whether nothing but the step in the making, or one node, reads a tensor."""
        inside = {node.name for node in nodes}
        readers = {node.name for node in self.graph.nodes if name in node.inputs}
        alone = readers <= inside if nodes else len(readers) == 1
        return self.fuse and alone and name not in self.kept


def _as_unary(a: Tensor, b: Tensor, arithmetic: BinaryArithmetic) -> _Function | None:
    """Return the function if the result depends on one operand only."""
    if a.name != b.name and a.data is None and b.data is None:
        return None
    table = binary_table(arithmetic)
    if a.name == b.name:
        return _Function(source=a.name, table=(np.diagonal(table) & 255).astype(np.uint8))
    for const, other, axis in ((a, b, 0), (b, a, 1)):
        if const.data is not None and other.data is None and np.unique(const.data).size == 1:
            if other.shape != np.broadcast_shapes(const.shape, other.shape):
                continue
            code = int(const.data.ravel()[0]) & 255
            column = np.take(table, code, axis=axis)
            return _Function(source=other.name, table=(column & 255).astype(np.uint8))
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
