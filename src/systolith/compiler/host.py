"""Which nodes the host computes before and after the accelerator runs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from systolith.compiler.errors import layer_error
from systolith.graph import Graph, Node, Op

__all__ = ["Partition", "partition"]

_BEFORE = frozenset({Op.QUANTIZE, Op.RESHAPE})
_AFTER = frozenset({Op.SOFTMAX, Op.DEQUANTIZE, Op.RESHAPE})
_HOST_ONLY = frozenset({Op.QUANTIZE, Op.SOFTMAX, Op.DEQUANTIZE})


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The graph cut in three.

    Parameters
    ----------
    prologue, device, epilogue: nodes in execution order.
    inputs: tensors that the host writes into the activation memory.
    outputs: tensors that the host reads from it.
    """

    prologue: tuple[Node, ...]
    device: tuple[Node, ...]
    epilogue: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _closure(
    nodes: Iterable[Node], ops: frozenset[Op], ready: Callable[[Node, set[str]], bool]
) -> tuple[Node, ...]:
    """Collect nodes of ``ops`` while ``ready(node, names of collected nodes)`` holds."""
    chosen: list[Node] = []
    names: set[str] = set()
    for node in nodes:
        if node.op in ops and ready(node, names):
            chosen.append(node)
            names.add(node.name)
    return tuple(chosen)


def partition(graph: Graph) -> Partition:
    """Cut the host's nodes off both ends of the graph.

    Raises
    ------
    CompileError: an operator that only the host computes lies between others.
    """
    tail = _closure(reversed(graph.nodes), _AFTER, lambda n, c: _only_read_by(graph, n, c))
    epilogue = tuple(reversed(tail))
    rest = [node for node in graph.nodes if node not in epilogue]
    prologue = _closure(rest, _BEFORE, lambda n, c: _only_reads(graph, n, c))
    device = tuple(node for node in rest if node not in prologue)
    for node in device:
        if node.op in _HOST_ONLY:
            raise layer_error(
                node,
                f"{node.op} is computed by the host and must be at the network's edge",
                "cut the network there and compile the parts",
            )
    written = {name for node in device for name in node.outputs}
    read = [name for node in device for name in node.inputs]
    inputs = [n for n in read if n not in written and graph.tensor(n).data is None]
    wanted = [*graph.outputs, *(n for node in epilogue for n in node.inputs)]
    outputs = [n for n in wanted if n in written]
    return Partition(
        prologue=prologue,
        device=device,
        epilogue=epilogue,
        inputs=tuple(dict.fromkeys(inputs)),
        outputs=tuple(dict.fromkeys(outputs)),
    )


def _only_read_by(graph: Graph, node: Node, chosen: set[str]) -> bool:
    return all(c.name in chosen for name in node.outputs for c in graph.consumers(name))


def _only_reads(graph: Graph, node: Node, chosen: set[str]) -> bool:
    producers = [graph.producer(name) for name in node.inputs if graph.tensor(name).data is None]
    return all(p is None or p.name in chosen for p in producers)
