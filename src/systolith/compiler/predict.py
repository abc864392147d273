"""Rough cycles of commands: enough to decide in which order they are fetched."""

from collections.abc import Mapping, Sequence

from systolith.compiler.two_of_four import tile_words
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import (
    COMMANDS,
    COPY_LOOPS,
    FILL_LOOPS,
    STORE_LOOPS,
    TRANSFER_LOOPS,
    Opcode,
    Unit,
)

__all__ = ["LATENCY", "Prediction", "cycles"]

LATENCY = 32
"""Cycles from a unit's last operand to its last result in memory: pipelines, bus and tokens."""
_HELD = 4
"""Cycles of a pass with held weights at least."""
_SOFTMAX_ROW, _SOFTMAX_CODE = 60, (3, 5, 26)
"""Cycles of a row of softmax: always, and for a code by `SoftmaxForm`."""


def _product(values: Mapping[str, int], loops: Sequence[str]) -> int:
    total = 1
    for name in loops:
        total *= values[f"{name}_count"]
    return total


def _matmul(values: Mapping[str, int], spec: AcceleratorSpec) -> int:
    passes = _product(values, ("t", "n", "ky", "kx", "kc"))
    least = _HELD if values["w_hold"] else tile_words(values, spec.array.rows)
    pixels = _product(values, ("my", "mx")) >> values["pairs"]
    return passes * max(pixels, least)


def cycles(opcode: Opcode, values: Mapping[str, int], spec: AcceleratorSpec) -> int:
    """Return the cycles that a command keeps its unit busy, without waits and latency."""
    if opcode is Opcode.MATMUL:
        return _matmul(values, spec)
    if opcode is Opcode.STORE:
        beats = -(-min(values["tile_channels"], values["channels"]) // spec.post.lanes)
        return _product(values, STORE_LOOPS) * beats
    if opcode is Opcode.SOFTMAX:
        return values["row_count"] * (
            _SOFTMAX_ROW + _SOFTMAX_CODE[values["form"]] * values["length"]
        )
    if opcode in (Opcode.QUANTIZE, Opcode.DEQUANTIZE):
        pieces = -(-values["length"] // max(1, spec.post.quantize_lanes))
        return _product(values, COPY_LOOPS) * pieces
    loops = {
        Opcode.FILL: FILL_LOOPS,
        Opcode.COPY: COPY_LOOPS,
        Opcode.LOAD: TRANSFER_LOOPS,
        Opcode.SAVE: TRANSFER_LOOPS,
    }.get(opcode)
    if loops is None:
        return 0
    external = opcode in (Opcode.LOAD, Opcode.SAVE)
    width = spec.external.data_bytes if external else spec.line_bytes
    return _product(values, loops) * -(-values["length"] // width)


class Prediction:
    """When the commands fetched so far start and finish, in cycles; approximate.

    The fetcher reads a word a cycle and waits for room in the unit's queue; a unit runs its
    commands in order, each when those it waits for have finished.

    Parameters
    ----------
    depth: commands that wait in a queue.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._now = 0
        self._starts: dict[Unit, list[int]] = {u: [] for u in Unit}
        self._ends: dict[Unit, list[int]] = {u: [] for u in Unit}
        self._complete: list[int] = []

    def accepted(self, opcode: Opcode) -> int:
        """When the next command would be in its queue."""
        layout = COMMANDS[opcode]
        fetched = self._now + layout.words
        starts = self._starts[layout.unit] if layout.unit is not None else []
        return max(fetched, starts[-self._depth]) if len(starts) >= self._depth else fetched

    def fetches(self, opcode: Opcode) -> bool:
        """Whether the next command would find room in its queue at once."""
        return self.accepted(opcode) == self._now + COMMANDS[opcode].words

    def busy(self, unit: Unit) -> int:
        """When a unit has run all of its commands."""
        return self._ends[unit][-1] if self._ends[unit] else 0

    def append(
        self, opcode: Opcode, busy: int, waits: Mapping[Unit, int], *, partial: bool = False
    ) -> None:
        """Fetch a command that keeps its unit ``busy`` and waits for other units' commands.

        Parameters
        ----------
        partial: a MATMUL that leaves its sums for the next.
        """
        unit = COMMANDS[opcode].unit
        self._now = self.accepted(opcode)
        if unit is None:
            return
        ends = self._ends[unit]
        start = max(self._now, ends[-1] if ends else 0)
        for other, index in waits.items():
            start = max(start, self._ends[other][index] + LATENCY)
        end = start + busy
        if unit is Unit.STORE:
            # It follows its MATMUL tile by tile.
            end = max(end, self._complete[len(ends)] + LATENCY)
        if unit is Unit.FETCH:
            self._now = start
        if unit is Unit.COMPUTE and not partial:
            self._complete.append(end)
        self._starts[unit].append(start)
        ends.append(end)

    @property
    def end(self) -> int:
        """When everything is finished."""
        return max((e[-1] for e in self._ends.values() if e), default=0) + LATENCY
