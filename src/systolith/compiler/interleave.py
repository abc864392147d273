"""Program order with external memory: LOADs between the other commands, in halves if need be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from systolith.compiler.command_memory import least_words
from systolith.compiler.cuts import full_values
from systolith.compiler.external import ExternalImage
from systolith.compiler.footprint import Access
from systolith.compiler.movable import Item, Movable
from systolith.compiler.predict import Prediction, cycles
from systolith.compiler.schedule import Sequencer, Tokens
from systolith.compiler.spaces import Space, span
from systolith.errors import CompileError
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, Target, Unit

__all__ = ["Interleaved", "interleave", "place_chunks"]

_FIRST = 8
"""Part of a chunk before the LOAD of the next one, which must not hold up the first input."""
_AHEAD = 64
"""Cycles before the end of a LOAD in which the bus can use the next one."""


@dataclass(kw_only=True, eq=False)
class _Chunk:
    """Commands that lie in command memory at one time.

    Parameters
    ----------
    base: word address of the half.
    items: commands in order.
    loader: the LOAD that fetches the chunk, except for the first.
    """

    base: int
    items: list[Item] = field(default_factory=list)
    loader: Item | None = None

    @property
    def words(self) -> int:
        """Length in command words."""
        return sum(item.words for item in self.items)


@dataclass(kw_only=True, eq=False)
class Interleaved:
    """The program, in chunks that follow each other through JUMPs.

    Parameters
    ----------
    chunks: all but the last end with JUMP, the last with END.
    tokens: of all commands in order, without END.
    cycles: predicted.
    """

    chunks: list[_Chunk]
    tokens: list[Tokens]
    cycles: int


class _Writer:
    """Appends commands, cuts chunks, and keeps tokens and the predicted time."""

    def __init__(self, spec: AcceleratorSpec, words: int) -> None:
        self.spec = spec
        self.sequencer = Sequencer()
        self.prediction = Prediction(spec.commands_held)
        self.chunks = [_Chunk(base=0)]
        self.remaining = words
        have = spec.memory.command_words
        self.room = have if words <= have else have // 2
        self.pending: Item | None = None
        self._waits = False  # the pending LOAD has no place yet
        self._used = 0
        self._begin()

    def _begin(self) -> None:
        """Load the next chunk while this one runs, unless this is the last."""
        self.pending = None
        if self.remaining > self.room:
            base = self.room - self.chunks[-1].base
            values = {"target": int(Target.COMMANDS), "m_base": base, "length": 4 * self.room}
            item = Item(
                opcode=Opcode.LOAD,
                values=full_values(Opcode.LOAD, values),
                layer="",
                access=Access(writes=span(Space.COMMANDS, base, self.room)),
            )
            self.remaining += item.words
            self.pending, self._waits = item, True

    def _load_next(self) -> None:
        """Load the next chunk, which keeps unit LOAD busy for a while."""
        assert self.pending is not None
        self._waits = False
        self._put(self.pending)

    def _jump(self) -> None:
        assert self.pending is not None
        if self._waits:
            self._load_next()
        base = self.room - self.chunks[-1].base
        values = full_values(Opcode.JUMP, {"address": base})
        access = Access(reads=span(Space.COMMANDS, base, self.room))
        self.remaining += COMMANDS[Opcode.JUMP].words
        self._put(Item(opcode=Opcode.JUMP, values=values, layer="", access=access))
        self.chunks.append(_Chunk(base=base, loader=self.pending))
        self._used = 0
        self._begin()

    def _put(self, item: Item) -> None:
        self.chunks[-1].items.append(item)
        self._used += item.words
        self.remaining -= item.words
        unit = COMMANDS[item.opcode].unit
        waits: dict[Unit, int] = {}
        if unit is not None:
            waits = self.sequencer.waits(unit, item.access)
            self.sequencer.append(unit, item.access, waits, partial=item.partial)
        busy = cycles(item.opcode, item.values, self.spec)
        self.prediction.append(item.opcode, busy, waits, partial=item.partial)

    def append(self, item: Item) -> None:
        """Append a command, behind a JUMP where the chunk is full."""
        if self.pending is not None:
            if self._waits and self._used >= self.room // _FIRST:
                self._load_next()
            room = self.room - self._used - COMMANDS[Opcode.JUMP].words
            if item.words > room - self._waits * self.pending.words:
                self._jump()
        self._put(item)


def interleave(
    others: Sequence[Item], loads: Sequence[Movable], spec: AcceleratorSpec
) -> Interleaved:
    """Merge LOADs into the other commands: whichever finds room in its unit's queue first.

    Parameters
    ----------
    others: in program order, END included.
    loads: in the order in which they are needed.
    spec: queues, bus and command memory.

    Raises
    ------
    CompileError: not even half a command memory holds a command and what loads the next.
    """
    words = sum(i.words for i in others) + sum(m.item.words for m in loads)
    have, least = spec.memory.command_words, least_words()
    if words > have and have < least:
        raise CompileError(
            f"memory.command_words must be at least {min(words, least)} for this network, not "
            f"{have}: raise memory.command_words to at least {min(words, least)}"
        )
    writer = _Writer(spec, words)
    stores = _stores(others)
    position = 0
    for number, item in enumerate(others):
        while position < len(loads):
            movable = loads[position]
            early = movable.before > number
            after = stores.get(movable.after, movable.after)
            if early and (after >= number or _later(writer.prediction, movable.item, item)):
                break
            writer.append(movable.item)
            position += 1
        writer.append(item)
    return Interleaved(
        chunks=writer.chunks, tokens=writer.sequencer.tokens, cycles=writer.prediction.end
    )


def _stores(others: Sequence[Item]) -> dict[int, int]:
    """Every MATMUL's STORE: a LOAD that waits for the one comes behind the other.

    A full queue of LOADs must not keep the fetcher from a STORE that lets its MATMUL end.
    """
    pairs: dict[Opcode, list[int]] = {Opcode.MATMUL: [], Opcode.STORE: []}
    for number, item in enumerate(others):
        if item.opcode in pairs and not item.partial:
            pairs[item.opcode].append(number)
    return dict(zip(pairs[Opcode.MATMUL], pairs[Opcode.STORE], strict=True))


def _later(prediction: Prediction, load: Item, other: Item) -> bool:
    """Whether another command goes before a LOAD.

    It does if the LOAD would wait longer for its queue than the other for its own, or if the other
    would not wait at all and the bus has enough to do until both are fetched.
    """
    blocked = prediction.accepted(load.opcode) - load.words
    free = prediction.accepted(other.opcode) - other.words
    fetched = free + other.words + load.words
    return blocked > free or (
        prediction.fetches(other.opcode) and prediction.busy(Unit.LOAD) > fetched + _AHEAD
    )


def place_chunks(
    result: Interleaved,
    external: ExternalImage,
    arena: int,
    encode: Callable[[Item, Tokens | None], list[int]],
) -> list[int]:
    """Encode all chunks, put all but the first into external memory, and return the first.

    Parameters
    ----------
    result: changed: the LOADs of commands get their addresses.
    external: gets the commands.
    arena: address of `chunk_arena` bytes that they may fill.
    encode: words of a command with its tokens (END has none).
    """
    for chunk in result.chunks[1:]:
        assert chunk.loader is not None
        chunk.loader.values["length"] = 4 * chunk.words
        chunk.loader.values["e_base"] = arena
        arena += 4 * chunk.words
    tokens = iter(result.tokens)
    first: list[int] = []
    for chunk in result.chunks:
        words: list[int] = []
        for item in chunk.items:
            words += encode(item, None if item.opcode is Opcode.END else next(tokens))
        if chunk.loader is None:
            first = words
        else:
            external.put(chunk.loader.values["e_base"], np.array(words, "<u4").view(np.uint8))
    return first
