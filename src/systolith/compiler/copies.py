"""Moves inside the activation memory as COPY commands of the unit MOVE, beside the array."""

from collections.abc import Sequence
from math import prod

import numpy as np

from systolith.compiler.ir import Storage, SymbolicCommand, View
from systolith.spec.commands import COPY_LOOPS, Opcode
from systolith.strides import Int64Array, loop_nest

__all__ = ["box_reach", "copy_bytes", "copy_commands", "copy_cycles"]

_MOST = (1 << 16) - 1
"""Largest count and length of a command."""
_COMMAND_CYCLES = 8
"""Cycles between the last line of a copy and the first of the next."""

Loop = tuple[int, int, int]


def _commands(
    layer: str,
    source: tuple[Storage, int],
    target: tuple[Storage, int],
    length: int,
    loops: Sequence[Loop],
) -> list[SymbolicCommand]:
    """Runs of ``length`` bytes over loops (count, source stride, target stride), outermost first.

    What a command cannot hold is cut: runs and loops that are too long in two, the outermost of too
    many loops into its iterations.
    """

    def at(s: int, d: int) -> tuple[tuple[Storage, int], tuple[Storage, int]]:
        return (source[0], source[1] + s), (target[0], target[1] + d)

    if length > _MOST:
        half = length // 2
        rest = _commands(layer, *at(half, half), length - half, loops)
        return [*_commands(layer, source, target, half, loops), *rest]
    for index, (count, s, d) in enumerate(loops):
        if count > _MOST:
            half = count // 2
            one, two = list(loops), list(loops)
            one[index], two[index] = (half, s, d), (count - half, s, d)
            rest = _commands(layer, *at(half * s, half * d), length, two)
            return [*_commands(layer, source, target, length, one), *rest]
    if len(loops) > len(COPY_LOOPS):
        count, s, d = loops[0]
        return [
            command
            for i in range(count)
            for command in _commands(layer, *at(i * s, i * d), length, loops[1:])
        ]
    values = {"length": length}
    for name, (count, s, d) in zip(reversed(COPY_LOOPS), reversed(loops), strict=False):
        values |= {f"{name}_count": count, f"s_{name}_stride": s, f"d_{name}_stride": d}
    bases = {"s_base": source, "d_base": target}
    return [SymbolicCommand(opcode=Opcode.COPY, layer=layer, values=values, bases=bases)]


def copy_commands(
    layer: str, source: View, target: View, index: Int64Array | None = None
) -> list[SymbolicCommand]:
    """Return the COPY commands that write all of `target`.

    Parameters
    ----------
    layer: for error messages.
    source, target: on chip, without a byte in common.
    index: for each element of the target, in canonical order, the one of the source; None if they
        are the same.
    """
    read = source.places()
    if index is not None:
        read = read[index]
    return copy_bytes(layer, (source.storage, target.storage), read, target.places())


def copy_bytes(
    layer: str, storages: tuple[Storage, Storage], read: Int64Array, written: Int64Array
) -> list[SymbolicCommand]:
    """Return the COPY commands from bytes of one storage to bytes of another.

    Parameters
    ----------
    read, written: places in the storages, one dimension.
    """
    whole = _nest(layer, storages, read, written)
    return whole if whole is not None else _pieces(layer, storages, read, written)


def box_reach(
    source: View, shape: tuple[int, int, int], index: Int64Array, box: tuple[int, int, int]
) -> int:
    """Return the most bytes from the first to the last that a box of the target reads.

    Parameters
    ----------
    shape: of the target.
    index: as of `copy_commands`.
    box: rows, columns and channels of the boxes into which the target is cut.
    """
    low = high = source.places()[index].reshape(shape)
    for axis, (size, step) in enumerate(zip(shape, box, strict=True)):
        cuts = np.arange(0, size, step)
        low = np.minimum.reduceat(low, cuts, axis=axis)
        high = np.maximum.reduceat(high, cuts, axis=axis)
    return int((high - low).max()) + 1


def _nest(
    layer: str,
    storages: tuple[Storage, Storage],
    read: Int64Array,
    written: Int64Array,
    run: int = 1,
) -> list[SymbolicCommand] | None:
    """Return the commands that copy runs of ``run`` bytes, or None if no loop nest does it."""
    nest = loop_nest(read, written)
    if nest is None:
        return None
    loops = list(zip(nest[0], *nest[1], strict=True))
    if run == 1 and loops and loops[-1][1:] == (1, 1):
        run = loops.pop()[0]
    source, target = storages
    first = (source, int(read[0])), (target, int(written[0]))
    return _commands(layer, *first, run, loops)


def _pieces(
    layer: str, storages: tuple[Storage, Storage], read: Int64Array, written: Int64Array
) -> list[SymbolicCommand]:
    """Copy runs whose lengths or places repeat with some period, a loop nest for each of them."""
    breaks = np.flatnonzero((np.diff(read) != 1) | (np.diff(written) != 1)) + 1
    starts = np.concatenate([[0], breaks])
    lengths = np.diff(np.concatenate([starts, [len(read)]]))
    for period in range(1, len(starts) + 1):
        if len(starts) % period:
            continue
        commands: list[SymbolicCommand] = []
        for phase in range(period):
            mine = starts[phase::period]
            if (lengths[phase::period] != lengths[phase]).any():
                break
            some = _nest(layer, storages, read[mine], written[mine], int(lengths[phase]))
            if some is None:
                break
            commands += some
        else:
            return commands
    raise AssertionError("with a period of all runs, each is a nest of its own")


def copy_cycles(commands: Sequence[SymbolicCommand], line_bytes: int) -> int:
    """Return what COPY commands cost: a line a cycle, a line at least for every run."""
    total = 0
    for command in commands:
        runs = prod(command.values.get(f"{name}_count", 1) for name in COPY_LOOPS)
        total += runs * -(-command.values["length"] // line_bytes) + _COMMAND_CYCLES
    return total
