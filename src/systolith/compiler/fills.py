"""FILL commands: halos, the border of padded tensors, constants."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.ir import Storage, SymbolicCommand, View
from systolith.compiler.layout import Halo
from systolith.spec.commands import FILL_LOOPS, Opcode

__all__ = ["fill_border", "fill_constant", "fill_halo", "filled_bytes"]

_LONGEST = (1 << 16) - 1


def _fill(
    layer: str,
    base: tuple[Storage, int],
    value: int,
    length: int,
    *loops: tuple[int, int],
) -> list[SymbolicCommand]:
    """Runs of ``length`` bytes over up to three loops (count, stride), outermost first."""
    if length < 1 or any(count < 1 for count, _ in loops):
        return []
    if length > _LONGEST:
        half = length // 2
        rest = (base[0], base[1] + half)
        return [
            *_fill(layer, base, value, half, *loops),
            *_fill(layer, rest, value, length - half, *loops),
        ]
    values = {"value": value & 255, "length": length}
    kept = [(count, stride) for count, stride in loops if count > 1]
    for index, (count, stride) in enumerate(reversed(kept)):
        values |= {f"d{index}_count": count, f"d_d{index}_stride": stride}
    return [SymbolicCommand(opcode=Opcode.FILL, layer=layer, values=values, bases={"d_base": base})]


def fill_halo(layer: str, view: View, halo: Halo) -> list[SymbolicCommand]:
    """Fill all bytes of a root tensor's storage that are not its elements."""
    height, width, _ = view.shape
    # The left padding of a row lies just before it, whatever else lies between the rows.
    storage, gap = view.storage, view.row - width * view.pixel
    head = view.offset
    end = view.at(height - 1, width)
    tail = storage.size - end
    sides = _fill(layer, (storage, view.at(0, width)), halo.value, gap, (height - 1, view.row))
    if head and head == tail:
        return [*_fill(layer, (storage, 0), halo.value, head, (2, end)), *sides]
    return [
        *_fill(layer, (storage, 0), halo.value, head),
        *sides,
        *_fill(layer, (storage, end), halo.value, tail),
    ]


def fill_border(
    layer: str, view: View, origin: tuple[int, int, int], inner: tuple[int, int, int], value: int
) -> list[SymbolicCommand]:
    """Fill what the box ``inner`` at ``origin`` leaves of a tensor."""
    height, width, channels = view.shape
    (y, x, c), (h, w, d) = origin, inner

    def box(
        y0: int, x0: int, c0: int, rows: int, columns: int, depth: int
    ) -> list[SymbolicCommand]:
        base = (view.storage, view.at(y0, x0, c0))
        if depth == channels and view.pixel == channels:
            return _fill(layer, base, value, columns * depth, (rows, view.row))
        return _fill(layer, base, value, depth, (rows, view.row), (columns, view.pixel))

    return [
        *box(0, 0, 0, y, width, channels),
        *box(y + h, 0, 0, height - y - h, width, channels),
        *box(y, 0, 0, h, x, channels),
        *box(y, x + w, 0, h, width - x - w, channels),
        *box(y, x, 0, h, w, c),
        *box(y, x, c + d, h, w, channels - c - d),
    ]


def fill_constant(layer: str, view: View, data: NDArray[Any]) -> list[SymbolicCommand]:
    """Write a constant to a root tensor without halo: a command for each run of equal bytes."""
    codes = data.astype(np.int64).ravel() & 255
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = [*starts[1:].tolist(), codes.size]
    fills: list[SymbolicCommand] = []
    for start, end in zip(starts.tolist(), ends, strict=True):
        fills += _fill(layer, (view.storage, view.offset + start), int(codes[start]), end - start)
    return fills


def filled_bytes(storage: Storage, fills: Iterable[SymbolicCommand]) -> NDArray[np.uint8]:
    """What FILL commands leave in a storage."""
    image = np.zeros(storage.size, np.uint8)
    for fill in fills:
        v = fill.values
        starts = np.full(1, fill.bases["d_base"][1], np.int64)
        for name in FILL_LOOPS:
            steps = np.arange(v.get(f"{name}_count", 1)) * v.get(f"d_{name}_stride", 0)
            starts = (starts[:, None] + steps).reshape(-1)
        image[(starts[:, None] + np.arange(v["length"])).reshape(-1)] = v["value"]
    return image
