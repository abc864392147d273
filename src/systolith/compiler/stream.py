"""Constants in external memory: every command's weights, parameters and table are loaded for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.constants import Constants
from systolith.compiler.external import ExternalImage
from systolith.compiler.residency import Arrival, Residency, Use, place_blocks
from systolith.errors import CompileError
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, ParameterForm, Target
from systolith.spec.registers import Window, window_stride
from systolith.spec.requant import PARAMETER_FIELDS

__all__ = ["ConstantLoad", "ConstantStream", "stream_constants"]

_Values = dict[str, int]
_Block = tuple[int, int]
"""Address in the image of `Constants`, and length."""
_Place = tuple[int, int, ParameterForm]
"""Where a part lies in external memory, bytes a word, form."""

_LONGEST = 8192
"""Bytes of a LOAD at most, so that what is needed first does not wait behind a large block."""
_SHARE = 4
"""Part of the parameter memory that a layer's parameters may take to be loaded as one block."""
_OFFSET = next(f.word for f in PARAMETER_FIELDS if f.name == "offset")
_SHIFT = next(f.word for f in PARAMETER_FIELDS if f.name == "shift")


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ConstantLoad:
    """Fields of a LOAD, and between which commands it must be: see `Arrival`."""

    values: _Values
    after: int
    before: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ConstantStream:
    """The result of `stream_constants`.

    Parameters
    ----------
    loads: in the order of first uses.
    peaks: addresses used of each memory.
    """

    loads: list[ConstantLoad]
    peaks: dict[Target, int]


def _weight_block(opcode: Opcode, v: _Values, spec: AcceleratorSpec) -> _Block | None:
    if opcode is not Opcode.MATMUL:
        return None
    return v["w_base"], v["w_words"]


