"""Where tensors live: all on chip if they fit, else some in external memory, in tiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf

from systolith.compiler.allocate import AllocationError, MemoryReport, allocate, live_ranges
from systolith.compiler.emission import Emitter
from systolith.compiler.emitted import Emission
from systolith.compiler.host import Partition
from systolith.compiler.ir import Pair
from systolith.compiler.lowering import Lowering
from systolith.compiler.shapes import Shapes
from systolith.compiler.spill import SpillPlan, plan_spills
from systolith.compiler.steps import Step
from systolith.graph import Op
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Placer"]

_LADDER = ((True, 2, 12), (False, 2, 8), (False, 1, 8))
"""Whether layers may have buffers besides their operands, copies of a tile's operands on chip (2 to
load and save beside the array), and how many plans are tried."""
_LESS = 0.88
"""What is left of a step's share of the memory when its storages find no place."""


Smallest = Callable[[AcceleratorSpec], None]


class Placer:
    """Emits a network for one plan after the other until its tensors have addresses.

    Parameters
    ----------
    low, steps, cut, lowerings, report: as of `Emitter`.
    smallest: requires of memories that they hold the smallest tiles.
    """

    def __init__(
        self,
        low: Lowering,
        steps: Sequence[Step],
        cut: Partition,
        lowerings: Mapping[Op, Callable[[Lowering, Step], list[Pair]]],
        report: Callable[[str], None],
        smallest: Smallest,
    ) -> None:
        self.low, self.steps, self.cut, self._smallest = low, steps, cut, smallest
        self._shapes = Shapes(low.graph, low.layout, low.spec)
        self._emitters = {
            scratch: Emitter(replace(low, scratch=scratch), steps, cut, lowerings, report)
            for scratch in (True, False)
        }

    def place(self) -> tuple[Emission, MemoryReport]:
        """Return the commands, and give every storage on chip its address.

        Raises
        ------
        CompileError: memories are too small for the smallest tiles.
        """
        spec = self.low.spec
        outside = bool(spec.external.data_bytes)
        if outside:
            self._smallest(spec)
        roomy = [inf] * len(self.steps)
        plan = self._plan(roomy, 2, spec) if outside else SpillPlan()
        try:
            return self._allocated(self._emitters[True].emit(plan, 2), spec)
        except AllocationError:
            if not outside:
                raise
        budgets = [float(spec.activation_total)] * len(self.steps)
        for scratch, buffers, tries in _LADDER:
            for _ in range(tries):
                plan = self._plan(budgets, buffers, spec)
                out = self._emitters[scratch].emit(plan, buffers)
                try:
                    return self._allocated(out, spec)
                except AllocationError as error:
                    crowded = out.steps_in(error.ranges)
                    for step in crowded:
                        budgets[step] *= _LESS
                    if crowded <= plan.cramped:
                        break
        return self._frugal(spec)

    def _plan(self, budgets: Sequence[float], buffers: int, spec: AcceleratorSpec) -> SpillPlan:
        return plan_spills(
            self.low.graph,
            self.low.layout,
            self.steps,
            self.cut.inputs,
            spec,
            budgets=budgets,
            buffers=buffers,
            shapes=self._shapes,
        )

    def _frugal(self, spec: AcceleratorSpec) -> tuple[Emission, MemoryReport]:
        """Everything in external memory, one tile at a time: the least that there is."""
        plan = self._plan([0.0] * len(self.steps), 1, spec)
        return self._allocated(self._emitters[False].emit(plan, 1), spec)

    def _allocated(self, out: Emission, spec: AcceleratorSpec) -> tuple[Emission, MemoryReport]:
        views = self.low.layout.views
        outside = bool(spec.external.data_bytes)
        lives = live_ranges(
            out.commands,
            [] if outside else [views[n].storage for n in self.cut.inputs],
            [] if outside else [views[n].storage for n in self.cut.outputs],
        )
        return out, allocate(lives, out.enemies, spec, rivals=out.rivals)
