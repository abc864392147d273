"""What all random commands share: what is issued so far, and places that streams fit in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, Unit

__all__ = ["Issued", "Mask", "Placed", "Placing"]

Rng = np.random.Generator
Mask = NDArray[np.bool_]
Placed = tuple[int, NDArray[np.int64]]
"""A base, and the addresses of all vectors of a stream."""


@dataclass
class Issued:
    """A command in the making: where it reads and writes, and its words' fields."""

    opcode: Opcode
    fields: dict[str, int]
    reads: Mask
    writes: Mask

    @property
    def unit(self) -> Unit:
        """The unit that runs it."""
        unit = COMMANDS[self.opcode].unit
        assert unit is not None
        return unit


class Placing:
    """Commands issued one by one, and draws of places for their streams."""

    def __init__(self, rng: Rng, spec: AcceleratorSpec) -> None:
        self.rng, self.spec = rng, spec
        self.span = spec.region_stride * spec.memory.activation_regions
        self.issued: list[Issued] = []

    def small(self, high: int) -> int:
        """From 1 to ``high``, small values and 1 above all more often."""
        return int(min(self.rng.integers(1, high + 1), self.rng.integers(1, high + 1)))

    def _mask(self, starts: NDArray[np.int64], length: int) -> Mask:
        mask = np.zeros(self.span, bool)
        mask[(starts[..., None] + np.arange(length)).reshape(-1)] = True
        return mask

    def _stream(
        self, counts: list[int], strides: list[int], length: int, align: int = 1
    ) -> Placed | None:
        """A base in some region so that all vectors lie in it, at multiples of ``align``.

        Parameters
        ----------
        strides: multiples of ``align``.
        """
        offsets = np.zeros(1, np.int64)
        for count, stride in zip(counts, strides, strict=True):
            offsets = (offsets[:, None] + np.arange(count) * stride).reshape(-1)
        low, high = int(offsets.min()), int(offsets.max()) + length
        if high - low > self.spec.memory.activation_bytes:
            return None
        region = int(self.rng.integers(self.spec.memory.activation_regions))
        room = (self.spec.memory.activation_bytes - (high - low)) // align
        base = region * self.spec.region_stride - low + align * int(self.rng.integers(room + 1))
        return base, base + offsets
