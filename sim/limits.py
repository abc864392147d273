"""How long a program may take: the bound after which a simulation calls it stuck."""

from collections.abc import Iterator

import numpy as np

from systolith.sim.external import DEFAULT_TIMING, MemoryTiming
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import (
    COMMANDS,
    COPY_LOOPS,
    FILL_LOOPS,
    MATMUL_LOOPS,
    SOFTMAX_LOOPS,
    STORE_LOOPS,
    TRANSFER_LOOPS,
    Command,
    Opcode,
    Target,
    decode_one,
)
from systolith.spec.program import Program, ProgramError

__all__ = ["cycle_limit", "executed"]

_COMMAND = 100
"""Cycles a command may take beside its work: fetch, start, drain."""
_SOFTMAX_CODE = 35
"""Cycles of a code in the slowest form of softmax."""
_STALLS = 8
"""How much longer random stalls of all channels make a transfer, with room to spare."""
_MOST_JUMPS = 100_000


def _product(command: Command, loops: tuple[str, ...]) -> int:
    result = 1
    for name in loops:
        result *= command[f"{name}_count"]
    return result


def _starts(command: Command, stream: str) -> list[int]:
    """Address of every run of a transfer."""
    starts = np.array([command[f"{stream}_base"]], np.int64)
    for name in TRANSFER_LOOPS:
        steps = np.arange(command[f"{name}_count"]) * command[f"{stream}_{name}_stride"]
        starts = (starts[:, None] + steps).reshape(-1)
    return [int(start) for start in starts]


def executed(program: Program) -> Iterator[Command]:
    """The commands in the order in which they run, END included.

    Commands that the program loads are taken from its image of external memory: one that writes
    commands there itself is not followed.

    Raises
    ------
    ProgramError: the program never ends.
    """
    size = max(len(program.commands), program.spec.memory.command_words)
    memory = np.zeros(size, np.uint32)
    memory[: len(program.commands)] = program.commands
    position = jumps = 0
    while True:
        command = decode_one(memory, position)  # type: ignore[arg-type]  # it is indexed alone
        yield command
        if command.opcode is Opcode.END:
            return
        position += COMMANDS[command.opcode].words
        if command.opcode is Opcode.LOAD and command["target"] == Target.COMMANDS:
            places = zip(_starts(command, "e"), _starts(command, "m"), strict=True)
            for start, place in places:
                run = program.external[start : start + command["length"]]
                memory[place : place + len(run) // 4] = run[: len(run) // 4 * 4].view("<u4")
        elif command.opcode is Opcode.JUMP:
            position, jumps = command["address"], jumps + 1
            if jumps > _MOST_JUMPS:
                raise ProgramError(f"program must end, but made {jumps} jumps")


def _work(command: Command, spec: AcceleratorSpec, timing: MemoryTiming) -> int:
    """Cycles of one command alone, without stalls on chip, rounded up."""
    if command.opcode is Opcode.MATMUL:
        passes = _product(command, MATMUL_LOOPS[:5])
        return passes * max(command["my_count"] * command["mx_count"], spec.array.rows, 4)
    if command.opcode is Opcode.STORE:
        return _product(command, STORE_LOOPS) * -(-command["tile_channels"] // spec.post.lanes)
    if command.opcode is Opcode.FILL:
        return _product(command, FILL_LOOPS) * (1 + command["length"] // spec.line_bytes)
    if command.opcode is Opcode.SOFTMAX:
        return _product(command, SOFTMAX_LOOPS) * (_COMMAND + _SOFTMAX_CODE * command["length"])
    if command.opcode is Opcode.COPY:
        return 2 * _product(command, COPY_LOOPS) * (2 + command["length"] // spec.line_bytes)
    if command.opcode in (Opcode.QUANTIZE, Opcode.DEQUANTIZE):
        pieces = 2 + command["length"] // spec.post.quantize_lanes
        return 2 * _product(command, COPY_LOOPS) * pieces
    if command.opcode in (Opcode.LOAD, Opcode.SAVE):
        return _transfer(command, spec, timing)
    return 0


def _transfer(command: Command, spec: AcceleratorSpec, timing: MemoryTiming) -> int:
    """Cycles of a transfer whose bursts follow each other without overlap."""
    size = spec.external.data_bytes
    target = command.values.get("target", int(Target.ACTIVATIONS))
    each = {Target.ACTIVATIONS: 1, Target.TABLES: size}.get(Target(target), size // 4)
    beats = 2 + command["length"] // size
    bursts = 2 + beats // spec.external.burst_beats
    cycles = beats * max(each, 1 / timing.bandwidth) + bursts * (timing.latency + 20)
    slower = 1 if timing.stalls is None else _STALLS
    return int(_product(command, TRANSFER_LOOPS) * slower * cycles) + 1


def cycle_limit(program: Program, timing: MemoryTiming = DEFAULT_TIMING) -> int:
    """Twice the cycles of all commands one after the other; no working program comes near."""
    works = (_work(c, program.spec, timing) + _COMMAND for c in executed(program))
    return 2 * sum(works) + 10_000
