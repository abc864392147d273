"""How long a program may take: the bound after which a simulation calls it stuck."""

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import (
    FILL_LOOPS,
    MATMUL_LOOPS,
    SOFTMAX_LOOPS,
    STORE_LOOPS,
    Command,
    Opcode,
    decode,
)
from systolith.spec.program import Program

__all__ = ["cycle_limit"]

_COMMAND = 100
"""Cycles a command may take beside its work: fetch, start, drain."""
_SOFTMAX_CODE = 35
"""Cycles of a code in the slowest form of softmax."""


def _product(command: Command, loops: tuple[str, ...]) -> int:
    result = 1
    for name in loops:
        result *= command[f"{name}_count"]
    return result


def _work(command: Command, spec: AcceleratorSpec) -> int:
    """Cycles of one command alone, without stalls, rounded up."""
    if command.opcode is Opcode.MATMUL:
        passes = _product(command, MATMUL_LOOPS[:5])
        return passes * max(command["my_count"] * command["mx_count"], spec.array.rows, 4)
    if command.opcode is Opcode.STORE:
        return _product(command, STORE_LOOPS) * spec.beats
    if command.opcode is Opcode.FILL:
        return _product(command, FILL_LOOPS) * (1 + command["length"] // spec.line_bytes)
    if command.opcode is Opcode.SOFTMAX:
        return _product(command, SOFTMAX_LOOPS) * (_COMMAND + _SOFTMAX_CODE * command["length"])
    return 0


def cycle_limit(program: Program) -> int:
    """Twice the cycles of all commands one after the other; no working program comes near."""
    commands = list(decode(program.commands.tolist()))
    return 2 * sum(_work(c, program.spec) + _COMMAND for c in commands) + 10_000
