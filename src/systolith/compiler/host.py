"""Which nodes the host computes before and after the accelerator runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from systolith.arithmetic import PoolArithmetic
from systolith.compiler.average import OPEN_SUMS, open_sums
from systolith.compiler.edges import EdgePlan, EdgePlans
from systolith.compiler.errors import layer_error
from systolith.compiler.softmax import SoftmaxPlans, plan_layers
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
    reasons: why nodes are on the host although an accelerator could have them, by name.
    softmax: the softmax layers among the device's nodes.
    edges: QUANTIZE and DEQUANTIZE nodes among them, by name.
    """

    prologue: tuple[Node, ...]
    device: tuple[Node, ...]
    epilogue: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reasons: Mapping[str, str]
    softmax: SoftmaxPlans
    edges: Mapping[str, EdgePlan]


def _closure(nodes: Iterable[Node], ready: Callable[[Node, set[str]], bool]) -> tuple[Node, ...]:
    """Collect the nodes for which ``ready(node, names of nodes collected so far)`` holds."""
    chosen: list[Node] = []
    names: set[str] = set()
    for node in nodes:
        if ready(node, names):
            chosen.append(node)
            names.add(node.name)
    return tuple(chosen)


def _downstream(graph: Graph, first: Node) -> list[Node]:
    """Return a node and all that depends on it."""
    written, found = set(first.outputs), [first]
    for node in graph.nodes:
        if node is not first and written.intersection(node.inputs):
            found.append(node)
            written.update(node.outputs)
    return found


def host_tail(graph: Graph) -> Mapping[str, str]:
    """Return why nodes at the end must be computed by the host, by name.

    These are averages that are not a function of the sum of codes for too many sums
    (`OPEN_SUMS`), and what depends on them, where that is a network's classifier: no convolution
    follows.
    """
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        if isinstance(node.arithmetic, PoolArithmetic) and node.name not in reasons:
            undecided, total = _open_sums(node.arithmetic)
            tail = _downstream(graph, node)
            if undecided <= OPEN_SUMS * total or any(n.op is Op.CONV2D for n in tail):
                continue
            for follower in tail:
                reasons[follower.name] = f"follows {node.name!r}, which is on the host"
            reasons[node.name] = (
                f"the order of the runtime's float32 additions decides {undecided} of {total} sums"
            )
    return reasons


def _open_sums(arithmetic: PoolArithmetic) -> tuple[int, int]:
    """Undecided sums and all sums, over every number of codes that occurs."""
    counts = [
        open_sums(arithmetic, count)
        for count, requant in arithmetic.requants.items()
        if requant.formula in ("ort_average", "ort_mean")
    ]
    return sum(c[0] for c in counts), sum(c[1] for c in counts)


def _converted_here(
    graph: Graph, epilogue: Sequence[Node], edges: Mapping[str, EdgePlan]
) -> set[str]:
    """Return DEQUANTIZE nodes, with what only renames their codes, that follow the device's."""
    inside = {name: node for node in epilogue for name in node.outputs}
    found: set[str] = set()
    for node in epilogue:
        if node.op is not Op.DEQUANTIZE or node.name not in edges:
            continue
        chain, before = [node], inside.get(node.inputs[0])
        while before is not None and before.op is Op.RESHAPE:
            chain.append(before)
            before = inside.get(before.inputs[0])
        if before is None or before.name in found:
            found.update(each.name for each in chain)
    return found


def partition(graph: Graph, softmax_tables: int = 0, edges: EdgePlans | None = None) -> Partition:
    """Cut the host's nodes off both ends of the graph.

    Parameters
    ----------
    softmax_tables: `PostSpec.softmax_tables`: softmax is the device's as far as they suffice.
    edges: conversions that the device could compute; it does unless the host has what is before a
        DEQUANTIZE.

    Raises
    ------
    CompileError: an operator that only the host computes lies between others.
    """
    forced = host_tail(graph)
    edges = edges or EdgePlans()
    free = (node for node in graph.nodes if node.name not in forced)
    softmax = plan_layers(graph, free, softmax_tables)

    def may_follow(node: Node, chosen: set[str]) -> bool:
        hosted = node.op in _AFTER and node.name not in softmax.layers or _in_float(graph, node)
        return (hosted or node.name in forced) and _only_read_by(graph, node, chosen)

    tail = _closure(reversed(graph.nodes), may_follow)
    here = _converted_here(graph, tail[::-1], edges.nodes)
    epilogue = tuple(node for node in reversed(tail) if node.name not in here)
    rest = [node for node in graph.nodes if node not in epilogue]

    def may_precede(node: Node, chosen: set[str]) -> bool:
        hosted = node.op in _BEFORE and node.name not in edges.nodes or _in_float(graph, node)
        return hosted and _only_reads(graph, node, chosen)

    prologue = _closure(rest, may_precede)
    device = tuple(node for node in rest if node not in prologue)
    _check_device(device, softmax, edges)
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
        reasons={**forced, **edges.reasons, **softmax.reasons},
        softmax=softmax,
        edges={node.name: edges.nodes[node.name] for node in device if node.name in edges.nodes},
    )


def _check_device(device: Iterable[Node], softmax: SoftmaxPlans, edges: EdgePlans) -> None:
    """Require that the device has no node which only the host computes."""
    for node in device:
        known = node.name in softmax.layers or node.name in edges.nodes
        if node.op in _HOST_ONLY and not known:
            reason = (softmax.reasons | edges.reasons).get(node.name)
            why = f" ({reason})" if reason else ""
            raise layer_error(
                node,
                f"{node.op} is computed by the host and must be at the network's edge{why}",
                "cut the network there and compile the parts",
            )


def _in_float(graph: Graph, node: Node) -> bool:
    """Whether a node moves floats, before they are quantized or after they are dequantized."""
    return node.op is Op.GATHER and graph.tensor(node.inputs[0]).dtype == "float32"


def _only_read_by(graph: Graph, node: Node, chosen: set[str]) -> bool:
    return all(c.name in chosen for name in node.outputs for c in graph.consumers(name))


def _only_reads(graph: Graph, node: Node, chosen: set[str]) -> bool:
    producers = [graph.producer(name) for name in node.inputs if graph.tensor(name).data is None]
    return all(p is None or p.name in chosen for p in producers)
