"""The move unit: when every line of a FILL is written."""

from collections.abc import Iterator

import numpy as np

from systolith.cycles.machine import Issued, Machine, Process
from systolith.cycles.nests import Int64Array, counts, offsets, regions, touched
from systolith.cycles.ports import grant
from systolith.cycles.store import Store
from systolith.cycles.timing import WRITE_LATENCY
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import FILL_LOOPS, Command, Unit

__all__ = ["Move"]


class Move(Process):
    """Write a line a cycle, unless post-processing writes to the same region."""

    drain = WRITE_LATENCY

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, Unit.MOVE)

    def work(self, issued: Issued) -> Iterator[None]:
        """Line after line, as far as the writes of the store unit are known."""
        machine = self.machine
        store = machine.processes[Unit.STORE]
        assert isinstance(store, Store)
        lines = _lines(machine.spec, issued.command)
        where = regions(machine.spec, lines)
        mask = touched(machine.spec, int(lines.min()), int(lines.max()))
        self.left = len(lines)
        after, done = issued.start + 1, 0
        while done < len(lines):
            earliest = np.zeros(len(lines) - done, np.int64)
            end = store.next_write(mask)
            times = grant(after, earliest, where[done:], (store.writes,), end)
            if not len(times):
                self.watches = True
                yield
                self.watches = False
                continue
            after = int(times[-1]) + 1
            done += len(times)
            self.stepped(len(times), after)
        self.end(issued, after - 1 + WRITE_LATENCY)


def _lines(spec: AcceleratorSpec, command: Command) -> Int64Array:
    """Address of every line of a FILL; one at least in a run."""
    counts(command, FILL_LOOPS)
    runs = command["d_base"] + offsets(command, "d", FILL_LOOPS)
    inside = np.arange(0, max(command["length"], 1), spec.line_bytes)
    return (runs[:, None] + inside).reshape(-1)
