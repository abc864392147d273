"""The smallest requantizer that is exact for a network: modes and widths, proven layer by layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from systolith.arithmetic import MacArithmetic, PoolArithmetic
from systolith.compiler.constant_operands import fold_constants
from systolith.compiler.errors import layer_error
from systolith.compiler.fit_fixed import Needs
from systolith.compiler.host import partition
from systolith.compiler.mac import mac_problem
from systolith.compiler.needs import FITTED, problem_needs
from systolith.compiler.problem import Problem, Proof
from systolith.compiler.requantize import average_problems, direct_mode, find_requantizer
from systolith.errors import CompileError
from systolith.graph import Graph, Node
from systolith.spec.accelerator import PostSpec
from systolith.spec.requant import FULL_WIDTHS, RequantMode

__all__ = ["LayerFit", "NetworkFit", "fit_network"]

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps finished, steps in all)."""
Int64Array = NDArray[np.int64]

_LEAST = 16
"""The least width of the specification's fields."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerFit:
    """A layer, or a way its windows are clipped, and what its requantizer needs.

    Parameters
    ----------
    node: the layer.
    formula: name of the runtime's formula.
    channels: output channels; pools have one, as all are alike.
    direct: the mode that is the formula itself, or None.
    needs: least widths of each channel for the modes of `FITTED`.
    problems: what must be computed, any of it.
    proof: what the chosen mode was proven to be; None where no width will do.
    """

    node: Node
    formula: str
    channels: int
    direct: RequantMode | None
    needs: Mapping[RequantMode, Needs]
    problems: Sequence[Problem]
    proof: Proof | None = None

    def provable(self, mode: RequantMode, bits: int) -> int:
        """Channels that a mode equals with a multiplier of that many bits."""
        if mode not in FITTED:
            fits = mode is self.direct and bits >= FULL_WIDTHS.least(mode)[0]
            return self.channels if fits else 0
        needed = self.needs[mode].multiplier
        return int(((needed > 0) & (needed <= bits)).sum())

    def least(self, mode: RequantMode) -> tuple[int, int] | None:
        """Return the least multiplier and accumulator width for all channels, or None."""
        if mode in FITTED:
            need = self.needs[mode]
            if not need.multiplier.all():
                return None
            return int(need.multiplier.max()), int(need.accumulator.max())
        return FULL_WIDTHS.least(mode) if mode is self.direct else None


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkFit:
    """The result: every layer, and the smallest requantizer exact for all of them.

    Parameters
    ----------
    layers: in execution order.
    post: the specification that was given, with the modes and widths found.
    skipped: layers that the host computes or that cannot be exact, with the reason.
    """

    layers: tuple[LayerFit, ...]
    post: PostSpec
    skipped: Mapping[str, str]

    @property
    def channels(self) -> int:
        """Channels of all layers."""
        return sum(layer.channels for layer in self.layers)

    def provable(self, mode: RequantMode, bits: int) -> int:
        """Channels of all layers that a mode equals with a multiplier of that many bits."""
        return sum(layer.provable(mode, bits) for layer in self.layers)

    def anyhow(self, bits: int) -> int:
        """Channels that FIXED or MAGNITUDE equals."""
        return sum(_either(layer, bits) for layer in self.layers)


def _either(layer: LayerFit, bits: int) -> int:
    fine = [(n.multiplier > 0) & (n.multiplier <= bits) for n in layer.needs.values()]
    return int(np.logical_or.reduce(fine).sum())


def _layers(
    graph: Graph, hosted: Mapping[str, str], skipped: dict[str, str]
) -> Iterator[tuple[Node, Sequence[Problem]]]:
    """Yield every requantizer of the network: of layers with weights, and of averages."""
    for node in graph:
        arithmetic = node.arithmetic
        if not isinstance(arithmetic, MacArithmetic | PoolArithmetic):
            continue
        if node.name in hosted:
            skipped[node.name] = hosted[node.name]
        elif isinstance(arithmetic, MacArithmetic):
            yield node, [mac_problem(graph, node)]
        else:
            try:
                for count in sorted(arithmetic.requants):
                    yield node, average_problems(node, arithmetic, count, 1)[0]
            except CompileError as error:
                skipped[node.name] = str(error)


def _needs(problems: Sequence[Problem], mode: RequantMode) -> Needs:
    """Return the needs of whichever problem a mode computes in the fewest bits."""
    found = [problem_needs(problem, mode) for problem in problems]
    return min(found, key=lambda n: (not n.multiplier.all(), int(n.multiplier.max(initial=0))))


def fit_network(
    graph: Graph, post: PostSpec, *, softmax_tables: int = 0, progress: Progress | None = None
) -> NetworkFit:
    """Find the modes and widths of the smallest requantizer that is exact for a network.

    Parameters
    ----------
    graph: the network.
    post: what else the lanes have.
    softmax_tables: of the accelerator, which decide whether a softmax ends the network there.
    progress: told what is being done.

    Raises
    ------
    CompileError: a layer has a formula that no mode of any width equals.
    """
    report = progress or (lambda stage, done, total: None)
    graph = fold_constants(graph)
    cut = partition(graph, softmax_tables)
    edges = {n.name: cut.reasons.get(n.name, "host") for n in (*cut.prologue, *cut.epilogue)}
    skipped: dict[str, str] = {}
    found = list(_layers(graph, edges, skipped))
    layers = []
    for index, (node, problems) in enumerate(found):
        report(f"fitting {node.name} ({index + 1} of {len(found)})", index, 2 * len(found))
        layers.append(
            LayerFit(
                node=node,
                formula=problems[0].requant.formula,
                channels=len(problems[0].bias),
                direct=direct_mode(problems[0]),
                needs={mode: _needs(problems, mode) for mode in FITTED},
                problems=problems,
            )
        )
    chosen = _smallest(layers, post)
    proven = []
    for index, layer in enumerate(layers):
        report(f"proving {layer.node.name}", len(layers) + index, 2 * len(layers))
        results = (find_requantizer(problem, chosen) for problem in layer.problems)
        proof = next((r.proof for r in results if r is not None), None)
        proven.append(replace(layer, proof=proof))
    return NetworkFit(layers=tuple(proven), post=chosen, skipped=skipped)


def _smallest(layers: Sequence[LayerFit], post: PostSpec) -> PostSpec:
    """Return ``post`` with the cheapest modes and widths that serve every layer."""
    sets = [frozenset(c) for n in range(1, 5) for c in combinations(RequantMode, n)]
    choices = [(modes, _widths(layers, modes)) for modes in sets]
    able = [(_cost(modes, *widths), modes, widths) for modes, widths in choices if widths]
    if not able:
        stuck = next(layer for layer in layers if not any(map(layer.least, RequantMode)))
        channel = int(np.argmin(stuck.needs[RequantMode.MAGNITUDE].multiplier > 0))
        raise layer_error(
            stuck.node,
            f"formula {stuck.formula!r} equals no mode of any width on channel {channel}",
            "use another profile, or give the layer other scales",
        )
    _, modes, (multiplier, accumulator) = min(able, key=lambda choice: choice[0])
    return replace(post, modes=modes, multiplier_bits=multiplier, accumulator_bits=accumulator)


def _widths(layers: Sequence[LayerFit], modes: frozenset[RequantMode]) -> tuple[int, int] | None:
    """Return the widths that modes need to serve every layer, or None if they cannot."""
    pairs = [(_LEAST, _LEAST), *(FULL_WIDTHS.least(mode) for mode in modes)]
    for layer in layers:
        ways = [way for mode in modes if (way := layer.least(mode))]
        if not ways:
            return None
        pairs.append(min(ways))
    multiplier, accumulator = (max(sides) for sides in zip(*pairs, strict=True))
    return multiplier, accumulator


def _cost(modes: frozenset[RequantMode], multiplier: int, accumulator: int) -> tuple[int, int, int]:
    """Order requantizers by size, smallest first, as synthesis measures them."""
    floating = len(modes & {RequantMode.FLOAT32, RequantMode.DOUBLE})
    return floating, multiplier + accumulator, len(modes)
