"""How a convolution's window becomes array passes: the cheapest way to cut it into row vectors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["Kernel", "Reduction", "best_reduction", "pack_tiles"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """A window on the input.

    Parameters
    ----------
    height, width: taps.
    row, pixel: bytes between taps, dilation included.
    channels: consecutive bytes of a tap that one channel tile reads.
    """

    height: int
    width: int
    row: int
    pixel: int
    channels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """Loops (ky, kx, kc) over row vectors, and where each tap's bytes fall.

    Rows of ``group`` taps are read together: ``ky`` counts groups. With ``whole_rows`` a row's
    taps are one run of bytes (kx is 1), otherwise kx counts taps.
    """

    kernel: Kernel
    rows: int
    group: int
    whole_rows: bool

    @property
    def span(self) -> int:
        """Bytes from the first to the last that one (ky, kx) covers."""
        k = self.kernel
        width = (k.width - 1) * k.pixel if self.whole_rows else 0
        return (self.group - 1) * k.row + width + k.channels

    @property
    def counts(self) -> tuple[int, int, int]:
        """Iterations of ky, kx, kc."""
        k = self.kernel
        taps = 1 if self.whole_rows else k.width
        return -(-k.height // self.group), taps, -(-self.span // self.rows)

    @property
    def strides(self) -> tuple[int, int, int]:
        """Byte strides of ky, kx, kc."""
        return self.group * self.kernel.row, self.kernel.pixel, self.rows

    @property
    def passes(self) -> int:
        """Array passes."""
        ky, kx, kc = self.counts
        return ky * kx * kc

    def positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pass number and array row of every (ky, kx, channel) byte, [height, width, channels]."""
        k = self.kernel
        y, x, c = np.ogrid[: k.height, : k.width, : k.channels]
        _, taps, cuts = self.counts
        byte = (y % self.group) * k.row + c + (x * k.pixel if self.whole_rows else 0)
        tap = 0 if self.whole_rows else x
        number = ((y // self.group) * taps + tap) * cuts + byte // self.rows
        shape = (k.height, k.width, k.channels)
        return np.broadcast_to(number, shape), np.broadcast_to(byte % self.rows, shape)


def _options(kernel: Kernel, rows: int) -> Iterator[Reduction]:
    # Where padding is shared, a wide row of taps ends in the next one: a byte has two weights.
    apart = kernel.row >= (kernel.width - 1) * kernel.pixel + kernel.channels
    for whole in (False, True):
        for group in range(1, kernel.height + 1 if apart or not whole else 2):
            option = Reduction(kernel=kernel, rows=rows, group=group, whole_rows=whole)
            if group > 1 and option.span > 4 * rows:
                break
            yield option


def best_reduction(kernel: Kernel, rows: int) -> Reduction:
    """Return the reduction with the fewest passes."""
    return min(_options(kernel, rows), key=lambda r: (r.passes, r.group))


def pack_tiles(
    reduction: Reduction, blocks: NDArray[np.int64], fill: int, spec: AcceleratorSpec
) -> NDArray[np.int64]:
    """Scatter weights into tiles [n, pass, rows, columns]; unused places hold ``fill``.

    Parameters
    ----------
    reduction: the loops.
    blocks: codes [n, tile channels, kh, kw, channels of a tap].
    fill: the code that multiplies by zero.
    spec: gives the tile's shape.
    """
    tiles, width = blocks.shape[:2]
    shape = (tiles, reduction.passes, spec.array.rows, spec.array.columns)
    packed = np.full(shape, fill, np.int64)
    number, row = reduction.positions()
    packed[:, number, row, :width] = np.moveaxis(blocks, 1, -1)
    return packed
