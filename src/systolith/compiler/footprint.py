"""Which activation bytes a command reads and writes, exactly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.pairing import consumers
from systolith.compiler.used_weights import used_rows, used_weights
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import (
    COPY_LOOPS,
    FILL_LOOPS,
    MATMUL_LOOPS,
    SOFTMAX_LOOPS,
    STORE_LOOPS,
    Opcode,
)

__all__ = ["EMPTY", "Access", "Spans", "accesses", "joined", "shared_padding", "strided"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Spans:
    """A set of bytes as disjoint, ascending half-open intervals."""

    starts: Int64Array
    ends: Int64Array

    def overlaps(self, other: "Spans") -> bool:
        """Whether the two sets share a byte."""
        if not len(self.starts) or not len(other.starts):
            return False
        if self.starts[0] >= other.ends[-1] or other.starts[0] >= self.ends[-1]:
            return False
        index = np.searchsorted(other.ends, self.starts, side="right")
        inside = index < len(other.starts)
        return bool(np.any(other.starts[index[inside]] < self.ends[inside]))

    @property
    def size(self) -> int:
        """Number of bytes."""
        return int((self.ends - self.starts).sum())


EMPTY = Spans(np.zeros(0, np.int64), np.zeros(0, np.int64))


def _merge(starts: Int64Array, ends: Int64Array) -> Spans:
    """Join runs that overlap or touch."""
    if not len(starts):
        return EMPTY
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    first = np.flatnonzero(np.concatenate([[True], starts[1:] > reach[:-1]]))
    last = np.concatenate([first[1:] - 1, [len(starts) - 1]])
    return Spans(starts[first], reach[last])


def joined(a: Spans, b: Spans) -> Spans:
    """The bytes of either set."""
    return _merge(np.concatenate([a.starts, b.starts]), np.concatenate([a.ends, b.ends]))


def _offsets(loops: Sequence[tuple[int, int]]) -> Int64Array:
    """All sums of ``index * stride``, each once."""
    total = np.zeros(1, np.int64)
    for count, stride in loops:
        if count > 1 and stride:
            total = np.unique(total[:, None] + np.arange(count, dtype=np.int64) * stride)
    return total


def strided(base: int, loops: Sequence[tuple[int, int]], length: int) -> Spans:
    """The bytes of runs of ``length`` bytes over a loop nest of (count, stride)."""
    starts = _offsets(loops) + base
    return _merge(starts, starts + length)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Access:
    """What a command reads and writes in the activation memory."""

    reads: Spans = EMPTY
    writes: Spans = EMPTY

    def conflicts(self, other: "Access") -> bool:
        """Whether the order of the two matters."""
        return (
            self.writes.overlaps(other.reads)
            or self.reads.overlaps(other.writes)
            or self.writes.overlaps(other.writes)
        )


EMPTY_ACCESS = Access()


def _loops(values: Mapping[str, int], names: Sequence[str], stream: str) -> list[tuple[int, int]]:
    return [(values[f"{n}_count"], values[f"{stream}_{n}_stride"]) for n in names]


def _grid(loops: Sequence[tuple[int, int]]) -> Int64Array:
    """Offset of every iteration of a loop nest, in order."""
    total = np.zeros(1, np.int64)
    for count, stride in loops:
        total = (total[:, None] + np.arange(count, dtype=np.int64) * stride).ravel()
    return total


def _depthwise_spans(
    values: Mapping[str, int],
    store: Mapping[str, int],
    weights: NDArray[np.uint8],
    spec: AcceleratorSpec,
    pixels: Callable[[Int64Array], Int64Array],
) -> Spans:
    """The bytes that matter of pixels: ``pixels`` has their offsets, given the rows with weights.

    A weight matters if it is not zero and its column is stored.
    """
    t, n, ky, kx, kc, _, _ = _loops(values, MATMUL_LOOPS, "x")
    used, passes, tiles = used_weights(values, weights, spec), _grid([ky, kx, kc]), _grid([t])
    starts, ends = [], []
    for tile, number in np.ndindex(used.shape[:2]):
        width = min(store["channels"] - tile * store["tile_channels"], store["tile_channels"])
        some = used[tile, number, :, :width]
        columns = np.flatnonzero(some.any(axis=0))
        if len(columns):
            base = values["x_base"] + tile * n[1] + passes[number]
            part = (tiles[:, None] + pixels(np.flatnonzero(some.any(axis=1)))).ravel() + base
            starts.append(part + (columns[0] >> values["expand"]))
            ends.append(part + (columns[-1] >> values["expand"]) + 1)
    return _merge(np.concatenate(starts), np.concatenate(ends)) if starts else EMPTY


def _depthwise_reads(
    values: Mapping[str, int],
    store: Mapping[str, int],
    weights: NDArray[np.uint8],
    spec: AcceleratorSpec,
) -> Spans:
    """Bytes that meet a weight other than zero: in each pass, the taps that any channel has."""
    lines, taps = spec.array.depthwise_lines, spec.array.depthwise_taps
    ys = values["y_first"] - lines + 1 + np.arange(values["oy_count"]) * values["y_step"]
    xs = values["x_first"] - taps + 1 + np.arange(values["ox_count"]) * values["x_step"]

    def pixels(rows: Int64Array) -> Int64Array:
        y, x = ys + rows[:, None] // taps, xs + rows[:, None] % taps
        return np.unique(
            y[:, :, None] * values["x_my_stride"] + x[:, None, :] * values["x_mx_stride"]
        )

    return _depthwise_spans(values, store, weights, spec, pixels)


def shared_padding(
    values: Mapping[str, int],
    store: Mapping[str, int],
    weights: NDArray[np.uint8],
    spec: AcceleratorSpec,
) -> Spans:
    """Bytes that must be equal: starts of rows in which outputs of the row before end.

    The array may pause behind such an output and then repeats the last pixel that it got, so the
    pixels up to there must be alike. One pixel alone is always like itself.
    """
    lines, taps = spec.array.depthwise_lines, spec.array.depthwise_taps
    last = values["x_first"] + (values["ox_count"] - 1) * values["x_step"]
    shared = last + 1 - values["mx_count"]
    if shared < 2:
        return EMPTY
    ys = values["y_first"] - lines + 1 + np.arange(values["oy_count"]) * values["y_step"]

    def pixels(rows: Int64Array) -> Int64Array:
        own = ys + np.unique(rows // taps)[:, None]
        starts = np.unique(np.concatenate([own, own + 1])) * values["x_my_stride"]
        return (starts[:, None] + np.arange(shared) * values["x_mx_stride"]).ravel()

    return _depthwise_spans(values, store, weights, spec, pixels)


def _matmul_reads(
    values: Mapping[str, int],
    store: Mapping[str, int],
    weights: NDArray[np.uint8],
    spec: AcceleratorSpec,
) -> Spans:
    """Bytes that meet a weight other than zero; the others cannot change a result."""
    t, n, ky, kx, kc, my, mx = _loops(values, MATMUL_LOOPS, "x")
    pixels = _offsets([t, my, mx]) + values["x_base"]
    grid = np.arange(n[0])[:, None] * n[1] + _grid([ky, kx, kc])
    first, last = used_rows(values, store, weights, spec)
    starts, ends = [], []
    for low, high in {(int(a), int(b)) for a, b in zip(first.flat, last.flat, strict=True)}:
        if high > low:
            offsets = np.unique(grid[(first == low) & (last == high)])
            part = np.unique((pixels[:, None] + offsets).ravel())
            starts.append(part + low)
            ends.append(part + high)
    if not starts:
        return EMPTY
    return _merge(np.concatenate(starts), np.concatenate(ends))


def _store_spans(values: Mapping[str, int], stream: str) -> Spans:
    """Bytes of a STORE's stream; the last channel tile may be narrower."""
    t, n, my, mx = _loops(values, STORE_LOOPS, stream)
    full, width = values["channels"], values["tile_channels"]
    tiles, base = n[0], values[f"{stream}_base"]
    rest = full - (tiles - 1) * width
    if stream == "y" and values["packed"]:
        rest, width = -(-rest // 2), -(-width // 2)
    last = strided(base + (tiles - 1) * n[1], [t, my, mx], rest)
    if tiles == 1:
        return last
    others = strided(base, [t, (tiles - 1, n[1]), my, mx], width)
    return _merge(
        np.concatenate([others.starts, last.starts]), np.concatenate([others.ends, last.ends])
    )


_MOVES = {
    Opcode.COPY: (COPY_LOOPS, 1, 1),
    Opcode.SOFTMAX: (SOFTMAX_LOOPS, 1, 1),
    Opcode.QUANTIZE: (COPY_LOOPS, 4, 1),
    Opcode.DEQUANTIZE: (COPY_LOOPS, 1, 4),
}
"""Loops, and bytes of an element that is read and of one that is written."""


def accesses(
    commands: Sequence[tuple[Opcode, Mapping[str, int]]],
    weights: NDArray[np.uint8],
    spec: AcceleratorSpec,
) -> list[Access]:
    """Return the footprints of commands, given with all their fields, in program order.

    The STORE that consumes a MATMUL's tiles says which columns matter.
    """
    stores = consumers(commands)
    result = []
    for opcode, values in commands:
        if opcode is Opcode.MATMUL:
            find = _depthwise_reads if values["depthwise"] else _matmul_reads
            reads = find(values, next(stores), weights, spec)
            result.append(Access(reads=reads))
        elif opcode is Opcode.STORE:
            reads = _store_spans(values, "r") if values["residual"] else EMPTY
            result.append(Access(reads=reads, writes=_store_spans(values, "y")))
        elif opcode is Opcode.FILL:
            loops = _loops(values, FILL_LOOPS, "d")
            result.append(Access(writes=strided(values["d_base"], loops, values["length"])))
        elif opcode in _MOVES:
            names, *widths = _MOVES[opcode]
            reads, writes = (
                strided(values[f"{s}_base"], _loops(values, names, s), width * values["length"])
                for s, width in zip("sd", widths, strict=True)
            )
            result.append(Access(reads=reads, writes=writes))
        else:
            result.append(EMPTY_ACCESS)
    return result
