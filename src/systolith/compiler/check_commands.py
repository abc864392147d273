"""Whether a command's fields fit the memories and the units, and each other."""

import math
from collections.abc import Mapping, Sequence

from systolith.compiler.check_depthwise import depthwise_fault
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Command, Opcode, Unit, count_fault
from systolith.spec.precision import Precision, WeightFormat, nibble_zeros
from systolith.spec.program import Program
from systolith.spec.quantize import scale_fault, zero_fault
from systolith.spec.softmax import SoftmaxForm

__all__ = ["ProgramFault", "check_commands", "result_vectors"]


class ProgramFault(AssertionError):
    """A program with a race, a deadlock or an access outside of a memory: a compiler bug."""


def _check_matmul(program: Program, name: str, v: Mapping[str, int]) -> None:
    spec = program.spec
    if v["w_format"] not in spec.array.weight_formats:
        raise ProgramFault(f"{name} has weights in a format that there is no decoder of")
    if v["w_format"] != WeightFormat.DENSE and v["precision"] != Precision.W8A8:
        raise ProgramFault(f"{name} has nibbles of weights that are not dense")
    fault = spec.sparse_fault(v) if v["w_format"] == WeightFormat.TWO_OF_FOUR else None
    if fault:
        raise ProgramFault(f"{name}: {fault}")
    have = spec.weight_words if spec.external.data_bytes else len(program.weights)
    if v["w_base"] + v["w_words"] > have or have > spec.weight_words:
        raise ProgramFault(f"{name} leaves the weight memory")
    if v["precision"] not in spec.array.precisions:
        raise ProgramFault(f"{name} needs a precision that is not built in")
    if v["precision"] != Precision.W8A8 and v["w_zero"] not in nibble_zeros(v["w_signed"]):
        raise ProgramFault(f"{name} has a zero point that is no code of a nibble")
    if v["depthwise"] and v["precision"] != Precision.W8A8:
        raise ProgramFault(f"{name} is depthwise and not W8A8")
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


def _check_conversion(program: Program, name: str, v: Mapping[str, int]) -> None:
    post = program.spec.post
    if not post.quantize_lanes:
        raise ProgramFault(f"{name} needs lanes for float32 numbers")
    if not v["length"]:
        raise ProgramFault(f"{name} converts no numbers")
    fault = scale_fault(v["scale"])
    if fault:
        raise ProgramFault(f"{name}: {fault}")


def _check_quantize(program: Program, name: str, v: Mapping[str, int]) -> None:
    _check_conversion(program, name, v)
    if v["form"] not in program.spec.post.quantize_forms:
        raise ProgramFault(f"{name} has a form that is not built in")
    fault = zero_fault(v["zero"], v["low"], v["high"])
    if fault:
        raise ProgramFault(f"{name}: {fault}")


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
    if v["packed"] and not spec.array.packs:
        raise ProgramFault(f"{name} packs nibbles, which is not built in")
    tables = spec.memory.tables if spec.external.data_bytes else len(program.tables)
    if v["table"] and v["table_index"] >= min(tables, spec.memory.tables):
        raise ProgramFault(f"{name} names a table that does not exist")
    combined = spec.post.product if v["r_product"] else spec.post.residual
    if v["mode"] not in spec.post.modes or (v["residual"] and not combined):
        raise ProgramFault(f"{name} needs post-processing that is not built in")


def _outputs(matmul: Command) -> list[int]:
    """Tiles, channel tiles, and rows and columns of outputs."""
    pixels = ("oy", "ox") if matmul["depthwise"] else ("my", "mx")
    return [matmul[f"{n}_count"] for n in ("t", "n", *pixels)]


def _column_sums(matmul: Command) -> int:
    """Channels of a result vector for each column of the array."""
    return 2 if matmul["precision"] == Precision.W4A8 else 1


def _check_partial(matmuls: Sequence[Command]) -> list[Command]:
    """Sums that are left are added to, tile for tile; return the MATMULs with results."""
    left: Command | None = None
    for number, m in enumerate(matmuls):
        if bool(m["accumulate"]) != (left is not None):
            raise ProgramFault(f"MATMUL {number} must accumulate if the one before was partial")
        chained = m["accumulate"] or m["partial"]
        if chained and _outputs(m)[:2] != [1, 1]:
            raise ProgramFault(f"MATMUL {number} keeps sums of more than one tile")
        if left is not None and _outputs(m) != _outputs(left):
            raise ProgramFault(f"MATMUL {number} adds to sums of other pixels")
        if left is not None and _column_sums(m) != _column_sums(left):
            raise ProgramFault(f"MATMUL {number} adds to sums of other channels")
        left = m if m["partial"] else None
    if left is not None:
        raise ProgramFault("the last MATMUL must not be partial")
    return [m for m in matmuls if not m["partial"]]


def result_vectors(matmul: Command) -> int:
    """Result vectors of a MATMUL that is not partial."""
    return math.prod(_outputs(matmul))


def _check_tokens(name: str, command: Command) -> None:
    """The fetcher takes tokens at a JUMP, and has none to give."""
    jump = command.opcode is Opcode.JUMP
    if command["wait"] >> Unit.FETCH & 1 or (jump and command["signal"]):
        raise ProgramFault(f"{name} needs a token that the fetcher does not give")


def _check_built(spec: AcceleratorSpec, name: str, command: Command) -> None:
    """The unit is there, and its counters hold the command's counts."""
    if COMMANDS[command.opcode].unit is Unit.MOVE and not spec.moves:
        raise ProgramFault(f"{name} needs the unit MOVE, which is not built in")
    fault = count_fault(command.opcode, command.values, spec.count_bits)
    if fault:
        raise ProgramFault(f"{name}: {fault}")


def _check_pairing(spec: AcceleratorSpec, commands: Sequence[Command]) -> None:
    """STORE k consumes the tiles of MATMUL k, those left out that leave their sums for the next."""
    matmuls = _check_partial([c for c in commands if c.opcode is Opcode.MATMUL])
    stores = [c for c in commands if c.opcode is Opcode.STORE]
    names = [f"{n}_count" for n in ("t", "n", "my", "mx")]
    if len(matmuls) != len(stores):
        raise ProgramFault(f"{len(matmuls)} MATMUL but {len(stores)} STORE")
    for index, (m, s) in enumerate(zip(matmuls, stores, strict=True)):
        if _outputs(m) != [s[n] for n in names]:
            raise ProgramFault(f"MATMUL and STORE {index} have different loops")
        if min(s["tile_channels"], s["channels"]) > spec.array.columns * _column_sums(m):
            raise ProgramFault(f"STORE {index} stores more channels than MATMUL {index} makes")


_CHECKS = {
    Opcode.MATMUL: _check_matmul,
    Opcode.STORE: _check_store,
    Opcode.COPY: _check_copy,
    Opcode.SOFTMAX: _check_softmax,
    Opcode.QUANTIZE: _check_quantize,
    Opcode.DEQUANTIZE: _check_conversion,
}


def check_commands(program: Program, commands: Sequence[Command]) -> None:
    """Check commands in order of execution.

    Raises
    ------
    ProgramFault: the first that is wrong.
    """
    _check_pairing(program.spec, commands)
    for number, command in enumerate(commands):
        name = f"{command.opcode.name} {number}"
        _check_tokens(name, command)
        _check_built(program.spec, name, command)
        if command.opcode in _CHECKS:
            _CHECKS[command.opcode](program, name, command.values)
