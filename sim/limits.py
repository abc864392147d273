"""How long a program may take: the bound after which a simulation calls it stuck."""

from systolith.drivers.walk import executed
from systolith.sim.external import DEFAULT_TIMING, MemoryTiming
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import (
    COPY_LOOPS,
    FILL_LOOPS,
    MATMUL_LOOPS,
    SOFTMAX_LOOPS,
    STORE_LOOPS,
    TRANSFER_LOOPS,
    Command,
    Opcode,
    Target,
)
from systolith.spec.program import Program

__all__ = ["cycle_limit", "executed"]

_COMMAND = 100
"""Cycles a command may take beside its work: fetch, start, drain."""
_SOFTMAX_CODE = 35
"""Cycles of a code in the slowest form of softmax."""
_STALLS = 8
"""How much longer random stalls of all channels make a transfer, with room to spare."""


def _product(command: Command, loops: tuple[str, ...]) -> int:
    result = 1
    for name in loops:
        result *= command[f"{name}_count"]
    return result


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
