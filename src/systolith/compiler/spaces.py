"""Address spaces on one line of 64-bit addresses, and what commands touch besides activations."""

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.footprint import EMPTY, Access, Spans, joined, strided
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import TRANSFER_LOOPS, Opcode, ParameterForm, Target
from systolith.spec.registers import Window, lane_word_bytes, window_stride

__all__ = [
    "SPACE_BITS",
    "Int64Array",
    "Space",
    "by_space",
    "span",
    "stamped",
    "transfer_unit",
    "whole_access",
]

Int64Array = NDArray[np.int64]

SPACE_BITS = 40
"""Addresses of a space; space s begins at ``s << SPACE_BITS``."""


class Space(IntEnum):
    """The memories; the numbers agree with `Target`."""

    ACTIVATIONS = 0
    """Bytes."""
    WEIGHTS = 1
    """Weight words."""
    PARAMETERS = 2
    """Lane words."""
    TABLES = 3
    """Bytes."""
    COMMANDS = 4
    """32-bit words."""
    EXPONENTS = 5
    """32-bit words."""
    EXTERNAL = 6
    """Bytes."""
    STAMPS = 7
    """The next time stamp, which every stamped command writes."""


def transfer_unit(spec: AcceleratorSpec, target: Target, form: ParameterForm) -> int:
    """Bytes of external memory that one address of a LOAD's target takes."""
    return {
        Target.ACTIVATIONS: 1,
        Target.WEIGHTS: window_stride(spec, Window.WEIGHTS),
        Target.PARAMETERS: lane_word_bytes(spec, form),
        Target.TABLES: 1,
        Target.COMMANDS: 4,
        Target.EXPONENTS: 4,
    }[target]


def _in_space(space: Space, base: int, loops: Sequence[tuple[int, int]], length: int) -> Spans:
    return strided(base + (space << SPACE_BITS), loops, length)


def _loops(values: Mapping[str, int], stream: str) -> list[tuple[int, int]]:
    return [(values[f"{n}_count"], values[f"{stream}_{n}_stride"]) for n in TRANSFER_LOOPS]


def _matmul(values: Mapping[str, int], spec: AcceleratorSpec) -> Access:
    return Access(reads=_in_space(Space.WEIGHTS, values["w_base"], (), values["w_words"]))


def _store(values: Mapping[str, int], spec: AcceleratorSpec) -> Access:
    beats = -(-min(values["tile_channels"], values["channels"]) // spec.post.lanes)
    loop = values["n_count"], values["p_stride"]
    reads = _in_space(Space.PARAMETERS, values["p_base"], [loop], beats)
    if values["table"]:
        table = _in_space(Space.TABLES, values["table_index"] * 256, (), 256)
        reads = joined(reads, table)
    return Access(reads=reads)


def _load(values: Mapping[str, int], spec: AcceleratorSpec) -> Access:
    target = Target(values["target"])
    count = values["length"] // transfer_unit(spec, target, ParameterForm(values["form"]))
    return Access(
        reads=_in_space(Space.EXTERNAL, values["e_base"], _loops(values, "e"), values["length"]),
        writes=_in_space(Space(target), values["m_base"], _loops(values, "m"), count),
    )


def _save(values: Mapping[str, int], spec: AcceleratorSpec) -> Access:
    length = values["length"]
    return Access(
        reads=_in_space(Space.ACTIVATIONS, values["m_base"], _loops(values, "m"), length),
        writes=_in_space(Space.EXTERNAL, values["e_base"], _loops(values, "e"), length),
    )


_OTHERS = {
    Opcode.MATMUL: _matmul,
    Opcode.STORE: _store,
    Opcode.LOAD: _load,
    Opcode.SAVE: _save,
}


def whole_access(
    opcode: Opcode, values: Mapping[str, int], activations: Access, spec: AcceleratorSpec
) -> Access:
    """Add to a command's activation footprint what it touches in the other memories.

    Parameters
    ----------
    opcode, values: the command, all fields given; of a MATMUL also `w_words`, the weight words that
        it reads.
    activations: bytes that array, store and move units touch, as of `footprint.accesses`.
    spec: sizes of words.
    """
    if opcode not in _OTHERS:
        return activations
    other = _OTHERS[opcode](values, spec)
    return Access(
        reads=_both(activations.reads, other.reads), writes=_both(activations.writes, other.writes)
    )


def _both(a: Spans, b: Spans) -> Spans:
    if not len(a.starts) or not len(b.starts):
        return b if not len(a.starts) else a
    return joined(a, b)


def stamped(access: Access) -> Access:
    """Let the order of a command and all others that are stamped matter."""
    return Access(reads=access.reads, writes=_both(access.writes, span(Space.STAMPS, 0, 1)))


def span(space: Space, start: int, count: int) -> Spans:
    """Addresses ``start`` to ``start + count`` of a space."""
    if not count:
        return EMPTY
    base = np.int64(space << SPACE_BITS)
    return Spans(np.array([base + start]), np.array([base + start + count]))


def by_space(spans: Spans) -> Iterator[tuple[Space, Int64Array, Int64Array]]:
    """Starts and ends of the intervals of every space, as addresses of that space."""
    if not len(spans.starts):
        return
    first, last = (int(v) >> SPACE_BITS for v in (spans.starts[0], spans.ends[-1] - 1))
    for space in Space:
        base = space << SPACE_BITS
        # Activation addresses may be negative by mistake.
        begin = int(spans.starts[0]) if space is Space.ACTIVATIONS else base
        if max(first, 0) <= space <= last:
            low, high = np.searchsorted(spans.starts, [begin, base + (1 << SPACE_BITS)])
            if low < high:
                yield space, spans.starts[low:high] - base, spans.ends[low:high] - base
