"""Codes of 4 bits into bytes, two and two, between the lanes and the activation memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["NibblePacker"]


class NibblePacker(wiring.Component):
    """Give the bytes of a beat as they are or, packed, the low halves of neighbours as one byte.

    The first of two is the low nibble; 0 takes the place of a second one that does not exist. A
    byte leaves in the beat of its last code: with an odd number of lanes the last code of every
    other beat waits in a register for the first code of the beat after it, and a beat of one lane
    may give no byte at all.

    Latency 0.

    Parameters
    ----------
    lanes: bytes of a beat.

    Members
    -------
    i_valid, i, i_count: a beat, and how many of its bytes count: all, but in a last beat.
    i_packed: pack it.
    i_late: its first code is the high nibble of a byte begun in the beat before; only with an odd
        number of lanes, for all beats of odd number of a vector.
    i_last: it is its vector's last one.
    o_valid, o, o_count: bytes to write.
    """

    def __init__(self, lanes: int):
        self.lanes = lanes
        super().__init__(
            ({"i_late": In(1)} if lanes % 2 else {})
            | {
                "i_valid": In(1), "i": In(8 * lanes), "i_count": In(range(lanes + 1)),
                "i_packed": In(1), "i_last": In(1),
                "o_valid": Out(1), "o": Out(8 * lanes), "o_count": Out(range(lanes + 1)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Shift the nibbles by one if the first is late; leave out those that do not count."""
        m = Module()
        late: Value = self.i_late if self.lanes % 2 else Const(0)
        held = Signal(4, reset_less=True)
        if self.lanes % 2:
            with m.If(self.i_valid):
                m.d.sync += held.eq(self.i[-8:-4])
        codes = [held, *(self.i.word_select(i, 8)[:4] for i in range(self.lanes)), Const(0, 4)]
        total = Signal(range(self.lanes + 2))
        whole, packed = total >> 1, []
        for j in range((self.lanes + 1) // 2):
            first, second = (Mux(late, codes[k], codes[k + 1]) for k in (2 * j, 2 * j + 1))
            packed.append(Cat(first, Mux(total > 2 * j + 1, second, 0)))
        m.d.comb += [
            total.eq(self.i_count + late),
            self.o.eq(Mux(self.i_packed, Cat(*packed), self.i)),
            self.o_count.eq(
                Mux(self.i_packed, whole + (total[0] & self.i_last), self.i_count)
            ),
            self.o_valid.eq(self.i_valid & (self.o_count != 0)),
        ]  # fmt: skip
        return m
