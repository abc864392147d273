"""Counting what was compared, layer by layer, and keeping the first mismatch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.float_steps import (
    BlockSumsArithmetic,
    FloatOutputArithmetic,
)
from systolith.graph import Graph, Node
from systolith.profiles.blocks import block_outputs
from systolith.profiles.steps import float_outputs
from systolith.verify.diagnose import describe, source_index
from systolith.verify.results import Bounded, Mismatch

__all__ = ["LayerTally", "Side", "Tally"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One side to compare with: canonical tensors, and who computed them."""

    name: str
    tensors: Arrays


@dataclass(kw_only=True)
class LayerTally:
    """Counts of one node."""

    compared: int = 0
    mismatches: int = 0
    against: list[str] = field(default_factory=list)
    bounded: Bounded | None = None


def _differs(got: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.bool_]:
    """Compare values exactly; equal NaNs are equal."""
    if got.dtype.kind == "f":
        return ~((got == expected) | (np.isnan(got) & np.isnan(expected)))
    return got.astype(np.int64) != expected.astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ends:
    """The least and the greatest value that an order of the runtime's additions can give."""

    least: NDArray[Any]
    most: NDArray[Any]

    def beyond(self, expected: NDArray[Any]) -> NDArray[np.bool_]:
        """Return what lies outside."""
        answer: NDArray[np.bool_] = ~((expected >= self.least) & (expected <= self.most))
        return answer

    def measured(self, got: NDArray[Any], expected: NDArray[Any]) -> Bounded:
        """Return how far values are apart, and may be."""
        own = got.astype(np.float64)
        sides = [np.abs(end.astype(np.float64) - own).max() for end in (self.least, self.most)]
        return Bounded(
            values=got.size,
            gap=float(np.abs(expected.astype(np.float64) - own).max()),
            bound=float(max(sides)),
            peak=float(np.abs(own).max()),
        )


def _ends(node: Node, values: Arrays) -> _Ends | None:
    """Return the bounds of floats that depend on the runtime's order; None if they are exact."""
    k = node.arithmetic
    operands = [values[n] for n in node.inputs if n in values]
    if isinstance(k, FloatOutputArithmetic) and not k.sums.exact:
        ends = [float_outputs(operands, k, side) for side in (-1, 1)]
    elif isinstance(k, BlockSumsArithmetic):
        shape = values[node.outputs[0]].shape
        ends = [block_outputs(operands, k, side).reshape(shape) for side in (-1, 1)]
    else:
        return None
    return _Ends(least=np.minimum(*ends), most=np.maximum(*ends))


class Tally:
    """Comparison of one run after another.

    Parameters
    ----------
    graph: the network.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers = {node.name: LayerTally() for node in graph}
        self.first: Mismatch | None = None
        self.worst = 0.0
        self.outputs = self.changed = 0

    def end_to_end(self, values: Arrays, live: Arrays) -> None:
        """Count the network's outputs, and those that differ from the runtime left to itself."""
        for name in self.graph.outputs:
            if name in live and name in values:
                wrong = _differs(values[name], live[name])
                self.outputs += wrong.size
                self.changed += int(wrong.sum())

    def add(self, node: Node, values: Arrays, side: Side, *, sample: int, program: str) -> None:
        """Compare a node's output with one side, if that side has it.

        Parameters
        ----------
        node: the layer.
        values: the hardware's tensors.
        side: what they must equal.
        sample, program: for the report of a mismatch.
        """
        name = node.outputs[0]
        if name not in side.tensors or name not in values:
            return
        got, expected = values[name], side.tensors[name]
        counts = self.layers[node.name]
        ends = _ends(node, values)
        wrong = _differs(got, expected) if ends is None else ends.beyond(expected)
        if ends is not None:
            counts.bounded = ends.measured(got, expected).joined(counts.bounded)
        counts.compared += wrong.size
        counts.mismatches += int(wrong.sum())
        if side.name not in counts.against:
            counts.against.append(side.name)
        if wrong.any():
            gap = np.abs(got[wrong].astype(np.float64) - expected[wrong].astype(np.float64))
            self.worst = max(self.worst, float(np.nan_to_num(gap, nan=np.inf).max()))
        if wrong.any() and self.first is None:
            index = tuple(int(v) for v in np.argwhere(wrong)[0])
            self.first = Mismatch(
                layer=node.name,
                op=str(node.op),
                tensor=name,
                sample=sample,
                index=index,
                source_index=source_index(self.graph, name, index),
                got=got[index].item(),
                expected=expected[index].item(),
                against=side.name,
                program=program,
                details=describe(self.graph, node, index, values),
            )
