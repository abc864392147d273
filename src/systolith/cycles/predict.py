"""From a program to the cycle of every event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from systolith.cycles.compute import Compute
from systolith.cycles.external import MemoryModel
from systolith.cycles.fetch import Fetch
from systolith.cycles.machine import Issued, Machine, Ring, Spans
from systolith.cycles.move import Move
from systolith.cycles.nests import counts, limited
from systolith.cycles.ports import Port, PortLog
from systolith.cycles.store import Store
from systolith.cycles.streams import results
from systolith.cycles.timing import Timing
from systolith.cycles.trace import trace
from systolith.cycles.transfer import Load, Save
from systolith.spec.commands import STORE_LOOPS, Opcode, Unit
from systolith.spec.program import Program, ProgramError
from systolith.spec.registers import COUNTERS

__all__ = ["CommandTimes", "Prediction", "predict"]

_PATIENCE = 10_000
"""Rounds in which clocks may creep without an event, before the program is called stuck."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandTimes:
    """When a command ran, in cycles from the start of the run.

    Parameters
    ----------
    number: of the command in order of execution.
    opcode, unit: what it is and who ran it; END has no unit.
    pushed: the fetcher put it into its unit's queue.
    start: it consumed its tokens; its first step comes a cycle later at the earliest.
    finish: its last byte was written (MATMUL: its last vector issued) and it gave its tokens.
    """

    number: int
    opcode: Opcode
    unit: Unit | None
    pushed: int
    start: int
    finish: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prediction:
    """A run of a program, as the hardware would count it.

    Parameters
    ----------
    cycles: from start to done.
    stamps: every time stamp, in cycles.
    counters: the hardware counters by name (`systolith.spec.registers.COUNTERS`).
    commands: every command in order of execution.
    spans: stretches of cycles in which the compute unit or the store unit waited, by counter.
    """

    cycles: int
    stamps: tuple[int, ...]
    counters: Mapping[str, int]
    commands: tuple[CommandTimes, ...]
    spans: Mapping[str, Spans]


def predict(program: Program, *, memory: MemoryModel | None = None) -> Prediction:
    """Predict a run of ``program``, equal to the generated hardware in every cycle.

    Parameters
    ----------
    memory: external memory; by default a `MemoryModel` as it is.

    Raises
    ------
    ProgramError: the program cannot run, or waits for ever.
    """
    issued = trace(program)
    machine = _machine(program, issued, memory or MemoryModel())
    _run(machine)
    end = issued[-1].finish
    units, load, save = (
        machine.processes,
        machine.processes[Unit.LOAD],
        machine.processes[Unit.SAVE],
    )
    assert isinstance(load, Load) and isinstance(save, Save)
    free = units[Unit.COMPUTE].free
    machine.spans["stall_commands"].add(free, end + 1 - free)
    values = {name: machine.spans[name].total() for name in _SPANS}
    values |= {
        "cycles": end + 1,
        "array_busy": units[Unit.COMPUTE].steps,
        "post_busy": units[Unit.STORE].steps,
        "move_busy": units[Unit.MOVE].steps,
        "load_beats": load.steps,
        "save_beats": save.steps,
        "load_busy": load.busy,
        "save_busy": save.busy,
    }
    return Prediction(
        cycles=end + 1,
        stamps=tuple(sorted(i.finish for i in issued if i.command.values.get("stamp"))),
        counters={c.name: values[c.name] for c in COUNTERS},
        commands=tuple(_times(i) for i in issued),
        spans=dict(machine.spans),
    )


_SPANS = (
    "stall_commands",
    "stall_tokens",
    "stall_weights",
    "stall_accumulators",
    "stall_activations",
    "post_wait",
)


def _times(issued: Issued) -> CommandTimes:
    return CommandTimes(
        number=issued.number,
        opcode=issued.command.opcode,
        unit=issued.unit,
        pushed=issued.pushed,
        start=issued.start,
        finish=issued.finish,
    )


def _machine(program: Program, issued: Sequence[Issued], memory: MemoryModel) -> Machine:
    """The units with their commands."""
    lines: dict[Unit, list[Issued]] = {unit: [] for unit in Unit}
    for item in issued:
        if item.unit is not None:
            lines[item.unit].append(item)
    made = sum(results(item.command) for item in lines[Unit.COMPUTE])
    taken = sum(int(np.prod(counts(i.command, STORE_LOOPS))) for i in lines[Unit.STORE])
    if taken > made:
        raise ProgramError(f"STOREs must take at most {made} result vectors, not {taken}")
    limited("result vectors", made)
    ring = Ring(program.spec.memory.accumulator_depth, made)
    machine = Machine(program.spec, Timing.of(program.spec), lines, ring)
    machine.uses = {port: PortLog(program.spec.memory.activation_regions) for port in Port}
    machine.processes[Unit.FETCH] = Fetch(machine, issued)
    machine.processes[Unit.STORE] = Store(machine)
    machine.processes[Unit.COMPUTE] = Compute(machine)
    machine.processes[Unit.MOVE] = Move(machine)
    machine.processes[Unit.LOAD] = Load(machine, memory)
    machine.processes[Unit.SAVE] = Save(machine, memory)
    return machine


def _run(machine: Machine) -> None:
    """Run every process in turn until all have ended.

    Raises
    ------
    ProgramError: they wait for each other.
    """
    running = {unit: process.run() for unit, process in machine.processes.items()}
    idle = 0
    while running:
        before = machine.decided
        for unit in list(running):
            if next(running[unit], True):
                del running[unit]
        if machine.decided != before:
            idle = 0
        elif running:
            idle += 1
            watched = any(machine.processes[unit].watches for unit in running)
            if not watched or idle > _PATIENCE:
                names = ", ".join(sorted(unit.name for unit in running if unit != Unit.FETCH))
                raise ProgramError(f"program must not wait for ever, but {names or 'END'} does")
