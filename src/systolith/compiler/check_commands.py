"""Whether a command's fields fit the memories and the units, and each other."""

import math
from collections.abc import Mapping, Sequence

from systolith.compiler.check_depthwise import depthwise_fault
from systolith.spec.commands import Command, Opcode, Unit
from systolith.spec.program import Program
from systolith.spec.softmax import SoftmaxForm

__all__ = ["ProgramFault", "check_commands", "result_vectors"]


class ProgramFault(AssertionError):
    """A program with a race, a deadlock or an access outside of a memory: a compiler bug."""


def _check_matmul(program: Program, name: str, v: Mapping[str, int]) -> None:
    spec = program.spec
    tiles = v["n_count"] * v["ky_count"] * v["kx_count"] * v["kc_count"]
    words = spec.array.rows * (1 if v["w_hold"] else tiles)
    have = spec.weight_words if spec.external.data_bytes else len(program.weights)
    if v["w_base"] + words > have or have > spec.weight_words:
        raise ProgramFault(f"{name} leaves the weight memory")
    if v["depthwise"]:
        fault = depthwise_fault(spec, v)
        if fault:
            raise ProgramFault(f"{name} {fault}")
    elif v["my_count"] * v["mx_count"] > spec.memory.accumulator_depth:
        raise ProgramFault(f"{name} needs more accumulators than there are")


def _check_copy(program: Program, name: str, v: Mapping[str, int]) -> None:
    if not v["length"]:
        raise ProgramFault(f"{name} copies no bytes")


def _check_softmax(program: Program, name: str, v: Mapping[str, int]) -> None:
    tables = v["table"] + (v["form"] == SoftmaxForm.QUOTIENT)
    if tables >= min(len(program.exponents), program.spec.post.softmax_tables):
        raise ProgramFault(f"{name} names a table that does not exist")
    if not v["length"]:
        raise ProgramFault(f"{name} has empty rows")


def _check_store(program: Program, name: str, v: Mapping[str, int]) -> None:
    spec = program.spec
    width = min(v["tile_channels"], v["channels"])
    beats = -(-width // spec.post.lanes)
    words = v["p_base"] + (v["n_count"] - 1) * v["p_stride"] + beats
    have = spec.lane_words if spec.external.data_bytes else len(program.parameters)
    if words > have or words > spec.lane_words:
        raise ProgramFault(f"{name} leaves the parameter memory")
    if not 0 < v["channels"] - (v["n_count"] - 1) * v["tile_channels"] <= v["tile_channels"]:
        raise ProgramFault(f"{name} has channels and tiles that do not agree")
    if width > spec.array.columns:
        raise ProgramFault(f"{name} stores more channels than the array has columns")
    tables = spec.memory.tables if spec.external.data_bytes else len(program.tables)
    if v["table"] and v["table_index"] >= min(tables, spec.memory.tables):
        raise ProgramFault(f"{name} names a table that does not exist")
    if v["mode"] not in spec.post.modes or (v["residual"] and not spec.post.residual):
        raise ProgramFault(f"{name} needs post-processing that is not built in")


def result_vectors(matmul: Command) -> int:
    """Result vectors of a MATMUL."""
    loops = ("t", "n", "oy", "ox") if matmul["depthwise"] else ("t", "n", "my", "mx")
    return math.prod(matmul[f"{name}_count"] for name in loops)


def _check_tokens(name: str, command: Command) -> None:
    """The fetcher takes tokens at a JUMP, and has none to give."""
    jump = command.opcode is Opcode.JUMP
    if command["wait"] >> Unit.FETCH & 1 or (jump and command["signal"]):
        raise ProgramFault(f"{name} needs a token that the fetcher does not give")


def _check_pairing(commands: Sequence[Command]) -> None:
    """STORE k consumes the tiles of MATMUL k."""
    matmuls = [c for c in commands if c.opcode is Opcode.MATMUL]
    stores = [c for c in commands if c.opcode is Opcode.STORE]
    names = [f"{n}_count" for n in ("t", "n", "my", "mx")]
    streamed = [f"{n}_count" for n in ("t", "n", "oy", "ox")]
    if len(matmuls) != len(stores):
        raise ProgramFault(f"{len(matmuls)} MATMUL but {len(stores)} STORE")
    for index, (m, s) in enumerate(zip(matmuls, stores, strict=True)):
        made = [m[n] for n in (streamed if m["depthwise"] else names)]
        if made != [s[n] for n in names]:
            raise ProgramFault(f"MATMUL and STORE {index} have different loops")


_CHECKS = {
    Opcode.MATMUL: _check_matmul,
    Opcode.STORE: _check_store,
    Opcode.COPY: _check_copy,
    Opcode.SOFTMAX: _check_softmax,
}


def check_commands(program: Program, commands: Sequence[Command]) -> None:
    """Check commands in order of execution.

    Raises
    ------
    ProgramFault: the first that is wrong.
    """
    _check_pairing(commands)
    for number, command in enumerate(commands):
        name = f"{command.opcode.name} {number}"
        _check_tokens(name, command)
        if command.opcode in _CHECKS:
            _CHECKS[command.opcode](program, name, command.values)
