"""Which tensors live in external memory, and into which tiles their steps are cut."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from systolith.compiler.ir import Storage
from systolith.compiler.layout import Layout
from systolith.compiler.packing import check_whole
from systolith.compiler.shapes import Shapes, operands
from systolith.compiler.steps import Step
from systolith.compiler.tile_shape import TileShape, packs
from systolith.graph import Graph
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["SpillPlan", "plan_spills"]

_PIXELS = 32
"""Output pixels of a tile at least: passes shorter than the array has rows are wasted."""
_CYCLES = 600
"""Cycles of a tile at least: its commands have to be fetched meanwhile."""
_WAIT = 400
"""Cycles that the first layer may wait for its whole input."""


@dataclass(kw_only=True)
class SpillPlan:
    """The result of `plan_spills`.

    Parameters
    ----------
    external: storages that live in external memory, by identity.
    shapes: of the tiles of every step that touches one, by the step's identity.
    cramped: numbers of the steps for which no tiles fit.
    """

    external: set[int] = field(default_factory=set)
    shapes: dict[int, TileShape] = field(default_factory=dict)
    cramped: set[int] = field(default_factory=set)


@dataclass(kw_only=True, slots=True)
class _Live:
    storage: Storage
    first: int
    last: int


class _Planner:
    def __init__(
        self,
        graph: Graph,
        layout: Layout,
        steps: Sequence[Step],
        inputs: Iterable[str],
        spec: AcceleratorSpec,
        shapes: Shapes,
    ) -> None:
        self.graph, self.layout, self.steps, self.spec = graph, layout, steps, spec
        self.shapes = shapes
        self.inputs = tuple(inputs)
        self.lives: dict[int, _Live] = {}
        for name in self.inputs:
            self._use(name, 0)
        for index, step in enumerate(steps):
            for name in operands(step):
                self._use(name, index)
        self.plan = SpillPlan()

    def _use(self, name: str, at: int) -> None:
        storage = self.layout.views[name].storage
        live = self.lives.setdefault(id(storage), _Live(storage=storage, first=at, last=at))
        live.last = at

    def external(self, name: str) -> bool:
        """Whether a tensor is planned to be in external memory."""
        return id(self.layout.views[name].storage) in self.plan.external

    def least_rows(self, step: Step) -> int:
        """Rows of a tile that is worth its commands."""
        height, width, _ = self.shapes.extent(step)
        a = step.node.attributes
        stride, overlap = 1, 0
        if "kernel" in a:
            stride, dilation = a["strides"][0], a.get("dilations", (1, 1))[0]
            overlap = int((a["kernel"][0] - 1) * dilation + 1 - stride)
        cycles = max(1.0, self.graph.macs(step.node) / self.spec.macs_per_cycle)
        rows = max(
            -(-_PIXELS // max(1, width)), -(-overlap // stride), ceil(_CYCLES * height / cycles)
        )
        return min(height, rows)

    def _residents(self, index: int) -> list[tuple[int, _Live]]:
        """Tensors on chip during a step, by identity."""
        return [
            (key, live)
            for key, live in self.lives.items()
            if key not in self.plan.external and live.first <= index <= live.last
        ]

    def resident(self, index: int) -> int:
        """Bytes of tensors on chip during a step."""
        return sum(live.storage.size for _, live in self._residents(index))

    def _slow_inputs(self) -> set[int]:
        """Inputs that take long to load and are read once: their reader can follow in tiles."""
        found = set()
        for name in self.inputs:
            storage = self.layout.views[name].storage
            readers = [s for s in self.steps if name in operands(s)]
            slow = storage.size > _WAIT * self.spec.external.data_bytes
            if slow and len(readers) == 1 and not readers[0].is_move:
                found.add(id(storage))
        return found

    def run(self, budgets: Sequence[float], buffers: int) -> SpillPlan:
        """Move tensors out until every step fits, then make tiles as large as fits."""
        plan, region = self.plan, self.spec.memory.activation_bytes
        plan.external = {k for k, v in self.lives.items() if v.storage.size > region}
        plan.external |= self._slow_inputs()
        while True:
            crowded = [
                (need, index)
                for index in range(len(self.steps))
                if (need := self._need(index, buffers)) > budgets[index] and self._residents(index)
            ]
            if not crowded:
                break
            here = self._residents(max(crowded)[1])
            plan.external.add(max((v.storage.size * (v.last - v.first + 1), k) for k, v in here)[1])
        for index, step in enumerate(self.steps):
            if any(self.external(n) for n in operands(step)):
                plan.shapes[id(step)] = self._shape(index, budgets[index], buffers)
        return plan

    def _touched(self, step: Step) -> bool:
        return any(self.external(n) for n in operands(step))

    def _need(self, index: int, buffers: int) -> int:
        """Bytes of a step in tiles of whole rows that are worth their commands."""
        step = self.steps[index]
        if not self._touched(step):
            return self.resident(index)
        check_whole(step)
        _, width, channels = self.shapes.extent(step)
        rows = min(self.least_rows(step), self.shapes.extent(step)[0])
        shape = TileShape(rows=rows, columns=width, channels=channels)
        slabs = self.shapes.choice(step, shape, self.external).slabs
        return self.resident(index) + buffers * sum(slabs)

    def _shape(self, index: int, budget: float, buffers: int) -> TileShape:
        """The cheapest tiles that fit; if none do, the smallest."""
        step, region = self.steps[index], self.spec.memory.activation_bytes
        room = budget - self.resident(index)

        def fits(slabs: Sequence[int]) -> bool:
            if budget and buffers * sum(slabs) > room:
                return False
            return packs([*slabs] * buffers, self.spec.memory.activation_regions, region)

        choices = self.shapes.choices(step, self.external)
        fitting = [c for c in choices if fits(c.slabs)]
        alone = buffers == 1
        if fitting:
            return min(fitting, key=lambda c: (c.cycles[alone], sum(c.slabs))).shape
        self.plan.cramped.add(index)
        return min(choices, key=lambda c: (max(c.slabs), sum(c.slabs), c.cycles[alone])).shape


def plan_spills(
    graph: Graph,
    layout: Layout,
    steps: Sequence[Step],
    inputs: Iterable[str],
    spec: AcceleratorSpec,
    *,
    budgets: Sequence[float],
    buffers: int,
    shapes: Shapes,
) -> SpillPlan:
    """Choose what lives in external memory so that every step fits its budget.

    Parameters
    ----------
    graph, layout, steps, inputs: the network.
    spec: size of a region, which a tensor on chip must fit.
    budgets: bytes of all regions that every step may use.
    buffers: copies of a tile's operands on chip: 2 to load and save beside the array, or 1.
    shapes: of tiles.
    """
    return _Planner(graph, layout, steps, inputs, spec, shapes).run(budgets, buffers)
