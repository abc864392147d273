"""Rows of weights out of a string of bytes: the buffer behind `WeightFormat.BITMAP`."""

from functools import reduce
from operator import add

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WeightUnpacker"]

_WORDS = 4
"""Weight words in the buffer: a row may lie in three, and one is on its way."""


class WeightUnpacker(wiring.Component):
    """Buffer weight words and cut rows out of them, at most one a cycle.

    A row is a bit for every column, padded to whole bytes, and a byte for every bit that is 1. It
    can be taken when all of it has arrived. Words that arrive one a cycle without a gap keep up
    with rows whose codes and bits together fill no more than a word.

    Latency: a word that arrives can be taken from in the next cycle; 1 cycle from `take` to
    `o_bits` and `o_codes`.

    Parameters
    ----------
    columns: bytes of a word, 1 to 64.

    Members
    -------
    flush: drop everything, and the word that is read in this cycle.
    read: a word is read in this cycle; it is `data` in the next.
    room: there is room for a word read in this cycle.
    data: weight word.
    ready: a whole row has arrived.
    take, last: it leaves the buffer; it is the last of its tile, so the rest of its word does, too.
    o_bits, o_codes: which columns have a code, and the codes, the lowest column's first.
    """

    def __init__(self, columns: int):
        if not 1 <= columns <= 64:
            raise ValueError(f"columns must be between 1 and 64, not {columns!r}")
        self.columns = columns
        super().__init__(
            {
                "flush": In(1), "read": In(1), "room": Out(1), "data": In(8 * columns),
                "ready": Out(1), "take": In(1), "last": In(1),
                "o_bits": Out(columns), "o_codes": Out(8 * columns),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Words move down as they are used up; an offset says where in the first a row begins."""
        m = Module()
        columns = self.columns
        mask_bytes = -(-columns // 8)
        words = [Signal(8 * columns, name=f"word{i}") for i in range(_WORDS)]
        count = Signal(range(_WORDS + 1))  # words that are there
        offset = Signal(range(max(2, columns)))  # byte of the first word where the row begins
        arriving = Signal()
        m.d.comb += self.room.eq(count + arriving < _WORDS)
        m.d.sync += arriving.eq(self.read & ~self.flush)

        window = Cat(*words[:3])
        bits = Signal(columns)
        end = Signal(range(3 * columns + 1))  # byte behind the row
        needed = Signal(2)  # words that it lies in
        m.d.comb += [
            bits.eq(_from_byte(Cat(*words[:2]), offset)),
            end.eq(offset + mask_bytes + _ones(list(bits))),
            needed.eq(1 + (end > columns) + (end > 2 * columns)),
            self.ready.eq(count >= needed),
        ]
        used = Signal(2)
        whole = (end >= columns) + (end >= 2 * columns)
        m.d.comb += used.eq(Mux(self.take, Mux(self.last, needed, whole), 0))
        with m.If(self.take):
            rest = end - Mux(used == 2, 2 * columns, Mux(used == 1, columns, 0))
            m.d.sync += [
                offset.eq(Mux(self.last, 0, rest)),
                self.o_bits.eq(bits), self.o_codes.eq(_from_byte(window, offset + mask_bytes)),
            ]  # fmt: skip
        kept = Signal(range(_WORDS + 1))
        m.d.comb += kept.eq(count - used)
        for i in range(_WORDS):
            moved = Array(words[min(i + k, _WORDS - 1)] for k in range(4))[used]
            m.d.sync += words[i].eq(Mux(arriving & (kept == i), self.data, moved))
        m.d.sync += count.eq(kept + arriving)
        with m.If(self.flush):
            m.d.sync += [count.eq(0), offset.eq(0)]
        return m


def _from_byte(value: Value, byte: Value) -> Value:
    """Shift a string of bytes down to byte number ``byte``."""
    return value >> Cat(Const(0, 3), byte)


def _ones(bits: list[Value]) -> Value:
    """How many bits are 1: a tree of additions."""
    half = len(bits) // 2
    return _ones(bits[:half]) + _ones(bits[half:]) if half else reduce(add, bits)
