"""Where tensors live: all on chip if they fit, else some in external memory, in row tiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf

from systolith.compiler.allocate import AllocationError, MemoryReport, allocate, live_ranges
from systolith.compiler.emission import Emission, Emitter
from systolith.compiler.host import Partition
from systolith.compiler.ir import Pair
from systolith.compiler.lowering import Lowering
from systolith.compiler.spill import SpillPlan, plan_spills
from systolith.compiler.steps import Step
from systolith.errors import CompileError
from systolith.graph import Op
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Placer"]

_LARGEST = 1 << 21
"""Bytes of a region at most, as of `MemorySpec`."""


_LADDER = ((True, 2, 12), (False, 2, 8), (False, 1, 8))
"""Whether layers may have buffers besides their operands, copies of a tile's operands on chip (2 to
load and save beside the array), and how many plans are tried."""
_LESS = 0.88
"""What is left of a step's share of the memory when its storages find no place."""


class Placer:
    """Emits a network for one plan after the other until its tensors have addresses.

    Parameters
    ----------
    low, steps, cut, lowerings, report: as of `Emitter`.
    """

    def __init__(
        self,
        low: Lowering,
        steps: Sequence[Step],
        cut: Partition,
        lowerings: Mapping[Op, Callable[[Lowering, Step], list[Pair]]],
        report: Callable[[str], None],
    ) -> None:
        self.low, self.steps, self.cut = low, steps, cut
        self._emitters = {
            scratch: Emitter(replace(low, scratch=scratch), steps, cut, lowerings, report)
            for scratch in (True, False)
        }

    def place(self) -> tuple[Emission, MemoryReport]:
        """Return the commands, and give every storage on chip its address.

        Raises
        ------
        CompileError: no plan fits.
        """
        spec = self.low.spec
        outside = bool(spec.external.data_bytes)
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
                    for step in out.steps_in(error.ranges):
                        budgets[step] *= _LESS
        try:
            return self._frugal(spec)
        except AllocationError:
            raise self._too_small() from None

    def _plan(self, budgets: Sequence[float], buffers: int, spec: AcceleratorSpec) -> SpillPlan:
        return plan_spills(
            self.low.graph,
            self.low.layout,
            self.steps,
            self.cut.inputs,
            spec,
            budgets=budgets,
            buffers=buffers,
        )

    def _frugal(self, spec: AcceleratorSpec) -> tuple[Emission, MemoryReport]:
        """Everything in external memory, one row at a time: the least that there is."""
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

    def _too_small(self) -> CompileError:
        """Name the worst layer, and the smallest memory that would do."""
        memory = self.low.spec.memory
        need, step = self._plan([0.0] * len(self.steps), 1, self.low.spec).need
        name = step.node.name if step is not None else ""
        return CompileError(
            f"layer {name!r}: activation memory needs {need} bytes for tiles of one row, the "
            f"specification has {memory.activation_regions} regions of {memory.activation_bytes}: "
            f"raise memory.activation_bytes to at least {self._least()}"
        )

    def _least(self) -> int:
        """Bytes of a region with which the most frugal plan fits."""
        unit = 2 * self.low.spec.line_bytes
        low = self.low.spec.memory.activation_bytes // unit
        high = 2 * low
        while not self._fits(high * unit) and high * unit < _LARGEST:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits(middle * unit) else (middle, high)
        return high * unit

    def _fits(self, region: int) -> bool:
        spec = self.low.spec
        memory = replace(spec.memory, activation_bytes=min(region, _LARGEST))
        try:
            self._frugal(replace(spec, memory=memory))
        except AllocationError:
            return False
        return True
