"""How a convolution's window becomes array passes: the cheapest way to cut it into row vectors."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.precision import codes_a_byte, columns_at_once, nibble_bytes
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import Precision

__all__ = ["Kernel", "Reduction", "best_reduction", "line_reduction", "pack_tiles"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """A window on the input; a code is a byte, or half of one.

    Parameters
    ----------
    height, width: taps.
    row, pixel: codes between taps, dilation included.
    channels: consecutive codes of a tap that one channel tile reads.
    """

    height: int
    width: int
    row: int
    pixel: int
    channels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """Loops (ky, kx, kc) over row vectors, and where each tap's codes fall.

    Rows of ``group`` taps are read together: ``ky`` counts groups. With ``whole_rows`` a row's
    taps are one run of codes (kx is 1), otherwise kx counts taps.

    Parameters
    ----------
    kernel: the window.
    rows: codes of a row vector.
    codes: codes a byte.
    spare: codes behind them that the array reads, too, but never needs.
    """

    kernel: Kernel
    rows: int
    group: int
    whole_rows: bool
    codes: int = 1
    spare: int = 0

    @property
    def span(self) -> int:
        """Codes from the first to the last that one (ky, kx) covers."""
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
        strides = self.group * self.kernel.row, self.kernel.pixel, self.rows
        return strides[0] // self.codes, strides[1] // self.codes, strides[2] // self.codes

    @property
    def passes(self) -> int:
        """Array passes."""
        ky, kx, kc = self.counts
        return ky * kx * kc

    def positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pass number and array row of every (ky, kx, channel) code, [height, width, channels]."""
        k = self.kernel
        y, x, c = np.ogrid[: k.height, : k.width, : k.channels]
        _, taps, cuts = self.counts
        place = (y % self.group) * k.row + c + (x * k.pixel if self.whole_rows else 0)
        tap = 0 if self.whole_rows else x
        number = ((y // self.group) * taps + tap) * cuts + place // self.rows
        shape = (k.height, k.width, k.channels)
        return np.broadcast_to(number, shape), np.broadcast_to(place % self.rows, shape)


def _options(kernel: Kernel, rows: int, codes: int) -> Iterator[Reduction]:
    # Where padding is shared, a wide row of taps ends in the next one: a code has two weights.
    apart = kernel.row >= (kernel.width - 1) * kernel.pixel + kernel.channels
    for whole in (False, True):
        for group in range(1, kernel.height + 1 if apart or not whole else 2):
            option = Reduction(kernel=kernel, rows=rows, group=group, whole_rows=whole, codes=codes)
            if group > 1 and option.span > 4 * rows:
                break
            yield option


def best_reduction(kernel: Kernel, rows: int, precision: Precision = Precision.W8A8) -> Reduction:
    """Return the reduction with the fewest passes.

    Parameters
    ----------
    kernel: the window.
    rows: of the array.
    precision: of its elements.
    """
    codes = codes_a_byte(precision)
    return min(_options(kernel, rows * codes, codes), key=lambda r: (r.passes, r.group))


def line_reduction(kernel: Kernel, rows: int, line: int) -> Reduction | None:
    """Return the reduction with the fewest passes of vectors for two of four weights; may be None.

    These are two bytes a row, and begin with lines.

    Parameters
    ----------
    kernel: the window.
    rows: of the array.
    line: bytes of a line.
    """
    found = []
    cut = 2 * rows // line * line  # 0 where lines are made for more lanes than there are rows
    for option in _options(kernel, 2 * rows, 1):
        if option.counts[2] > 1 and not cut:
            continue
        if option.counts[2] > 1:
            option = replace(option, rows=cut, spare=2 * rows - cut)
        loops = zip(option.counts, option.strides, strict=True)
        if all(stride % line == 0 for count, stride in loops if count > 1):
            found.append(option)
    return min(found, key=lambda r: (r.passes, r.group), default=None)


def pack_tiles(
    reduction: Reduction,
    blocks: NDArray[np.int64],
    fill: int,
    spec: AcceleratorSpec,
    precision: Precision = Precision.W8A8,
) -> NDArray[np.int64]:
    """Scatter weights into tiles [n, pass, rows, columns]; unused places hold ``fill``.

    A tile's elements are bytes, of one code or of two as the precision has them.

    Parameters
    ----------
    reduction: the loops.
    blocks: codes [n, tile channels, kh, kw, channels of a tap].
    fill: the code that multiplies by zero.
    spec: gives the tile's shape.
    precision: of the elements.
    """
    tiles, width = blocks.shape[:2]
    depth, columns = reduction.rows + reduction.spare, columns_at_once(spec.array, precision)
    shape = (tiles, reduction.passes, depth, columns)
    packed = np.full(shape, fill, np.int64)
    number, row = reduction.positions()
    packed[:, number, row, :width] = np.moveaxis(blocks, 1, -1)
    return nibble_bytes(packed, precision)
