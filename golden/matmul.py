"""MATMUL: activation vectors through weight tiles, in every precision of the array.

Sums of products go through float64 matrix products, numpy's fast exact integer product: products of
9-bit integers and their sums stay far below 2**53, so nothing is ever rounded.
"""

import numpy as np
from numpy.typing import NDArray

from systolith.golden.depthwise import check_depthwise, depthwise_sums
from systolith.golden.memory import Activations, Chip, Results
from systolith.golden.nests import counts, offsets
from systolith.golden.rounding import Int64Array, wrap
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import MATMUL_LOOPS, Command
from systolith.spec.precision import Precision, WeightFormat, nibble_zeros
from systolith.spec.program import ProgramError

__all__ = ["matmul"]

_CHUNK = 1 << 21
"""Activations gathered at a time, so that large layers do not need large memory."""


def matmul(chip: Chip, results: Results, command: Command) -> None:
    """Stream activation vectors through weight tiles; append t * n * my * mx result vectors.

    A partial one keeps its sums for the next, which accumulates.

    Raises
    ------
    ProgramError: the accelerator lacks what it needs, or its fields do not agree.
    """
    t, n, ky, kx, kc, my, mx = counts(command, MATMUL_LOOPS)
    _check(chip.spec, command)
    tiles = chip.weight_tiles(command)
    tiles = _unfolded(tiles, Precision(command["precision"]))
    depth, channels = tiles.shape[1:]
    tiles = np.broadcast_to(
        tiles.reshape(1, 1, depth, channels)
        if command["w_hold"]
        else tiles.reshape(n, -1, depth, channels),
        (n, ky * kx * kc, depth, channels),
    )
    if command["depthwise"]:
        _depthwise(chip, results, command, tiles)
        return
    vectors = command["x_base"] + offsets(command, "x", ("t", "my", "mx")).reshape(-1)
    depths = offsets(command, "x", ("ky", "kx", "kc")).reshape(-1)
    sums = np.empty((t * my * mx, n, channels), np.int64)
    # Channel tiles which read the same activations are one wider product.
    together = command["x_n_stride"] == 0 or n == 1
    for first in range(0, n, n if together else 1):
        part = slice(first, n if together else first + 1)
        start = vectors + first * command["x_n_stride"]
        sums[:, part] = _products(chip, command, start, depths, tiles[part])
    ordered = wrap(sums, 32).reshape(t, my * mx, n, channels).swapaxes(1, 2)
    results.finish(command, ordered.reshape(-1, channels))


def _check(spec: AcceleratorSpec, command: Command) -> None:
    """Require a precision that is built in, and tiles that the accumulators hold."""
    t, n, ky, kx, kc, my, mx = counts(command, MATMUL_LOOPS)
    if command["precision"] not in spec.array.precisions:
        names = ", ".join(p.name for p in sorted(spec.array.precisions))
        raise ProgramError(
            f"precision must be one of {names} on this accelerator, not {command['precision']}"
        )
    if command["w_format"] == WeightFormat.TWO_OF_FOUR:
        fault = spec.sparse_fault(command.values)
        if fault:
            raise ProgramError(fault)
    zeros = nibble_zeros(command["w_signed"])
    if command["precision"] != Precision.W8A8 and command["w_zero"] not in zeros:
        raise ProgramError(
            f"w_zero of nibbles must be {zeros[0]} to {zeros[-1]}, not {command['w_zero']}"
        )
    if command["depthwise"]:
        if command["precision"] != Precision.W8A8:
            raise ProgramError("precision must be W8A8 if depthwise is 1")
        check_depthwise(spec, command)
        my, mx = command["oy_count"], command["ox_count"]
    # A tile of one depthwise pass only streams through: a row of it must fit.
    chained = command["accumulate"] or command["partial"]
    streams = command["depthwise"] and ky * kx * kc == 1 and not chained
    tile = mx if streams else my * mx
    if chained and t * n > 1:
        raise ProgramError(f"partial sums must be of one tile, not {t * n}")
    if tile > spec.memory.accumulator_depth:
        raise ProgramError(
            f"tile must have at most {spec.memory.accumulator_depth} vectors, not {tile}"
        )


def _unfolded(tiles: NDArray[np.float64], precision: Precision) -> NDArray[np.float64]:
    """Tiles as rows of activations by channels, from [..., rows, columns] or that by nibbles."""
    if precision is Precision.W4A8:  # the nibbles are columns: all low ones, then all high ones
        return np.concatenate([tiles[..., 0], tiles[..., 1]], axis=-1)
    if precision is Precision.W4A4:  # the nibbles are rows: both of a byte side by side
        count, rows, columns, _ = tiles.shape
        return tiles.swapaxes(-1, -2).reshape(count, 2 * rows, columns)
    return tiles


def _read(
    memory: Activations, spec: AcceleratorSpec, command: Command, addresses: Int64Array
) -> NDArray[np.float64]:
    """Activation vectors, one more axis: `rows` codes, twice as many with W4A4 or TWO_OF_FOUR."""
    rows, signed = spec.array.rows, bool(command["x_signed"])
    if command["precision"] != Precision.W4A4:
        count = 2 * rows if command["w_format"] == WeightFormat.TWO_OF_FOUR else rows
        return memory.read(addresses, count, port=count, signed=signed).astype(np.float64)
    codes = memory.read(addresses, rows, port=rows, signed=False).astype(np.int64)
    nibbles = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*addresses.shape, 2 * rows)
    return (wrap(nibbles, 4) if signed else nibbles).astype(np.float64)


def _depthwise(chip: Chip, results: Results, command: Command, tiles: NDArray[np.float64]) -> None:
    """Filter every channel by itself: a weight tile is a pass, over a stream of its own."""
    tile_bases = command["x_base"] + offsets(command, "x", ("t",))
    depths = offsets(command, "x", ("ky", "kx", "kc")).reshape(-1)
    for base in tile_bases.tolist():
        for n, passes in enumerate(tiles):
            start = base + n * command["x_n_stride"]
            sums = [
                depthwise_sums(chip.spec, chip.activations, command, start + k, w)
                for k, w in zip(depths.tolist(), passes, strict=True)
            ]
            combine = np.maximum if command["maximum"] else np.add
            results.finish(command, wrap(combine.reduce(sums), 32))


def _products(
    chip: Chip,
    command: Command,
    vectors: Int64Array,
    depths: Int64Array,
    tiles: NDArray[np.float64],
) -> Int64Array:
    """Combine the passes of some channel tiles; int64 [vectors, tiles, channels]."""
    n, passes, depth, channels = tiles.shape
    wide = np.ascontiguousarray(tiles.transpose(1, 2, 0, 3)).reshape(passes, depth, n * channels)
    result = np.empty((len(vectors), n * channels), np.int64)
    step = max(1, _CHUNK // (passes * depth))
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        x = _read(chip.activations, chip.spec, command, vectors[part, None] + depths)
        if command["maximum"]:
            sums = x[:, 0] @ wide[0]
            for k in range(1, passes):
                np.maximum(sums, x[:, k] @ wide[k], out=sums)
        else:
            sums = x.reshape(len(x), -1) @ wide.reshape(passes * depth, -1)
        result[part] = sums.astype(np.int64)
    return result.reshape(-1, n, channels)
