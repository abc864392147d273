"""From weight words to the array's operands: one decoder for every `WeightFormat` that is built."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.pe import OPERAND_BITS, PLACE_BITS
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.precision import BOOK_WORDS, NIBBLE_BITS, PLACE_ROWS, Precision, WeightFormat

__all__ = ["HALVES", "WeightDecoder", "place_words", "weight_bits"]

HALVES = frozenset({WeightFormat.INT4, WeightFormat.LOG2, WeightFormat.CODEBOOK})
"""Formats with two rows in a word."""


def weight_bits(spec: AcceleratorSpec) -> int:
    """Width of a column's weight operand: two nibbles of `NIBBLE_BITS`, if there may be such, and
    `PLACE_BITS` above, if there may be places."""
    operand = 2 * NIBBLE_BITS if spec.array.nibbles else OPERAND_BITS
    return operand + PLACE_BITS if spec.array.sparse else operand


def place_words(spec: AcceleratorSpec) -> int:
    """Words of places in front of a tile of `WeightFormat.TWO_OF_FOUR`."""
    return -(-spec.array.rows // PLACE_ROWS)


class WeightDecoder(wiring.Component):
    """Make one row of weight operands of what was read for it.

    ``o[c] = code[c] - zero``, wrapped to 9 bits, or for a precision of nibbles two such
    differences, wrapped to 5 bits; 0 where a bitmap says that there is no code. If the array is
    sparse each has its place above it; of other formats all columns have that of their row's own
    activation, ``row & 1``.

    Latency: 0 cycles; 1 cycle from a word of the codebook or of places to the first row that can
    use it. Ports that only one format needs are there if it is built.

    Parameters
    ----------
    spec: columns, precisions, formats.

    Members
    -------
    word: weight word.
    format, precision, w_signed, w_zero: fields of the MATMUL.
    high: the row is the high nibbles.
    book_valid, book_index: `word` is this word of the codebook.
    place_valid, place_index: `word` is this word of places.
    row: which one it is.
    bits, codes: row of a bitmap.
    o: operands, column 0 in the low bits.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        built = spec.array.weight_formats
        columns = spec.array.columns
        members = {
            "word": In(8 * columns), "w_signed": In(1), "w_zero": In(signed(OPERAND_BITS)),
            "o": Out(weight_bits(spec) * columns),
        }  # fmt: skip
        if spec.array.nibbles:
            members["precision"] = In(2)
        if len(built) > 1:
            members["format"] = In(3)
        if built & HALVES:
            members["high"] = In(1)
        if WeightFormat.CODEBOOK in built:
            members |= {"book_valid": In(1), "book_index": In(range(BOOK_WORDS))}
        if spec.array.sparse:
            members |= {
                "place_valid": In(1), "place_index": In(range(place_words(spec))),
                "row": In(range(spec.array.rows)),
            }  # fmt: skip
        if WeightFormat.BITMAP in built:
            members |= {"bits": In(columns), "codes": In(8 * columns)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """A byte of every column, of the format that is read; then its operand."""
        m = Module()
        array = self.spec.array
        books = self._books(m) if WeightFormat.CODEBOOK in array.weight_formats else None
        places = self._places(m) if array.sparse else [Const(0, 0)] * array.columns
        operands: list[Value] = []
        for c in range(array.columns):
            byte = self.word.word_select(c, 8)
            code = Signal(8, name=f"code{c}")
            absent = Const(0)
            m.d.comb += code.eq(byte)
            if array.weight_formats & HALVES:
                nibble = Mux(self.high, byte[4:], byte[:4])
                self._half(m, code, nibble, books[c] if books else None)
            if WeightFormat.BITMAP in array.weight_formats:
                mapped = self.format == WeightFormat.BITMAP
                absent = mapped & ~self.bits[c]
                rank = sum(self.bits[:c], Const(0))
                with m.If(mapped):
                    m.d.comb += code.eq(
                        Array(self.codes.word_select(k, 8) for k in range(c + 1))[rank]
                    )
            operand = Mux(absent, 0, self._less_zero(code, OPERAND_BITS))
            if array.nibbles:
                halves = [self._less_zero(part, NIBBLE_BITS) for part in (byte[:4], byte[4:])]
                whole = Cat(operand[:OPERAND_BITS], Const(0, 1))
                operand = Mux(self.precision == Precision.W8A8, whole, Cat(*halves))
            operand = operand[: weight_bits(self.spec) - len(places[c])]
            operands.append(Cat(operand, places[c]))
        m.d.comb += self.o.eq(Cat(*operands))
        return m

    def _less_zero(self, code: Value, bits: int) -> Value:
        """The operand of a code of any width."""
        wide = Cat(code, code[-1] & self.w_signed).as_signed()
        return (wide - self.w_zero)[:bits]

    def _half(self, m: Module, code: Signal, nibble: Value, book: Value | None) -> None:
        """The byte of a nibble."""
        built = self.spec.array.weight_formats
        with m.Switch(self.format):
            if WeightFormat.INT4 in built:
                with m.Case(WeightFormat.INT4):
                    m.d.comb += code.eq(Cat(nibble, (nibble[3] & self.w_signed).replicate(4)))
            if WeightFormat.LOG2 in built:
                with m.Case(WeightFormat.LOG2):
                    m.d.comb += code.eq(_power(nibble))
            if book is not None:
                with m.Case(WeightFormat.CODEBOOK):
                    m.d.comb += code.eq(book)

    def _books(self, m: Module) -> list[Value]:
        """A memory of 16 bytes a column, and the bytes that the nibbles select."""
        selected: list[Value] = []
        for c in range(self.spec.array.columns):
            memory = Memory(shape=8, depth=BOOK_WORDS, init=[])
            m.submodules[f"book{c}"] = memory
            write, read = memory.write_port(), memory.read_port(domain="comb")
            byte = self.word.word_select(c, 8)
            m.d.comb += [
                write.addr.eq(self.book_index), write.data.eq(byte), write.en.eq(self.book_valid),
                read.addr.eq(Mux(self.high, byte[4:], byte[:4])),
            ]  # fmt: skip
            selected.append(read.data)
        return selected

    def _places(self, m: Module) -> list[Value]:
        """A memory of the words of places, and those of the row; of other formats the row's own."""
        columns = self.spec.array.columns
        memory = Memory(shape=8 * columns, depth=place_words(self.spec), init=[])
        m.submodules.places = memory
        write, read = memory.write_port(), memory.read_port(domain="comb")
        sparse = Signal()
        m.d.comb += [
            sparse.eq(self.format == WeightFormat.TWO_OF_FOUR),
            write.addr.eq(self.place_index), write.data.eq(self.word),
            write.en.eq(self.place_valid), read.addr.eq(self.row[2:]),
        ]  # fmt: skip
        words = (read.data.word_select(c, 8) for c in range(columns))
        own = Cat(self.row[0], Const(0, PLACE_BITS - 1))
        return [Mux(sparse, w.word_select(self.row[:2], PLACE_BITS), own) for w in words]


def _power(nibble: Value) -> Value:
    """The byte of a sign and an exponent."""
    size = Cat(*(nibble[:3] == e for e in range(1, 8)))
    return Mux(nibble[3], Mux(nibble[:3] == 0, 0x80, -size), size)
