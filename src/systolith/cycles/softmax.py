"""SOFTMAX: when its lines are read and written, line by line as the memory grants them."""

from dataclasses import dataclass

from systolith.cycles.timing import NEVER, READ_LATENCY
from systolith.spec.softmax import SoftmaxForm

__all__ = ["FORMS", "FormTiming", "SoftmaxRows"]

_SHOWN = READ_LATENCY + 1
"""From a granted read to the first cycle in which its line may move to where it is shifted out."""
_WRITER = 2
"""From a line's last byte to the first cycle in which it may be written."""
_LINES = 2
"""Lines of results that have room before they are written."""
_LARGEST, _SUM, _RESULTS = range(3)


@dataclass(frozen=True, slots=True)
class FormTiming:
    """Cycles of a form.

    Parameters
    ----------
    add, code: between two codes of the second pass, of the third.
    invert: from the last code of the second pass to the first cycle that may take one of the third.
    result: from a code of the third pass to its result at the writer.
    """

    add: int
    code: int
    invert: int
    result: int


FORMS = {
    SoftmaxForm.FIXED: FormTiming(1, 1, 38, 9),
    SoftmaxForm.INVERSE: FormTiming(3, 1, 32, 11),
    SoftmaxForm.QUOTIENT: FormTiming(3, 22, 8, 25),
}
"""Sums of the latencies of the units between: tests compare them with the hardware's."""


class SoftmaxRows:
    """Three passes over each row: the largest code, the sum, the results.

    A pass takes a code a cycle or in a few cycles, line by line; a line is read while the one
    before it is taken. Two lines of results have room before they are written.

    Parameters
    ----------
    form: cycles of the form.
    start: cycle in which the command starts.
    length: codes of a row.
    line: bytes of a line.
    """

    def __init__(self, form: FormTiming, start: int, length: int, line: int) -> None:
        self._form = form
        self._row = 0
        self._sizes = [min(line, length - first) for first in range(0, length, line)]
        self._begin_row(start + 1)

    @property
    def read(self) -> int:
        """Cycle in which the next line is asked for; NEVER if that depends on a write."""
        number = len(self._read)
        if number == len(self._sizes) or number > len(self._moved):
            return NEVER
        return self._moved[-1] + 1 if number else self._start + 1

    @property
    def write(self) -> int:
        """Cycle in which the next line is offered; NEVER if that depends on a read."""
        number = len(self._written)
        if self._pass != _RESULTS or number >= len(self._taken):
            return NEVER
        full = self._taken[number] + self._form.result + _WRITER
        return max(full, self._written[-1] + 1) if number else full

    @property
    def read_place(self) -> int:
        """Number in the command of the line that is read next."""
        return self._row * len(self._sizes) + len(self._read)

    @property
    def write_place(self) -> int:
        """Number in the command of the line that is written next."""
        return self._row * len(self._sizes) + len(self._written)

    def granted_read(self, cycle: int) -> None:
        """The next line is read."""
        self._read.append(cycle)
        self._settle()

    def granted_write(self, cycle: int) -> None:
        """The next line is written."""
        self._written.append(cycle)
        if len(self._written) == len(self._sizes):
            self._row += 1
            self._begin_row(cycle + 1)
        else:
            self._settle()

    def _begin_row(self, start: int) -> None:
        self._written: list[int] = []
        self._begin_pass(_LARGEST, start, 0)

    def _begin_pass(self, number: int, start: int, first: int) -> None:
        """``start``: the reader begins; ``first``: no code is taken before."""
        self._pass, self._start, self._first = number, start, first
        self._read: list[int] = []
        self._moved: list[int] = []  # when a line begins to be shifted out
        self._taken: list[int] = []  # when a line's last code is taken

    def _settle(self) -> None:
        """Find all that follows from the reads and writes decided so far."""
        while len(self._taken) < len(self._moved) or len(self._moved) < len(self._read):
            number = len(self._taken)
            before = self._taken[-1] if number else 0
            if number == len(self._moved):
                self._moved.append(max(self._read[number] + _SHOWN, before))
            elif self._pass == _RESULTS and number >= len(self._written) + _LINES:
                return
            else:
                self._take(number, before)
        if self._pass != _RESULTS and len(self._taken) == len(self._sizes):
            last = self._taken[-1]
            invert = self._form.invert if self._pass == _SUM else 0
            self._begin_pass(self._pass + 1, last, last + invert)

    def _take(self, number: int, before: int) -> None:
        """Take the codes of the line that is shifted out; if need be, once a line is written."""
        period = (1, self._form.add, self._form.code)[self._pass]
        first = max(self._moved[number] + 1, self._first, before + period if number else 0)
        if self._pass == _RESULTS and number >= _LINES:
            first = max(first, self._written[number - _LINES] + 1)
        self._taken.append(first + (self._sizes[number] - 1) * period)
