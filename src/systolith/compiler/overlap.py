"""Cutting layers in two by rows, so that one layer's last rows drain while the next one starts.

A layer's results leave the array well before post-processing has stored them. If the first part of
the next layer reads only rows that the first part of this one wrote, it waits for nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from systolith.compiler.layout import Layout
from systolith.compiler.steps import Step
from systolith.compiler.tiling import Load, Region, cut_region
from systolith.graph import Graph, Op

__all__ = ["RowSplitter", "WholeRows"]

_LATENCY = 48
"""Cycles from a tile's last pass to its last byte in memory, besides one per lane vector."""
_EXTRA = 48
"""Cycles of array and command time that a cut may cost."""

_CUT = frozenset({Op.CONV2D, Op.ADD, Op.SUB, Op.MUL, Op.LUT})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Cycles of a number of rows, and how long the last tile takes to be stored."""

    cycles: int
    tail: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Before:
    """The step just lowered: its target, rows of its first part (0: one part), and its tail."""

    target: str
    early: int
    tail: int


class RowSplitter:
    """Decides, in execution order, at which row each step is cut.

    Parameters
    ----------
    graph, layout: shapes, and which tensors share bytes.
    steps: all steps in order.
    """

    def __init__(self, graph: Graph, layout: Layout, steps: Sequence[Step]) -> None:
        self.graph, self.layout = graph, layout
        self._next = {id(a): b for a, b in zip(steps, steps[1:], strict=False)}
        self._before: _Before | None = None

    def after(self, step: Step) -> Step | None:
        """The next step."""
        return self._next.get(id(step))

    def finished(self, step: Step) -> None:
        """Forget the step before, unless it was this one."""
        if self._before is not None and self._before.target != step.target:
            self._before = None

    def reads_rows(self, step: Step) -> bool:
        """Whether the next step could start on the first rows of this one's result."""
        after = self._next.get(id(step))
        return after is not None and self._reads(after, step.target)

    def stored_early(self, step: Step, rows: int, tail: int) -> None:
        """Note that a step's first rows are stored ``tail`` cycles before it is done, or sooner."""
        self._before = _Before(target=step.target, early=rows, tail=tail)

    def regions(
        self, step: Step, whole: Region, load: Load, *, linear: bool, ahead: bool
    ) -> list[Region]:
        """The step's output, ``whole``, as one region or cut in two.

        Parameters
        ----------
        linear: whether it is one line of pixels.
        ahead: whether to cut for the next step, too, if that is useful.
        """
        height, width = whole.height, whole.width

        def plan(rows: int) -> _Plan:
            region = Region(y=0, x=0, height=rows, width=width)
            tiles = cut_region(region, load, linear=linear)
            last = tiles[-1].height * tiles[-1].width
            return _Plan(
                cycles=sum(t.count * load.cycles(t.height * t.width) for t in tiles),
                tail=last * load.beats + _LATENCY,
            )

        ahead = ahead and self.reads_rows(step)
        after_cut = self._before is not None and self._before.early > 0
        early = self._early(step, height, plan, ahead) if ahead or after_cut else 0
        self._before = _Before(target=step.target, early=early, tail=plan(height - early).tail)
        if not early:
            return [whole]
        return [
            Region(y=0, x=0, height=early, width=width),
            Region(y=early, x=0, height=height - early, width=width),
        ]

    def _reads(self, step: Step, tensor: str) -> bool:
        tall = self.graph.tensor(step.target).shape[0] > 1
        other = step.addition.other if step.addition else None
        return step.node.op in _CUT and tall and tensor in (step.source, other)

    def _early(self, step: Step, height: int, plan: Callable[[int], _Plan], ahead: bool) -> int:
        """Rows of the first part, 0 for no cut."""
        whole = plan(height).cycles
        limit = self._limit(step, height)
        if 0 < limit < height and self._before is not None:
            cover = self._before.tail
            for rows in range(limit, 0, -1):
                first, rest = plan(rows), plan(height - rows)
                cheap = first.cycles + rest.cycles - whole <= _EXTRA
                if cheap and first.cycles >= cover and rest.cycles >= first.tail:
                    return rows
        for rows in range(height - 1, 0, -1) if ahead else ():
            first, rest = plan(rows), plan(height - rows)
            if first.cycles + rest.cycles - whole <= _EXTRA and rest.cycles >= first.tail:
                return rows
        return 0

    def _limit(self, step: Step, height: int) -> int:
        """Most rows that depend only on the first part of the step before; height if on none."""
        before = self._before
        if before is None:
            return height
        reads = [step.source] + ([step.addition.other] if step.addition else [])
        storage = self.layout.views[before.target].storage
        limit = height
        for name in reads:
            if self.layout.views[name].storage is not storage:
                continue
            if name != before.target or not before.early:
                return 0
            limit = min(limit, self._rows_from(step, name, before.early))
            if step.addition is not None and name == step.addition.other:
                limit = min(limit, self._same_rows(step, name, before.early))
        return limit

    def _same_rows(self, step: Step, name: str, early: int) -> int:
        """Output rows that need only the first ``early`` rows of an operand of their shape."""
        same = self.graph.tensor(name).shape[0] == self.graph.tensor(step.target).shape[0]
        return early if same else 0

    def _rows_from(self, step: Step, name: str, early: int) -> int:
        """Output rows that need only the first ``early`` rows of the array's operand."""
        if name != step.source:
            return self.graph.tensor(step.target).shape[0]
        if step.node.op is not Op.CONV2D:
            return self._same_rows(step, name, early)
        a, rows = step.node.attributes, self.graph.tensor(step.target).shape[0]
        free = early + a["pads"][0] - (a["kernel"][0] - 1) * a["dilations"][0] - 1
        return min(rows, free // a["strides"][0] + 1) if free >= 0 else 0


class WholeRows:
    """A splitter that cuts nothing."""

    def after(self, step: Step) -> Step | None:
        """No step that could start early."""
        return None

    def reads_rows(self, step: Step) -> bool:
        """No."""
        return False

    def stored_early(self, step: Step, rows: int, tail: int) -> None:
        """Nothing to remember."""

    def regions(
        self, step: Step, whole: Region, load: Load, *, linear: bool, ahead: bool
    ) -> list[Region]:
        """The step's output, ``whole``, as one region."""
        return [whole]

    def finished(self, step: Step) -> None:
        """Nothing to remember."""
