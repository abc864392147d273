"""An independent check of a program: order of accesses, deadlock, and bounds of memories."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from systolith.compiler.footprint import Access, accesses
from systolith.spec.commands import COMMANDS, Command, Opcode, Unit, decode
from systolith.spec.program import Program

__all__ = ["CheckReport", "ProgramFault", "check_program"]


class ProgramFault(AssertionError):
    """A program with a race, a deadlock or an access outside of a memory: a compiler bug."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What was checked.

    Parameters
    ----------
    commands: without END.
    ordered: conflicting pairs of accesses found in order.
    tokens: most tokens outstanding between two units.
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

    def units(self, mask: str) -> list[Unit]:
        return [u for u in Unit if self.command[mask] >> u & 1]

    def __str__(self) -> str:
        return f"{self.command.opcode.name} {self.number}"


def _items(program: Program, commands: Sequence[Command]) -> list[_Item]:
    footprints = accesses([(c.opcode, c.values) for c in commands], program.weights, program.spec)
    result = []
    for number, (command, access) in enumerate(zip(commands, footprints, strict=True)):
        unit = COMMANDS[command.opcode].unit
        if unit is not None:
            result.append(_Item(command=command, unit=unit, access=access, number=number))
    return result


def _check_activations(program: Program, items: Sequence[_Item]) -> None:
    """Every byte must exist."""
    spec = program.spec
    for item in items:
        for spans in (item.access.reads, item.access.writes):
            if not len(spans.starts):
                continue
            inside = (spans.ends - 1) % spec.region_stride < spec.memory.activation_bytes
            same = (spans.ends - 1) // spec.region_stride == spans.starts // spec.region_stride
            last = spans.ends[-1] <= spec.memory.activation_regions * spec.region_stride
            if not (inside.all() and same.all() and last and spans.starts[0] >= 0):
                raise ProgramFault(f"{item} leaves the activation memory")


def _check_matmul(program: Program, name: str, v: Mapping[str, int]) -> None:
    spec = program.spec
    tiles = v["n_count"] * v["ky_count"] * v["kx_count"] * v["kc_count"]
    words = spec.array.rows * (1 if v["w_hold"] else tiles)
    if v["w_base"] + words > len(program.weights) or len(program.weights) > spec.weight_words:
        raise ProgramFault(f"{name} leaves the weight memory")
    if v["my_count"] * v["mx_count"] > spec.memory.accumulator_depth:
        raise ProgramFault(f"{name} needs more accumulators than there are")


