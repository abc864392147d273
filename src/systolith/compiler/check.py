"""An independent check of a program: order of accesses, deadlock, and bounds of memories."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from systolith.compiler.check_commands import ProgramFault, check_commands, result_vectors
from systolith.compiler.check_depthwise import uneven_padding
from systolith.compiler.check_memory import outside_memory
from systolith.compiler.footprint import Access, Spans, accesses
from systolith.compiler.hazards import LastAccess
from systolith.compiler.spaces import Space, span, stamped, whole_access
from systolith.compiler.trace import Trace, trace_program
from systolith.spec.commands import COMMANDS, Command, Opcode, Target, Unit
from systolith.spec.program import Program

__all__ = ["CheckReport", "ProgramFault", "check_program"]


_Clock = tuple[int, ...]
"""Per unit, how many of its commands are known to be finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What was checked.

    Parameters
    ----------
    commands: without END.
    ordered: conflicts found in order: a command and the latest of another unit.
    tokens: bound on the tokens outstanding between two units.
    """

    commands: int
    ordered: int
    tokens: int


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Item:
    command: Command
    unit: Unit
    access: Access
    number: int
    position: int
    base: int

    def units(self, mask: str) -> list[Unit]:
        return [u for u in Unit if self.command[mask] >> u & 1]

    def __str__(self) -> str:
        return f"{self.command.opcode.name} {self.number}"


def _items(program: Program, trace: Trace) -> list[_Item]:
    found = [
        (c.opcode, dict(c.values) | ({"w_base": base} if c.opcode is Opcode.MATMUL else {}))
        for c, base in zip(trace.commands, trace.bases, strict=True)
    ]
    footprints = accesses(found, trace.weights, program.spec)
    result = []
    for number, (command, access) in enumerate(zip(trace.commands, footprints, strict=True)):
        unit = COMMANDS[command.opcode].unit
        if unit is not None:
            whole = access
            if program.spec.external.data_bytes:
                whole = whole_access(command.opcode, command.values, access, program.spec)
            item = _Item(
                command=command,
                unit=unit,
                access=whole,
                number=number,
                position=trace.positions[number],
                base=trace.bases[number],
            )
            result.append(item)
    return result


def _check_addresses(program: Program, items: Sequence[_Item]) -> None:
    """Every address must exist."""
    for item in items:
        memory = outside_memory(program, item.access)
        if memory is not None:
            raise ProgramFault(f"{item} leaves the {memory} memory")


class _Machine:
    """The queues: dispatch in program order, block when a queue or the result ring is full.

    Nothing here has a choice that matters (every queue and token counter has one consumer), so one
    run stands for all.

    Parameters
    ----------
    depth: commands that wait in a queue.
    ring: result vectors that the array may be ahead of post-processing.
    """

    def __init__(self, depth: int, ring: int) -> None:
        self.depth, self.ring = depth, ring
        self.vectors: deque[int] = deque()
        self.queues: dict[Unit, deque[_Item]] = {u: deque() for u in Unit}
        self.tokens: dict[tuple[Unit, Unit], deque[_Clock]] = {
            (a, b): deque() for a in Unit for b in Unit
        }
        self.now: dict[Unit, _Clock] = {u: (0,) * len(Unit) for u in Unit}
        self.matmuls: list[_Clock] = []
        self.started: dict[int, _Clock] = {}
        self.done: Counter[Unit] = Counter()

    def run(self, items: Sequence[_Item]) -> None:
        """Run to the end."""
        waiting, moved = deque(items), True
        while moved:
            moved = False
            while (
                waiting
                and not self.queues[Unit.FETCH]
                and len(self.queues[waiting[0].unit]) < self.depth
            ):
                self.queues[waiting[0].unit].append(waiting.popleft())
                moved = True
            for unit in Unit:
                moved |= self._step(unit)
        if any(self.queues.values()):
            heads = ", ".join(str(q[0]) for q in self.queues.values() if q)
            raise ProgramFault(f"deadlock with queues of {self.depth}: {heads} wait for ever")
        if any(self.tokens.values()):
            raise ProgramFault("tokens are left over at the end")

    def _step(self, unit: Unit) -> bool:
        """Run the command at the head of a queue, if it may run."""
        if not self.queues[unit]:
            return False
        item = self.queues[unit][0]
        needs = item.units("wait")
        if not all(self.tokens[u, unit] for u in needs) or not self._has_results(item):
            return False
        self.queues[unit].popleft()
        clock = self.now[unit]
        for u in needs:
            clock = _join(clock, self.tokens[u, unit].popleft())
        self.started[item.number] = clock
        if unit is Unit.STORE:
            clock = _join(clock, self.matmuls[self.done[unit]])
        self.done[unit] += 1
        end = tuple(self.done[unit] if u is unit else clock[u] for u in Unit)
        self.now[unit] = end
        if unit is Unit.COMPUTE and not item.command["partial"]:
            self.matmuls.append(end)
        for u in item.units("signal"):
            self.tokens[unit, u].append(end)
        return True

    def _has_results(self, item: _Item) -> bool:
        """Whether a STORE finds its vectors, and a MATMUL room for its own.

        A MATMUL that makes more than there is room for ends only if its STORE runs beside it.
        """
        if item.unit is Unit.STORE:
            if self.done[Unit.STORE] >= len(self.matmuls):
                return False
            self.vectors.popleft()
        if item.unit is not Unit.COMPUTE or item.command["partial"]:
            return True
        made = result_vectors(item.command)
        if sum(self.vectors) + made > self.ring:
            stores = self.queues[Unit.STORE]
            if self.vectors or not stores:
                return False
            if not all(self.tokens[u, Unit.STORE] for u in stores[0].units("wait")):
                return False
        self.vectors.append(made)
        return True


def _join(a: _Clock, b: _Clock) -> _Clock:
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _check_races(items: Sequence[_Item], started: Mapping[int, _Clock]) -> int:
    """Every conflicting pair of different units must be ordered as in the program, and stamps.

    Units run in order: if the latest conflicting command of a unit is done, so are the others. A
    JUMP is done before a later command is fetched.
    """
    history: dict[Unit, list[_Item]] = {u: [] for u in Unit}
    last, ordered = LastAccess(), 0
    for item in items:
        others = tuple(u for u in Unit if u not in (item.unit, Unit.FETCH))
        access = stamped(item.access) if item.command["stamp"] else item.access
        for other, index in last.conflicts(access, others).items():
            ordered += 1
            if started[item.number][other] <= index:
                earlier = history[other][index]
                what = "bytes" if item.access.conflicts(earlier.access) else "time stamp"
                raise ProgramFault(f"{item} and {earlier} race for the same {what}")
        last.record(item.unit, len(history[item.unit]), access)
        history[item.unit].append(item)
    return ordered


def _check_fetches(items: Sequence[_Item], started: Mapping[int, _Clock]) -> None:
    """A command must be fetched after the LOAD that wrote it: a JUMP between them waits."""
    written: list[tuple[int, Spans]] = []
    loads, known = 0, 0
    for item in items:
        own = span(Space.COMMANDS, item.position, COMMANDS[item.command.opcode].words)
        for index, spans in written:
            if index >= known and spans.overlaps(own):
                raise ProgramFault(f"{item} may be fetched before it is loaded")
        if item.unit is Unit.FETCH:
            known = started[item.number][Unit.LOAD]
            written = [entry for entry in written if entry[0] >= known]
        if item.command.opcode is Opcode.LOAD:
            if item.command["target"] == Target.COMMANDS:
                written.append((loads, item.access.writes))
            loads += 1


def _most_tokens(items: Sequence[_Item], depth: int) -> int:
    """Bound the tokens between two units: those open in program order, and what queues can add."""
    count: Counter[tuple[Unit, Unit]] = Counter()
    most = 0
    for item in items:
        count.subtract((u, item.unit) for u in item.units("wait"))
        count.update((item.unit, u) for u in item.units("signal"))
        most = max(most, *count.values(), 0)
    return most + depth + 1 if most else 0


def check_program(program: Program) -> CheckReport:
    """Check that a program is free of races and deadlock and stays inside its memories.

    Raises
    ------
    ProgramFault: it is not; the text names the commands.
    """
    trace = trace_program(program)
    commands = trace.commands
    check_commands(program, commands)
    items = _items(program, trace)
    _check_addresses(program, items)
    for item in items:
        packs = item.command.opcode is Opcode.STORE and item.command["packed"]
        moves = item.command.opcode is Opcode.COPY or packs
        if moves and item.access.reads.overlaps(item.access.writes):
            raise ProgramFault(f"{item} writes bytes that it reads")
    uneven = uneven_padding(
        [(i.command.opcode, dict(i.command.values) | {"w_base": i.base}, i.access) for i in items],
        trace.weights,
        program.spec,
    )
    if uneven is not None:
        raise ProgramFault(f"{items[uneven]} may pause in padding that is not filled evenly")
    if len(program.commands) > program.spec.memory.command_words:
        raise ProgramFault("program is longer than the command memory")
    machine = _Machine(program.spec.commands_held, program.spec.memory.accumulator_depth)
    machine.run(items)
    ordered = _check_races(items, machine.started)
    _check_fetches(items, machine.started)
    tokens = _most_tokens(items, program.spec.commands_held)
    limit = (1 << program.spec.token_bits) - 1
    if tokens > limit:
        raise ProgramFault(
            f"{tokens} tokens can be open between two units, at most {limit}: raise token_bits"
        )
    return CheckReport(commands=len(items), ordered=ordered, tokens=tokens)
