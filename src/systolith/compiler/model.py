"""What a compilation returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from systolith.compiler.allocate import MemoryReport
from systolith.compiler.problem import Proof
from systolith.compiler.weight_choice import StoredWeights
from systolith.graph import Graph, Node
from systolith.spec.program import Program

__all__ = ["CompiledModel", "LayerNote"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerNote:
    """How a node is computed.

    Parameters
    ----------
    name: of the node.
    where: ``array``, ``copy`` (the move unit), ``fused`` (in another node's commands), ``alias``
        (no commands) or ``host``.
    text: which formula is used and how it is known to be right, or why it is on the host.
    proofs: the same as data, one for each requantizer that the node needs.
    """

    name: str
    where: str
    text: str
    proofs: tuple[Proof, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledModel:
    """A program, and what the host and reports need besides.

    Parameters
    ----------
    program: what the accelerator runs.
    graph: what was compiled.
    prologue, epilogue: nodes that the host computes before and after.
    notes: one per node, in execution order.
    hidden: tensors that exist only inside fused commands; compile with ``fuse=False`` to see them.
    memory: use of the activation memory.
    weights: of layers whose weights are not dense: format and bytes.
    """

    program: Program
    graph: Graph
    prologue: tuple[Node, ...]
    epilogue: tuple[Node, ...]
    notes: tuple[LayerNote, ...]
    hidden: tuple[str, ...]
    memory: MemoryReport
    weights: Mapping[str, StoredWeights] = field(default_factory=dict)

    @property
    def weights_note(self) -> str:
        """What compressed weights save in all, empty if none are compressed."""
        if not self.weights:
            return ""
        stored = sum(layer.bytes for layer in self.weights.values())
        dense = sum(layer.dense_bytes for layer in self.weights.values())
        forms = ", ".join(sorted({layer.form.name.lower() for layer in self.weights.values()}))
        return (
            f"compressed weights of {len(self.weights)} layers ({forms}): {stored:,} of "
            f"{dense:,} bytes, {dense - stored:,} saved"
        )
