"""Which tensors live in external memory, and how many rows the tiles of a step have."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from systolith.compiler.ir import Storage
from systolith.compiler.layout import Layout
from systolith.compiler.steps import Step
from systolith.compiler.tiles import slab_of, source_rows
from systolith.graph import Op
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["SpillPlan", "operands", "plan_spills"]

_PIXELS = 256
"""Output pixels of a tile that keep the array busy between commands."""
_TILES = 4
"""Tiles of a step, so that loads and saves of most rows run beside the array."""


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
        self, layout: Layout, steps: Sequence[Step], inputs: Iterable[str], spec: AcceleratorSpec
    ) -> None:
        self.layout, self.steps, self.spec = layout, steps, spec
        self.lives: dict[int, _Live] = {}
        for name in inputs:
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
                whole = step.node.op is Op.RESHAPE
                yield max(
                    views[n].storage.size if whole else rows * views[n].row
                    for n in step.node.inputs
                )
            return
        target, source = views[step.target], views[step.source]
        middle = max(0, (target.shape[0] - rows) // 2)
        if self.external(step.target):
            yield rows * target.shape[1] * target.shape[2]
        if self.external(step.source):
            piece = source_rows(step, source.shape[0], middle, rows)
            yield slab_of(source, piece).size
        if step.addition is not None and self.external(step.addition.other):
            other = views[step.addition.other]
            if step.addition.other != step.source:
                yield (rows if other.shape[0] > 1 else 1) * other.row

    def height(self, step: Step) -> int:
        """Rows that can be cut into tiles."""
        if step.is_move:
            return max(self.layout.views[n].shape[0] for n in step.node.inputs)
        return self.layout.views[step.target].shape[0]

    def least_rows(self, step: Step) -> int:
        """Rows of a tile that is worth its commands."""
        width = max(1, self.layout.views[step.target].shape[1])
        return min(self.height(step), -(-_PIXELS // width))

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

    def run(self, budget: int, buffers: int) -> SpillPlan:
        """Move tensors out until every step fits, then make tiles as large as fits."""
        plan, region = self.plan, self.spec.memory.activation_bytes
        plan.external = {k for k, v in self.lives.items() if v.storage.size > region}
        while True:
            crowded = [
                (need, index)
                for index in range(len(self.steps))
                if (need := self._need(index, buffers)) > budget and self._residents(index)
            ]
            if not crowded:
                break
            here = self._residents(max(crowded)[1])
            plan.external.add(max((v.storage.size * (v.last - v.first + 1), k) for k, v in here)[1])
        for index, step in enumerate(self.steps):
            if any(self.external(n) for n in operands(step)):
                plan.rows[id(step)] = self._rows(index, budget, buffers)
        for index, step in enumerate(self.steps):
            need = self._need(index, buffers, least=True)
            if need > plan.need[0]:
                plan.need = need, step
        return plan

    def _need(self, index: int, buffers: int, *, least: bool = False) -> int:
        step = self.steps[index]
        rows = 1 if least else self.least_rows(step)
        return self.resident(index) + buffers * sum(self.slabs(step, rows))

    def _rows(self, index: int, budget: int, buffers: int) -> int:
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
        wanted = max(self.least_rows(step), -(-height // _TILES))
        most = min(most, wanted)
        return -(-height // -(-height // most))


def plan_spills(
    layout: Layout,
    steps: Sequence[Step],
    inputs: Iterable[str],
    spec: AcceleratorSpec,
    *,
    budget: int,
    buffers: int,
) -> SpillPlan:
    """Choose what lives in external memory so that all else fits a budget of bytes on chip.

    Parameters
    ----------
    layout, steps, inputs: the network.
    spec: size of a region, which a tensor on chip must fit.
    budget: bytes of all regions that may be used.
    buffers: copies of a tile's operands on chip: 2 to load and save beside the array, or 1.
    """
    return _Planner(layout, steps, inputs, spec).run(budget, buffers)
