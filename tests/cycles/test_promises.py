"""What a unit promises of its ports to others, it keeps; no hardware needed, thus many programs.

Units are decided out of order: one that yields to another asks until when that one's requests are
all known. A request that turns up before that cycle later on would have been overlooked.
"""

from types import ModuleType

import numpy as np
import pytest

from systolith.cycles import predict
from systolith.cycles.machine import Machine
from systolith.cycles.nests import Int64Array
from systolith.cycles.ports import Port
from systolith.spec.program import Program

Promises = dict[tuple[Port, int], int]


class Watched:
    """Replaces the methods by which units ask and note."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.promises: Promises = {}
        self.noted = self.asked = 0
        ask, note = Machine.limit, Machine.note

        def limit(machine: Machine, ports: tuple[Port, ...], mask: int) -> int:
            for port in ports:
                until = machine.processes[port.unit].next_use(port, mask)
                for region in range(8):
                    if mask >> region & 1:
                        key = port, region
                        self.promises[key] = max(self.promises.get(key, 0), until)
            self.asked += 1
            return ask(machine, ports, mask)

        def noted(machine: Machine, port: Port, times: Int64Array, where: Int64Array) -> None:
            for time, region in zip(times.tolist(), where.tolist(), strict=True):
                assert time >= self.promises.get((port, region), 0), port
            assert (np.diff(times) > 0).all()
            self.noted += len(times)
            note(machine, port, times, where)

        monkeypatch.setattr(Machine, "limit", limit)
        monkeypatch.setattr(Machine, "note", noted)

    def predict(self, program: Program) -> None:
        self.promises.clear()
        predict(program)


@pytest.mark.parametrize("name", ["3x4", "3x6", "5x6", "6x4", "6x6"])
def test_promises_are_kept(
    name: str, programs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        spec = programs.SPECS[name]
        draw = programs.transfer_program if spec.external.data_bytes else programs.plain_program
        watched.predict(draw(rng, spec))
    assert watched.noted > 1000 and watched.asked > 1000


def test_a_broken_promise_is_noticed(programs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit whose clock runs ahead of its requests."""
    watched = Watched(monkeypatch)
    with pytest.raises(AssertionError, match="Port"):
        for seed in range(40):
            program = programs.plain_program(np.random.default_rng(seed), programs.SPECS["6x4"])
            monkeypatch.setattr(
                "systolith.cycles.store.Store.next_use", lambda *args: 1 << 40
            )  # fmt: skip
            watched.predict(program)
