"""The beats of a run: which bytes of the bus belong to it, and where they lie on chip."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.bursts import LENGTH_BITS, PLACE_BITS

__all__ = ["BeatGenerator"]


class BeatGenerator(wiring.Component):
    """Step through the beats of the runs that a `BurstGenerator` lists.

    Latency: 0; a beat a cycle, without a gap between runs.

    Parameters
    ----------
    data_bytes: bytes of a beat, a power of two.

    Members
    -------
    length: bytes of every run.
    run_valid, run_pop, run_place, run_offset, run_last: as of the list; the place in a beat of a
        run's first byte.
    o_valid, o_ready: a beat.  o_place: address on chip of its first byte.
    o_offset, o_count: its bytes in the run: where they start, and how many.
    o_first: the first of its run.  o_last: the last of the command.
    """

    def __init__(self, data_bytes: int):
        self.data_bytes = data_bytes
        super().__init__(
            {
                "length": In(LENGTH_BITS),
                "run_valid": In(1), "run_pop": Out(1), "run_place": In(PLACE_BITS),
                "run_offset": In(range(data_bytes)), "run_last": In(1),
                "o_valid": Out(1), "o_ready": In(1), "o_place": Out(PLACE_BITS),
                "o_offset": Out(range(data_bytes)), "o_count": Out(range(data_bytes + 1)),
                "o_first": Out(1), "o_last": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """A run's first beat takes its numbers from the list, all others from registers."""
        m = Module()
        rest, place = Signal(LENGTH_BITS), Signal(PLACE_BITS)
        first = Signal(init=1)
        left, room, ends = Signal(LENGTH_BITS), Signal(range(self.data_bytes + 1)), Signal()
        taken = self.o_valid & self.o_ready
        m.d.comb += [
            self.o_valid.eq(self.run_valid),
            self.o_first.eq(first),
            left.eq(Mux(self.o_first, self.length, rest)),
            self.o_place.eq(Mux(self.o_first, self.run_place, place)),
            self.o_offset.eq(Mux(self.o_first, self.run_offset, 0)),
            room.eq(self.data_bytes - self.o_offset),
            ends.eq(left <= room),
            self.o_count.eq(Mux(ends, left, room)),
            self.o_last.eq(ends & self.run_last),
            self.run_pop.eq(taken & ends),
        ]
        with m.If(taken):
            m.d.sync += [
                rest.eq(left - self.o_count), place.eq(self.o_place + self.o_count),
                first.eq(ends),
            ]  # fmt: skip
        return m
