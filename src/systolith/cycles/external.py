"""External memory, and how transfers are cut into bursts and beats."""

import math
import random
from dataclasses import dataclass

import numpy as np

from systolith.cycles.nests import Int64Array, counts, limited, offsets, reach, regions, touched
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import TRANSFER_LOOPS, Command, ParameterForm, Target
from systolith.spec.program import ProgramError
from systolith.spec.registers import Window, parameter_part_bytes, window_stride

__all__ = ["Bandwidth", "MemoryModel", "Stalls", "Transfer", "on_chip"]

_ONE = 1 << 16
_PAGE = 4096
"""Bytes of the aligned blocks that no burst leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryModel:
    """External memory that answers in order.

    Without stalls a prediction is exact. With them it is that of one run in which the channels
    stood still at random: on a network about what every such run takes.

    Parameters
    ----------
    latency: cycles from an address to its first beat, and from a last beat to its answer; at
        least 1.
    bandwidth: most beats a cycle, of reads and of writes each, on average: above 0, at most 1.
    stalls: share of cycles in which each of the bus's five channels stands still, at random: at
        least 0, below 1.
    """

    latency: int = 16
    bandwidth: float = 1.0
    stalls: float = 0.0

    def __post_init__(self) -> None:
        if self.latency < 1:
            raise ValueError(f"latency must be at least 1, not {self.latency!r}")
        if not 0 < self.bandwidth <= 1:
            raise ValueError(f"bandwidth must be above 0 and at most 1, not {self.bandwidth!r}")
        if not 0 <= self.stalls < 1:
            raise ValueError(f"stalls must be at least 0 and below 1, not {self.stalls!r}")

    @property
    def paced(self) -> bool:
        """Whether beats may have to wait for each other."""
        return self.bandwidth < 1 or self.stalls > 0


class Stalls:
    """How long a channel stands still whenever something may move.

    Parameters
    ----------
    share: of cycles.
    channel: its name, which seeds the random numbers: every prediction draws the same.
    """

    def __init__(self, share: float, channel: str) -> None:
        self._rate = math.log(share) if share else -math.inf
        self._random = random.Random(channel)

    def draw(self) -> int:
        """Cycles until the channel moves: k or more with probability share**k."""
        return int(math.log(1.0 - self._random.random()) / self._rate)


class Bandwidth:
    """Credit for beats: it grows by the bandwidth every cycle in which it is below one beat.

    Parameters
    ----------
    memory: beats a cycle, and stalls.
    channel: name of the channel.
    """

    def __init__(self, memory: MemoryModel, channel: str) -> None:
        self._stalls = Stalls(memory.stalls, channel)
        self._rate = max(1, round(memory.bandwidth * _ONE))
        self._credit = -(-_ONE // self._rate) * self._rate  # long before the run it has grown
        self._cycle = 0

    def take(self, cycle: int) -> int:
        """Use the credit of a beat in the first cycle from ``cycle`` on that has it, or stall."""
        missing = max(_ONE - self._credit, 0)
        ready = self._cycle + -(-missing // self._rate)
        when = max(cycle, ready) + self._stalls.draw()
        self._credit += -(-missing // self._rate) * self._rate - _ONE
        self._cycle = when
        return when


def on_chip(spec: AcceleratorSpec, command: Command) -> int:
    """Mask of the regions of the activation memory that a transfer may touch."""
    low, high = reach(command, "m", TRANSFER_LOOPS)
    base = command["m_base"]
    return touched(spec, base + low, base + high + command["length"])


class Transfer:
    """The beats and bursts of a LOAD or a SAVE, in order.

    Parameters
    ----------
    sizes: bytes of every beat.
    regions: region of every beat's first byte, if it is one of activations.
    ends: per burst, the number of beats up to its end.
    heads: per beat, the burst that begins its run.
    steps: cycles that a LOAD takes to write each beat, if nothing is in its way.
    written: their sums: those of all beats before each, and of all.

    Raises
    ------
    ProgramError: a length or count of 0.
    """

    def __init__(self, spec: AcceleratorSpec, command: Command) -> None:
        counts(command, TRANSFER_LOOPS)
        length, size = command["length"], spec.external.data_bytes
        if not length:
            raise ProgramError("length must be at least 1, not 0")
        if not size:
            raise ProgramError("LOAD and SAVE must have an external memory, but there is none")
        starts = command["e_base"] + offsets(command, "e", TRANSFER_LOOPS)
        runs = command["m_base"] + offsets(command, "m", TRANSFER_LOOPS)
        skipped = starts % size
        beats = -(-(skipped + length) // size)
        limited("beats of a transfer", int(beats.sum()))
        run = np.repeat(np.arange(len(starts)), beats)
        number = np.arange(len(run)) - np.repeat(np.cumsum(beats) - beats, beats)
        low = np.maximum(number * size - skipped[run], 0)
        high = np.minimum((number + 1) * size - skipped[run], length)
        self.sizes: Int64Array = high - low
        self.regions: list[int] = regions(spec, runs[run] + low).tolist()
        limit = min(spec.external.burst_beats, _PAGE // size)
        block = (starts // size)[run] + number
        begins = (number == 0) | (block % limit == 0)
        self.ends: Int64Array = np.append(np.flatnonzero(begins)[1:], len(run))
        burst = np.cumsum(begins) - 1
        self.heads: Int64Array = burst[np.flatnonzero(number == 0)][run]
        self.steps: Int64Array = -(-self.sizes // _step(spec, command, size))
        self.written: Int64Array = np.concatenate([[0], np.cumsum(self.steps)])


def _step(spec: AcceleratorSpec, command: Command, size: int) -> int:
    """Bytes that a LOAD writes a cycle; a SAVE takes whole beats."""
    form = ParameterForm(command.values.get("form", ParameterForm.SHORT))
    return {
        Target.ACTIVATIONS: size,
        Target.WEIGHTS: min(size, window_stride(spec, Window.WEIGHTS)),
        Target.PARAMETERS: parameter_part_bytes(spec, form),
        Target.TABLES: 1,
        Target.COMMANDS: 4,
        Target.EXPONENTS: 4,
    }[Target(command.values.get("target", Target.ACTIVATIONS))]
