"""Which weight words are read when, and the rows that come out of them, by `WeightFormat`."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.weight_decoder import HALVES, WeightDecoder, place_words, weight_bits
from systolith.hw.weight_unpacker import WeightUnpacker
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode
from systolith.spec.precision import BOOK_WORDS, Precision, WeightFormat

__all__ = ["WeightWords"]


class WeightWords(wiring.Component):
    """Read the words of one command's tiles, row by row from the last row of a tile to the first.

    A row is there every cycle (`ready`) but in three cases: before tiles with a codebook the 16
    cycles in which it is read, before every tile of two of four ``ceil(rows / 4)`` cycles for its
    places, and of bitmaps when their bytes have not arrived. Books and places are read as soon as
    the tile before has left, bytes of bitmaps ahead, in ascending order, through the tiles of the
    command.

    Latency: 1 cycle from `row` to `o`; with bitmaps the first row is there 2 cycles after the first
    word is read, or 1 more for each further word it lies in.

    Parameters
    ----------
    spec: array size, weight memory, formats.

    Members
    -------
    w_base, w_signed, w_zero, ...: fields of the MATMUL, stable while it is active (`fields`).
    load: begin with a command in the next cycle.
    active: a command's tiles are being loaded.
    ready: the next row can be taken.
    row, last: it is taken; it is the last of its tile.
    group_ends, again: with `last`: the tile is the last of its channel tile; of all, so the first
        follows again.
    read, address, data: to the weight memory, whose data come a cycle later.
    o: operands of the row that was taken a cycle ago.
    o_nibbles: they are of nibbles; only with precisions of nibbles.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        built = spec.array.weight_formats
        self.address_bits = max(1, (spec.weight_words - 1).bit_length())
        self.fields = ["w_base", "w_signed", "w_zero"]
        if spec.array.nibbles:
            self.fields.append("precision")
        if len(built) > 1:
            self.fields.append("w_format")
        if WeightFormat.CODEBOOK in built:
            self.fields += ["book_hold", "w_hold"]
        shapes = {
            f.name: signed(f.bits) if f.signed else f.bits for f in COMMANDS[Opcode.MATMUL].fields
        }
        super().__init__(
            {name: In(shapes[name]) for name in self.fields}
            | {
                "load": In(1), "active": In(1), "ready": Out(1), "row": In(1), "last": In(1),
                "group_ends": In(1), "again": In(1), "read": Out(1),
                "address": Out(self.address_bits), "data": In(8 * spec.array.columns),
                "o": Out(weight_bits(spec) * spec.array.columns),
                **({"o_nibbles": Out(1)} if spec.array.nibbles else {}),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """The decoder, fed with fields of the cycle before; then addresses, format by format."""
        m = Module()
        built = self.spec.array.weight_formats
        m.submodules.decoder = decoder = WeightDecoder(self.spec)
        m.d.comb += [decoder.word.eq(self.data), self.o.eq(decoder.o)]
        for name in ("w_signed", "w_zero", "precision"):
            if name in self.fields:
                m.d.sync += getattr(decoder, name).eq(getattr(self, name))
        if self.spec.array.nibbles:
            m.d.comb += self.o_nibbles.eq(decoder.precision != Precision.W8A8)
        if len(built) > 1:
            m.d.sync += decoder.format.eq(self.w_format)
        address = Signal(self.address_bits)
        m.d.comb += [self.address.eq(address), self.read.eq(self.row), self.ready.eq(1)]
        self._descend(m, address, decoder)
        if WeightFormat.CODEBOOK in built:
            self._books(m, address, decoder)
        if self.spec.array.sparse:
            self._places(m, address, decoder)
        if WeightFormat.BITMAP in built:
            self._ascend(m, address, decoder)
        return m

    def _descend(self, m: Module, address: Signal, decoder: WeightDecoder) -> None:
        """From the last word of a tile to its first: a row in each, or two."""
        rows = self.spec.array.rows
        size = self._tile_words()
        lower: Value = Const(1)  # no row below is in the same word
        if self.spec.array.weight_formats & HALVES:
            odd = Signal(init=(rows - 1) & 1)
            m.d.sync += decoder.high.eq(odd)
            with m.If(self.row):
                m.d.sync += odd.eq(Mux(self.last, (rows - 1) & 1, ~odd))
            lower = ~(self._halves() & odd)
        top = self.w_base + size - 1
        with m.If(self.load):
            m.d.sync += address.eq(top)
        with m.If(self.row & lower):
            m.d.sync += address.eq(address - 1)
        with m.If(self.last):
            m.d.sync += address.eq(Mux(self.again, top, address + 2 * size - 1))

    def _halves(self) -> Value:
        """Whether the command's words hold two rows each."""
        formats = [self.w_format == f for f in self.spec.array.weight_formats & HALVES]
        result: Value = formats[0]
        for chosen in formats[1:]:
            result = result | chosen
        return result

    def _tile_words(self) -> Value | int:
        """Words of a tile that is read from its end to its beginning."""
        rows = self.spec.array.rows
        if not self.spec.array.weight_formats & HALVES:
            return rows
        return Mux(self._halves(), -(-rows // 2), rows)

    def _books(self, m: Module, address: Signal, decoder: WeightDecoder) -> None:
        """A codebook, in ascending order, before the tiles that it is for."""
        size = self._tile_words()
        chosen = self.w_format == WeightFormat.CODEBOOK
        one = self.book_hold | self.w_hold
        left = Signal(range(BOOK_WORDS + 1))  # words of the book that are yet to be read
        reading = self.active & (left != 0)
        m.d.sync += [decoder.book_valid.eq(reading), decoder.book_index.eq(BOOK_WORDS - left)]
        with m.If(left != 0):
            m.d.comb += [self.ready.eq(0), self.read.eq(reading)]
        with m.If(reading):
            m.d.sync += [left.eq(left - 1), address.eq(address + Mux(left == 1, size, 1))]
        with m.If(self.load):
            m.d.sync += left.eq(0)
            with m.If(chosen):
                m.d.sync += [left.eq(BOOK_WORDS), address.eq(self.w_base)]
        with m.If(self.last & chosen):
            with m.If(one & self.again):
                m.d.sync += address.eq(self.w_base + BOOK_WORDS + size - 1)
            with m.If(~one & self.group_ends):
                m.d.sync += left.eq(BOOK_WORDS)
                m.d.sync += address.eq(Mux(self.again, self.w_base, address + size))

    def _places(self, m: Module, address: Signal, decoder: WeightDecoder) -> None:
        """The places of a tile, in ascending order, before its rows; and which row is taken."""
        rows, count = self.spec.array.rows, place_words(self.spec)
        row = Signal(range(rows), init=rows - 1)
        m.d.sync += decoder.row.eq(row)
        with m.If(self.row):
            m.d.sync += row.eq(Mux(self.last, rows - 1, row - 1))
        chosen = self.w_format == WeightFormat.TWO_OF_FOUR
        left = Signal(range(count + 1))  # words of places that are yet to be read
        reading = self.active & (left != 0)
        m.d.sync += [decoder.place_valid.eq(reading), decoder.place_index.eq(count - left)]
        with m.If(left != 0):
            m.d.comb += [self.ready.eq(0), self.read.eq(reading)]
        with m.If(reading):
            m.d.sync += [left.eq(left - 1), address.eq(address + Mux(left == 1, rows, 1))]
        with m.If(self.load):
            m.d.sync += left.eq(0)
        with m.If(chosen & (self.load | self.last)):
            onwards = self.last & ~self.again
            m.d.sync += [
                left.eq(count), address.eq(Mux(onwards, address + rows, self.w_base)),
            ]  # fmt: skip

    def _ascend(self, m: Module, address: Signal, decoder: WeightDecoder) -> None:
        """Words of bitmaps one after the other, as long as there is room for them."""
        m.submodules.unpacker = unpacker = WeightUnpacker(self.spec.array.columns)
        restarts = self.load | (self.last & self.again)
        m.d.comb += [
            unpacker.flush.eq(restarts), unpacker.data.eq(self.data),
            unpacker.last.eq(self.last),
            decoder.bits.eq(unpacker.o_bits), decoder.codes.eq(unpacker.o_codes),
        ]  # fmt: skip
        with m.If(self.w_format == WeightFormat.BITMAP):
            m.d.comb += [
                self.read.eq(self.active & unpacker.room), unpacker.read.eq(self.read),
                self.ready.eq(unpacker.ready), unpacker.take.eq(self.row),
            ]  # fmt: skip
            m.d.sync += address.eq(Mux(restarts, self.w_base, address + self.read))