def _check_store(program: Program, name: str, v: Mapping[str, int]) -> None:
    spec = program.spec
    width = min(v["tile_channels"], v["channels"])
    beats = -(-width // spec.post.lanes)
    words = v["p_base"] + (v["n_count"] - 1) * v["p_stride"] + beats
    if words > len(program.parameters) or words > spec.lane_words:
        raise ProgramFault(f"{name} leaves the parameter memory")
    if not 0 < v["channels"] - (v["n_count"] - 1) * v["tile_channels"] <= v["tile_channels"]:
        raise ProgramFault(f"{name} has channels and tiles that do not agree")
    if width > spec.array.columns:
        raise ProgramFault(f"{name} stores more channels than the array has columns")
    if v["table"] and v["table_index"] >= min(len(program.tables), spec.memory.tables):
        raise ProgramFault(f"{name} names a table that does not exist")
    if v["mode"] not in spec.post.modes or (v["residual"] and not spec.post.residual):
        raise ProgramFault(f"{name} needs post-processing that is not built in")


def _check_pairing(commands: Sequence[Command]) -> None:
    """STORE k consumes the tiles of MATMUL k."""
    matmuls = [c for c in commands if c.opcode is Opcode.MATMUL]
    stores = [c for c in commands if c.opcode is Opcode.STORE]
    names = [f"{n}_count" for n in ("t", "n", "my", "mx")]
    if len(matmuls) != len(stores):
        raise ProgramFault(f"{len(matmuls)} MATMUL but {len(stores)} STORE")
    for index, (m, s) in enumerate(zip(matmuls, stores, strict=True)):
        if [m[n] for n in names] != [s[n] for n in names]:
            raise ProgramFault(f"MATMUL and STORE {index} have different loops")


def _simulate(items: Sequence[_Item], depth: int) -> tuple[list[tuple[int, ...]], list, int]:
    """Run the queues: dispatch in program order, block when a queue is full.

    Returns per item the clock known at its start and at its end, and the most tokens outstanding.
    The machine has no choices that matter (every queue and token counter has one consumer), so one
    run stands for all.
    """
    queues: dict[Unit, deque[_Item]] = {u: deque() for u in Unit}
    tokens: dict[tuple[Unit, Unit], deque[tuple[int, ...]]] = {
        (a, b): deque() for a in Unit for b in Unit
    }
    now = {u: (0,) * len(Unit) for u in Unit}
    matmuls: list[tuple[int, ...]] = []
    started: dict[int, tuple[int, ...]] = {}
    ended: dict[int, tuple[int, ...]] = {}
    done: Counter[Unit] = Counter()
    waiting, most, moved = deque(items), 0, True
    while moved and (waiting or any(queues.values())):
        moved = False
        while waiting and len(queues[waiting[0].unit]) < depth:
            queues[waiting[0].unit].append(waiting.popleft())
            moved = True
        for unit, queue in queues.items():
            if not queue:
                continue
            item = queue[0]
            needs = item.units("wait")
            behind = unit is Unit.STORE and done[Unit.STORE] >= len(matmuls)
            if behind or not all(tokens[u, unit] for u in needs):
                continue
            queue.popleft()
            moved = True
            clock = now[unit]
            for u in needs:
                clock = _join(clock, tokens[u, unit].popleft())
            started[item.number] = clock
            end = _join(clock, matmuls[done[unit]]) if unit is Unit.STORE else clock
            done[unit] += 1
            end = tuple(done[unit] if u is unit else end[u] for u in Unit)
            now[unit] = ended[item.number] = end
            if unit is Unit.COMPUTE:
                matmuls.append(end)
            for u in item.units("signal"):
                tokens[unit, u].append(end)
                most = max(most, len(tokens[unit, u]))
    if waiting or any(queues.values()):
        heads = ", ".join(str(q[0]) for q in queues.values() if q)
        raise ProgramFault(f"deadlock with queues of {depth}: {heads} wait for ever")
    if any(tokens.values()):
        raise ProgramFault("tokens are left over at the end")
    order = [i.number for i in items]
    return [started[n] for n in order], [ended[n] for n in order], most


def _join(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _check_races(items: Sequence[_Item], started: Sequence[tuple[int, ...]]) -> int:
    """Every conflicting pair of different units must be ordered as in the program."""
    counts: Counter[Unit] = Counter()
    history: dict[Unit, list[_Item]] = {u: [] for u in Unit}
    ordered = 0
    for item, clock in zip(items, started, strict=True):
        for other in Unit:
            if other is item.unit:
                continue
            for index, earlier in enumerate(history[other]):
                if not item.access.conflicts(earlier.access):
                    continue
                ordered += 1
                if clock[other] <= index:
                    raise ProgramFault(f"{item} and {earlier} race for the same bytes")
        counts[item.unit] += 1
        history[item.unit].append(item)
    return ordered


_CHECKS = {Opcode.MATMUL: _check_matmul, Opcode.STORE: _check_store}


def check_program(program: Program) -> CheckReport:
    """Check that a program is free of races and deadlock and stays inside its memories.

    Raises
    ------
    ProgramFault: it is not; the text names the commands.
    """
    commands = list(decode(program.commands.tolist()))
    _check_pairing(commands)
    for number, command in enumerate(commands):
        if command.opcode in _CHECKS:
            _CHECKS[command.opcode](program, f"{command.opcode.name} {number}", command.values)
    items = _items(program, commands)
    _check_activations(program, items)
    if len(program.commands) > program.spec.memory.command_words:
        raise ProgramFault("program is longer than the command memory")
    started, _, most = _simulate(items, program.spec.queue_depth)
    return CheckReport(commands=len(items), ordered=_check_races(items, started), tokens=most)
