"""Windows of convolutions and pools: output sizes and how many codes each window sees."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from systolith.importers.builder import output_size

__all__ = ["Window"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Geometry of a sliding window: pairs are (h, w), pads (top, bottom, left, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    def valid(self) -> bool:
        """Say whether all numbers are in their domain."""
        positive = (*self.kernel, *self.strides, *self.dilations)
        return min(positive) >= 1 and min(self.pads) >= 0 and max(*positive, *self.pads) < 1 << 15

    def attributes(self, **more: Any) -> dict[str, Any]:
        """Return the node's attributes."""
        return {
            "kernel": self.kernel,
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": self.pads,
            **more,
        }

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """Return the number of positions (h, w) over an input of that size."""
        sides = []
        for axis, size in enumerate((height, width)):
            pads = self.pads[2 * axis] + self.pads[2 * axis + 1]
            sides.append(
                output_size(size, self.kernel[axis], self.strides[axis], self.dilations[axis], pads)
            )
        return sides[0], sides[1]

    def counts(self, height: int, width: int) -> set[int]:
        """Return the numbers of valid (not padding) codes that windows see."""
        rows, columns = (self._along(axis, size) for axis, size in enumerate((height, width)))
        return {row * column for row in rows for column in columns}

    def _along(self, axis: int, size: int) -> set[int]:
        before = self.pads[2 * axis]
        number = self.positions(size, size)[axis]
        taps = np.arange(self.kernel[axis]) * self.dilations[axis]
        found = set()
        for position in range(number):
            places = taps + position * self.strides[axis] - before
            found.add(int(((places >= 0) & (places < size)).sum()))
        return found
