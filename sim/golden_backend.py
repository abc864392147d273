"""The golden model as a backend: the definition itself, without a clock."""

import time
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.golden.execute import execute
from systolith.sim.backend import Progress, Result
from systolith.spec.program import Program

__all__ = ["GoldenBackend"]


class GoldenBackend:
    """Numpy execution of the same bytes; no cycles, no counters."""

    name = "golden"

    def run(
        self,
        program: Program,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        capture: Collection[str] = (),
        progress: Progress | None = None,
    ) -> Result:
        """Run ``program`` once; see `Backend.run`."""
        start = time.perf_counter()
        tensors = execute(program, inputs, capture=capture, progress=progress)
        return Result(tensors=tensors, seconds=time.perf_counter() - start)