def _parameter_block(opcode: Opcode, v: _Values, spec: AcceleratorSpec) -> _Block | None:
    if opcode is not Opcode.STORE:
        return None
    beats = -(-min(v["tile_channels"], v["channels"]) // spec.post.lanes)
    return v["p_base"], (v["n_count"] - 1) * v["p_stride"] + beats


def _table_block(opcode: Opcode, v: _Values, spec: AcceleratorSpec) -> _Block | None:
    return (v["table_index"], 1) if opcode is Opcode.STORE and v["table"] else None


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Part:
    """A copy of a block, or what a second LOAD changes in it: bytes, bytes a word, form."""

    codes: NDArray[np.uint8]
    stride: int
    form: ParameterForm = ParameterForm.SHORT


def _weight_parts(constants: Constants, block: _Block) -> list[_Part]:
    stride = window_stride(constants.spec, Window.WEIGHTS)
    words = np.zeros((block[1], stride), np.uint8)
    part = constants.images()[0][block[0] : block[0] + block[1]]
    words[:, : constants.spec.array.columns] = part
    return [_Part(codes=words.reshape(-1), stride=stride)]


def _parameter_image(constants: Constants, block: _Block) -> list[_Part]:
    records = constants.images()[1][block[0] : block[0] + block[1]]
    return _parameter_parts(records, constants.spec)


def _table_parts(constants: Constants, block: _Block) -> list[_Part]:
    return [_Part(codes=constants.images()[2][block[0]], stride=256)]


def _parameter_parts(records: NDArray[np.uint32], spec: AcceleratorSpec) -> list[_Part]:
    """Lane words [n, lanes, 8] in the forms that arrive first."""
    top = records[..., _OFFSET + 1].view("<i4")
    if (top >> 23 != top >> 31).any():  # more than 56 bits of offset
        return [_part(records, ParameterForm.WIDE)]
    last = records[..., _OFFSET + 1] << 8 | records[..., _SHIFT] & 255
    short = np.concatenate([records[..., :3], last[..., None]], axis=-1)
    whole = _part(short, ParameterForm.SHORT)
    if (short[..., 1:] != short[:, :1, 1:]).any():
        return [whole]
    parts = [_part(short[:, :1], ParameterForm.UNIFORM)]
    if (short[..., 0] != short[:, :1, 0]).any():
        parts.append(_part(short[..., :1], ParameterForm.BIAS))
    size = spec.external.data_bytes
    beats = sum(-(-len(p.codes) // size) for p in parts)
    # A further LOAD takes the fetcher a cycle a word, which other commands may wait for.
    cycles = beats + COMMANDS[Opcode.LOAD].words * (len(parts) - 1)
    return parts if cycles < -(-len(whole.codes) // size) else [whole]


def _part(words: NDArray[np.uint32], form: ParameterForm) -> _Part:
    codes = np.ascontiguousarray(words, "<u4").view(np.uint8).reshape(-1)
    return _Part(codes=codes, stride=len(codes) // len(words), form=form)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Memory:
    """A memory on chip and what commands use of it.

    Parameters
    ----------
    target: of LOAD.
    option, capacity, scale: its field of `MemorySpec`, its addresses, and the field's units of one.
    field: the commands' field that is an address.
    block: what a command uses.
    image: what external memory holds of it.
    """

    target: Target
    option: str
    capacity: int
    scale: int
    field: str
    block: Callable[[Opcode, _Values, AcceleratorSpec], _Block | None]
    image: Callable[[Constants, _Block], list[_Part]]


def _memories(spec: AcceleratorSpec) -> list[_Memory]:
    return [
        _Memory(
            target=Target.WEIGHTS,
            option="weight_bytes",
            capacity=spec.weight_words,
            scale=spec.array.columns,
            field="w_base",
            block=_weight_block,
            image=_weight_parts,
        ),
        _Memory(
            target=Target.PARAMETERS,
            option="parameter_channels",
            capacity=spec.lane_words,
            scale=spec.post.lanes,
            field="p_base",
            block=_parameter_block,
            image=_parameter_image,
        ),
        _Memory(
            target=Target.TABLES,
            option="tables",
            capacity=spec.memory.tables,
            scale=1,
            field="table_index",
            block=_table_block,
            image=_table_parts,
        ),
    ]


def _uses(
    memory: _Memory, commands: Sequence[tuple[Opcode, _Values, str]], spec: AcceleratorSpec
) -> list[Use]:
    result, layers = list[Use](), list[str]()
    for at, (opcode, values, layer) in enumerate(commands):
        block = memory.block(opcode, values, spec)
        if block is None:
            continue
        if block[1] > memory.capacity:
            need = block[1] * memory.scale
            raise CompileError(
                f"layer {layer!r}: memory.{memory.option} must be at least {need}, not "
                f"{memory.capacity * memory.scale}: raise memory.{memory.option} to at least {need}"
            )
        layers.append(layer)
        result.append(Use(at=at, key=block, size=block[1]))
    if memory.target is Target.PARAMETERS:
        return _joined(result, layers, memory.capacity // _SHARE)
    return result


def _joined(uses: Sequence[Use], layers: Sequence[str], most: int) -> list[Use]:
    """Let all commands of a layer use all of its blocks as one, which takes fewer LOADs.

    Blocks stay apart if their union has gaps or more than ``most`` addresses.
    """
    covered: dict[str, set[int]] = {}
    for use, layer in zip(uses, layers, strict=True):
        first, count = cast(_Block, use.key)
        covered.setdefault(layer, set()).update(range(first, first + count))
    result = []
    for use, layer in zip(uses, layers, strict=True):
        start, size = min(covered[layer]), len(covered[layer])
        if size <= most and max(covered[layer]) == start + size - 1:
            use = Use(at=use.at, key=(start, size), size=size)
        result.append(use)
    return result


def _load(
    memory: _Memory,
    arrival: Arrival,
    constants: Constants,
    external: ExternalImage,
    known: dict[_Block, list[_Place]],
) -> list[ConstantLoad]:
    """LOADs of one block, which is put into external memory once.

    A part changes what the parts before it loaded: unit LOAD runs them in order.
    """
    block = cast(_Block, arrival.key)
    if block not in known:
        parts = memory.image(constants, block)
        known[block] = [(external.add(p.codes), p.stride, p.form) for p in parts]
    # Tables count in bytes on chip.
    unit = 256 if memory.target is Target.TABLES else 1
    loads = []
    for address, stride, form in known[block]:
        step = max(1, _LONGEST // stride)
        for first in range(0, block[1], step):
            values = {
                "target": int(memory.target),
                "form": int(form),
                "e_base": address + first * stride,
                "m_base": (arrival.address + first) * unit,
                "length": min(step, block[1] - first) * stride,
            }
            loads.append(ConstantLoad(values=values, after=arrival.after, before=arrival.before))
    return loads


def stream_constants(
    commands: Sequence[tuple[Opcode, _Values, str]],
    constants: Constants,
    external: ExternalImage,
) -> ConstantStream:
    """Give constants their places on chip over time, and change the commands' fields to them.

    Parameters
    ----------
    commands: opcode, all fields, layer; in program order. The fields are changed.
    constants: what the fields refer to.
    external: gets a copy of every block that is used.

    Raises
    ------
    CompileError: a command needs more than a memory holds.
    """
    spec = constants.spec
    loads: list[ConstantLoad] = []
    peaks = {}
    for memory in _memories(spec):
        uses = _uses(memory, commands, spec)
        placed: Residency = place_blocks(uses, memory.capacity)
        for use, address in zip(uses, placed.addresses, strict=True):
            commands[use.at][1][memory.field] += address - cast(_Block, use.key)[0]
        known: dict[_Block, list[_Place]] = {}
        for arrival in placed.arrivals:
            loads += _load(memory, arrival, constants, external, known)
        peaks[memory.target] = placed.peak * memory.scale
    loads.sort(key=lambda item: item.before)
    return ConstantStream(loads=loads, peaks=peaks)
