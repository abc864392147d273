"""A queue of bytes in a block RAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["ByteQueue"]


class ByteQueue(wiring.Component):
    """First in, first out; a byte that finds it full is dropped.

    The head is read in every cycle, so it stands at `o` in the cycle after one with `o_valid`.
    There is no register behind the memory: whoever takes the byte has one.

    Parameters
    ----------
    depth: bytes, a power of two.

    Members
    -------
    i_valid, i: a byte.
    o_valid: there is a byte; from the cycle after its arrival on.
    o: the byte that was the head a cycle ago.
    o_next: remove the head.

    Raises
    ------
    ValueError: the depth is no power of two.
    """

    def __init__(self, depth: int):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two and at least 2, not {depth!r}")
        self.depth = depth
        super().__init__(
            {
                "i_valid": In(1), "i": In(8),
                "o_valid": Out(1), "o": Out(8), "o_next": In(1),
            }
        )  # fmt: skip
        self.memory = Memory(shape=8, depth=depth, init=[])

    def elaborate(self, platform: object) -> Module:
        """Pointers with a bit more than the memory has: it tells full from empty."""
        m = Module()
        m.submodules.memory = self.memory
        read, write = self.memory.read_port(), self.memory.write_port()
        produced, consumed = Signal(range(2 * self.depth)), Signal(range(2 * self.depth))
        same, full = Signal(), Signal()
        m.d.comb += [
            same.eq(produced[:-1] == consumed[:-1]),
            full.eq(same & (produced[-1] != consumed[-1])),
            self.o_valid.eq(~same | full),
            write.addr.eq(produced[:-1]), write.data.eq(self.i),
            write.en.eq(self.i_valid & ~full),
            read.addr.eq(consumed[:-1]), read.en.eq(1), self.o.eq(read.data),
        ]  # fmt: skip
        with m.If(write.en):
            m.d.sync += produced.eq(produced + 1)
        with m.If(self.o_next):
            m.d.sync += consumed.eq(consumed + 1)
        return m
