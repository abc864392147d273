"""Which tensors live in external memory, and how many rows the tiles of a step have."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, lcm

from systolith.arithmetic import MacArithmetic
from systolith.compiler.ir import Storage
from systolith.compiler.layout import Layout
from systolith.compiler.steps import Step
from systolith.compiler.tiles import slab_of, source_rows
from systolith.graph import Graph, Op
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["SpillPlan", "operands", "plan_spills"]

_PIXELS = 32
"""Output pixels of a tile at least: passes shorter than the array has rows are wasted."""
_CYCLES = 600
"""Cycles of a tile at least: its commands have to be fetched meanwhile."""
_TILES = 8
"""Tiles of a step, so that loads and saves of most rows run beside the array."""
_WINDOW_TILES = 4
"""Tiles of a step whose windows overlap: each reads rows again that its neighbours read."""
_WAIT = 400
"""Cycles that the first layer may wait for its whole input."""
_ROWS_AGAIN = 25
"""Rows of the input to a row that is read again, with which there may be more such tiles."""
_RELOADING = 0.7
"""Share of a step's cycles in which weights that do not stay on chip may be loaded."""


@dataclass(kw_only=True)
class SpillPlan:
    """The result of `plan_spills`.

    Parameters
    ----------
    external: storages that live in external memory, by identity.
    rows: output rows of a tile, for every step that touches one, by the step's identity.
    need: most bytes that the plan needs on chip at one time, and at which step.
    """

    external: set[int] = field(default_factory=set)
    rows: dict[int, int] = field(default_factory=dict)
    need: tuple[int, Step | None] = (0, None)


@dataclass(kw_only=True, slots=True)
class _Live:
    storage: Storage
    first: int
    last: int


def operands(step: Step) -> list[str]:
    """Tensors that a step reads and writes."""
    names = [step.target, step.source]
    if step.is_move:
        names += [n for n in step.node.inputs if n != step.source]
    if step.addition is not None:
        names.append(step.addition.other)
    return names


class _Planner:
    def __init__(
        self,
        graph: Graph,
        layout: Layout,
        steps: Sequence[Step],
        inputs: Iterable[str],
        spec: AcceleratorSpec,
    ) -> None:
        self.graph, self.layout, self.steps, self.spec = graph, layout, steps, spec
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

    def slabs(self, step: Step, rows: int) -> Iterator[int]:
        """Bytes of every slab of a tile of so many output rows."""
        views = self.layout.views
        if step.is_move:
            if any(self.external(n) for n in operands(step)):
                sizes = [rows * views[n].row for n in step.node.inputs]
                if step.node.op is Op.RESHAPE:
                    shapes = [views[n].shape for n in (step.source, step.target)]
                    unit = lcm(*(width * channels for _, width, channels in shapes))
                    sizes.append(unit)
                yield max(sizes)
            return
        target, source = views[step.target], views[step.source]
        middle = max(0, (target.shape[0] - rows) // 2)
        if self.external(step.target):
            yield rows * target.shape[1] * target.shape[2]
        if self.external(step.source):
            piece = source_rows(step, source.shape[0], middle, rows)
            yield slab_of(source, piece).room
        if step.addition is not None and self.external(step.addition.other):
            other = views[step.addition.other]
            if step.addition.other != step.source:
                yield (rows if other.shape[0] > 1 else 1) * other.row

    def height(self, step: Step) -> int:
        """Rows that can be cut into tiles."""
        if step.is_move:
            return max(self.layout.views[n].shape[0] for n in step.node.inputs)
        return self.layout.views[step.target].shape[0]

    def _overlap(self, step: Step) -> int:
        """Rows of the source that a tile shares with the one before."""
        if "kernel" not in step.node.attributes:
            return 0
        a = step.node.attributes
        return int((a["kernel"][0] - 1) * a.get("dilations", (1, 1))[0] + 1 - a["strides"][0])

    def _cycles(self, step: Step) -> float:
        """Cycles of a step on a full array."""
        return max(1.0, self.graph.macs(step.node) / self.spec.macs_per_cycle)

    def least_rows(self, step: Step) -> int:
        """Rows of a tile that is worth its commands."""
        height, width = self.height(step), max(1, self.layout.views[step.target].shape[1])
        stride = step.node.attributes.get("strides", (1, 1))[0]
        rows = max(
            -(-_PIXELS // width),
            -(-self._overlap(step) // stride),
            ceil(_CYCLES * height / self._cycles(step)),
        )
        return min(height, rows)

    def wanted_rows(self, step: Step) -> int:
        """Rows of a tile if there is room."""
        tiles, again = _TILES, self._overlap(step)
        if again > 0:
            stride = step.node.attributes["strides"][0]
            read = self.height(step) * stride
            tiles = min(_TILES, max(_WINDOW_TILES, read // (_ROWS_AGAIN * again)))
        arithmetic, external = step.node.arithmetic, self.spec.external
        if isinstance(arithmetic, MacArithmetic):
            size = arithmetic.weights.size
            if 2 * size > self.spec.memory.weight_bytes:
                free = _RELOADING * self._cycles(step) * external.data_bytes
                tiles = min(tiles, max(1, int(free / size)))
        return max(self.least_rows(step), -(-self.height(step) // tiles))

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
                plan.rows[id(step)] = self._rows(index, budgets[index], buffers)
        for index, step in enumerate(self.steps):
            need = self._need(index, buffers, least=True)
            if need > plan.need[0]:
                plan.need = need, step
        return plan

    def _need(self, index: int, buffers: int, *, least: bool = False) -> int:
        step = self.steps[index]
        rows = 1 if least else self.least_rows(step)
        return self.resident(index) + buffers * sum(self.slabs(step, rows))

    def _rows(self, index: int, budget: float, buffers: int) -> int:
        """Most rows that fit, evened out; not so many that nothing overlaps."""
        step = self.steps[index]
        height, room = self.height(step), budget - self.resident(index)
        region = self.spec.memory.activation_bytes

        def fits(rows: int) -> bool:
            slabs = list(self.slabs(step, rows))
            return buffers * sum(slabs) <= room and max(slabs, default=0) <= region

        most = 1
        for rows in range(height, 0, -1):
            if fits(rows):
                most = rows
                break
        most = min(most, self.wanted_rows(step))
        return -(-height // -(-height // most))


def plan_spills(
    graph: Graph,
    layout: Layout,
    steps: Sequence[Step],
    inputs: Iterable[str],
    spec: AcceleratorSpec,
    *,
    budgets: Sequence[float],
    buffers: int,
) -> SpillPlan:
    """Choose what lives in external memory so that every step fits its budget.

    Parameters
    ----------
    graph, layout, steps, inputs: the network.
    spec: size of a region, which a tensor on chip must fit.
    budgets: bytes of all regions that every step may use.
    buffers: copies of a tile's operands on chip: 2 to load and save beside the array, or 1.
    """
    return _Planner(graph, layout, steps, inputs, spec).run(budgets, buffers)
