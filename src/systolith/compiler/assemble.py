"""From symbolic commands with allocated storages to command words and memory images."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.command_memory import chunk_arena
from systolith.compiler.constants import Constants
from systolith.compiler.cuts import full_values
from systolith.compiler.external import ExternalImage
from systolith.compiler.footprint import Access, accesses, joined, strided
from systolith.compiler.interleave import interleave, place_chunks
from systolith.compiler.ir import Storage, SymbolicCommand
from systolith.compiler.movable import Item, Movable, movable_loads
from systolith.compiler.schedule import Tokens, assign_tokens
from systolith.compiler.spaces import stamped, whole_access
from systolith.compiler.stream import stream_constants
from systolith.compiler.weight_choice import Permitted, StoredWeights, encode_weights
from systolith.errors import CompileError
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, Target, Unit, count_fault, encode

__all__ = ["Assembly", "assemble"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Assembly:
    """What a program holds besides its tensors.

    Parameters
    ----------
    commands, weights, parameters, tables, external, external_bytes: as in `Program`.
    peaks: addresses used of the memories that LOADs fill, in the units of `MemorySpec`.
    loaded, saved: bytes moved from and to external memory.
    cycles: predicted, 0 without external memory.
    stored: layers whose weights are not dense.
    """

    commands: NDArray[np.uint32]
    weights: NDArray[np.uint8]
    parameters: NDArray[np.uint32]
    tables: NDArray[np.uint8]
    external: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    external_bytes: int = 0
    peaks: dict[Target, int] = field(default_factory=dict)
    loaded: int = 0
    saved: int = 0
    cycles: int = 0
    stored: dict[str, StoredWeights] = field(default_factory=dict)


def _encoded(item: Item, token: Tokens | None) -> list[int]:
    values = item.values
    if token is not None:
        values = values | {"wait": token.wait, "signal": token.signal}
    values = {k: v for k, v in values.items() if k not in ("opcode", "words", "w_words")}
    try:
        return encode(item.opcode, **values)
    except ValueError as error:
        raise CompileError(
            f"layer {item.layer!r}: {error}: the layer is too large for one command;"
            " make it smaller"
        ) from error


def _with_border(command: SymbolicCommand, access: Access, padded: Collection[str]) -> Access:
    """Let the STORE that stamps a padded tensor wait for the FILLs of its border."""
    storage, _ = command.bases.get("y_base", (None, 0))
    if storage is None or not command.values.get("stamp") or command.layer not in padded:
        return access
    border = strided(storage.address, (), storage.size)
    return Access(reads=joined(access.reads, border), writes=access.writes)


def _footprints(
    commands: Sequence[SymbolicCommand],
    resolved: Sequence[dict[str, int]],
    constants: Constants,
    padded: Collection[str],
) -> list[Access]:
    """Activation bytes of every command; weights are where `constants` put them."""
    weights = constants.images()[0]
    pairs = [(c.opcode, v) for c, v in zip(commands, resolved, strict=True)]
    found = accesses(pairs, weights, constants.spec)
    found = [_with_border(c, a, padded) for c, a in zip(commands, found, strict=True)]
    moves = (Opcode.SOFTMAX, Opcode.COPY, Opcode.QUANTIZE, Opcode.DEQUANTIZE)
    if any(v["stamp"] for c, v in zip(commands, resolved, strict=True) if c.opcode in moves):
        # The units MOVE and STORE both stamp: their order matters.
        return [stamped(a) if v["stamp"] else a for v, a in zip(resolved, found, strict=True)]
    return found


def assemble(
    commands: Sequence[SymbolicCommand],
    constants: Constants,
    *,
    padded: Collection[str],
    tensors: Mapping[Storage, NDArray[np.uint8] | None],
    formats: Permitted,
) -> Assembly:
    """Order the commands by tokens and encode them.

    Parameters
    ----------
    commands: in program order, END last; storages on chip have addresses.
    constants: all weights, parameters and tables.
    padded: names of PAD layers.
    tensors: storages in external memory, which get their addresses, and what some of them hold
        before the run.
    formats: of weights, among which layers choose.

    Raises
    ------
    CompileError: a memory is too small, or a value does not fit its field.
    """
    spec = constants.spec
    resolved = [full_values(c.opcode, c.resolved()) for c in commands]
    for command, values in zip(commands, resolved, strict=True):
        _check_built(command, values, spec)
    footprints = _footprints(commands, resolved, constants, padded)
    constants, stored = encode_weights(
        [c.layer for c in commands],
        [(c.opcode, v) for c, v in zip(commands, resolved, strict=True)],
        constants,
        formats,
    )
    if spec.external.data_bytes:
        streamed = _streamed(commands, resolved, footprints, constants, tensors)
        return replace(streamed, stored=stored)
    constants.check()
    _check_words(commands, spec)
    items = [
        Item(opcode=c.opcode, values=v, layer=c.layer, access=a)
        for c, v, a in zip(commands, resolved, footprints, strict=True)
    ]
    units = [COMMANDS[i.opcode].unit for i in items]
    ordered = [(u, i) for u, i in zip(units, items, strict=True) if u is not None]
    partial = {number for number, (_, item) in enumerate(ordered) if item.partial}
    tokens = iter(assign_tokens([(u, i.access) for u, i in ordered], partial))
    words: list[int] = []
    for unit, item in zip(units, items, strict=True):
        words += _encoded(item, None if unit is None else next(tokens))
    weights, parameters, tables = constants.images()
    return Assembly(
        commands=np.array(words, np.uint32),
        weights=weights,
        parameters=parameters,
        tables=tables,
        stored=stored,
    )


def _check_built(
    command: SymbolicCommand, values: Mapping[str, int], spec: AcceleratorSpec
) -> None:
    """Require that the accelerator has the unit and the width that a command needs."""
    if COMMANDS[command.opcode].unit is Unit.MOVE and not spec.moves:
        raise CompileError(
            f"layer {command.layer!r}: needs a {command.opcode.name} (of padding, or of a tensor's "
            "bytes), and there is no unit MOVE: set moves to true"
        )
    fault = count_fault(command.opcode, values, spec.count_bits)
    if fault:
        name = fault.split()[0]
        raise CompileError(
            f"layer {command.layer!r}: {fault}: set count_bits to {values[name].bit_length()}"
        )


def _check_words(commands: Sequence[SymbolicCommand], spec: AcceleratorSpec) -> None:
    need, have = sum(COMMANDS[c.opcode].words for c in commands), spec.memory.command_words
    if need > have:
        raise CompileError(
            f"memory.command_words must be at least {need} for this network, not {have}: "
            f"raise memory.command_words"
        )


def _streamed(
    commands: Sequence[SymbolicCommand],
    resolved: Sequence[dict[str, int]],
    footprints: Sequence[Access],
    constants: Constants,
    tensors: Mapping[Storage, NDArray[np.uint8] | None],
) -> Assembly:
    """Everything comes from external memory."""
    spec, external = constants.spec, ExternalImage()
    stays = [
        (c.opcode, v, c.layer)
        for c, v in zip(commands, resolved, strict=True)
        if c.opcode is not Opcode.LOAD
    ]
    stream = stream_constants(stays, constants, external)
    words = sum(COMMANDS[c.opcode].words for c in commands)
    words += len(stream.loads) * COMMANDS[Opcode.LOAD].words
    arena = external.reserve(chunk_arena(words, spec))
    # What has contents comes first: the image ends with the last of them.
    for storage, codes in sorted(tensors.items(), key=lambda item: item[1] is None):
        external.place(storage)
        if codes is not None:
            external.put(storage.address, codes)
    items = [_item(c, v, a, spec) for c, v, a in zip(commands, resolved, footprints, strict=True)]
    others, loads = movable_loads(items)
    for constant in stream.loads:
        values = full_values(Opcode.LOAD, constant.values)
        access = whole_access(Opcode.LOAD, values, Access(), spec)
        item = Item(opcode=Opcode.LOAD, values=values, layer="", access=access)
        loads.append(Movable(item=item, after=constant.after, before=constant.before))
    loads.sort(key=lambda movable: movable.before)
    result = interleave(others, loads, spec)
    first = place_chunks(result, external, arena, _encoded)
    moved = _moved_bytes([item for chunk in result.chunks for item in chunk.items])
    return Assembly(
        commands=np.array(first, np.uint32),
        weights=np.zeros((0, spec.array.columns), np.uint8),
        parameters=np.zeros((0, spec.post.lanes, 8), np.uint32),
        tables=np.zeros((0, 256), np.uint8),
        external=external.image(),
        external_bytes=external.size,
        peaks=stream.peaks,
        loaded=moved[Opcode.LOAD],
        saved=moved[Opcode.SAVE],
        cycles=result.cycles,
    )


def _item(
    command: SymbolicCommand, values: dict[str, int], access: Access, spec: AcceleratorSpec
) -> Item:
    """A command with its footprint in all memories; external tensors have addresses now."""
    for name, (storage, offset) in command.bases.items():
        if storage.external:
            values[name] = storage.address + offset
    whole = whole_access(command.opcode, values, access, spec)
    return Item(
        opcode=command.opcode,
        values=values,
        layer=command.layer,
        access=whole,
        storages=frozenset(id(s) for s, _ in command.bases.values() if not s.external),
    )


def _moved_bytes(items: Sequence[Item]) -> dict[Opcode, int]:
    moved = {Opcode.LOAD: 0, Opcode.SAVE: 0}
    for item in items:
        if item.opcode in moved:
            v = item.values
            moved[item.opcode] += v["length"] * v["d0_count"] * v["d1_count"] * v["d2_count"]
    return moved
