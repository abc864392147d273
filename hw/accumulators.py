"""Accumulators below the array: partial sums in one memory, finished vectors in a ring buffer."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.technology import Technology
from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["MINIMUM_PASS", "Accumulators"]

MINIMUM_PASS = 4
"""Cycles from an accumulator's read to the first cycle in which a read sees the sum."""


class Accumulators(wiring.Component):
    """Combine the passes of a tile and keep its result vectors until post-processing takes them.

    Every column works in step with the array, `column_delay` cycles behind column 0. The last pass
    of a tile does not write its sums back but appends them to a ring of ``accumulator_depth``
    result vectors, from which post-processing reads while the array computes the next tile: two
    memories of a tile each, like two banks, yet a tile's first results leave while its last pass
    still runs.

    With W4A8 a column has two sums. They are halves of one word of the same two memories, and a
    result vector is twice as long; other vectors have 0 there.

    Parameters
    ----------
    spec: columns and their sums, `accumulator_depth`.
    sum_width: bits of the array's sums.
    high_width: bits of the sums of high nibbles, with W4A8.
    technology: for which the memories are made.

    Members
    -------
    i_sums: the array's outputs, column 0 first.
    i_highs: those of the high nibbles, in the same cycles; only with W4A8.
    i_valid, i_pass_first, i_k_first, i_k_last, i_maximum: two cycles before column 0's sum arrives.
    i_claim: a result vector has been issued that will need room in the ring.
    i_release: a result vector has been taken from the ring.
    o_space: how many more there is room for.
    o_credit: a result vector has been completed (all columns written).
    r_valid, r_address: read a result vector of the ring; `r_data` (int32 per column, behind them
        those of the high nibbles) follows one cycle later.
    """

    def __init__(
        self,
        spec: AcceleratorSpec,
        sum_width: int,
        high_width: int = 0,
        technology: Technology = Technology.GENERIC,
    ):
        self.spec, self.sum_width, self.high_width = spec, sum_width, high_width
        self._late = technology is Technology.ICE40
        depth, columns = spec.memory.accumulator_depth, spec.array.columns
        self.sums = spec.array.column_sums
        super().__init__(
            ({"i_highs": In(high_width * columns)} if self.sums > 1 else {})
            | {
                "i_sums": In(sum_width * columns),
                "i_valid": In(1), "i_pass_first": In(1), "i_k_first": In(1), "i_k_last": In(1),
                "i_maximum": In(1),
                "i_claim": In(1), "i_release": In(1), "o_space": Out(range(depth + 1)),
                "o_credit": Out(1),
                "r_valid": In(1, init=1),  # type: ignore[call-arg]  # stubs lack init
                "r_address": In(range(depth)),
                "r_data": Out(32 * self.sums * columns),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """One address generator; its outputs travel along the columns."""
        m = Module()
        depth = self.spec.memory.accumulator_depth
        index = Signal(range(depth))
        place = Signal(range(depth))  # where the next result vector goes in the ring
        address = Signal(range(depth))
        m.d.comb += address.eq(Mux(self.i_pass_first, 0, index))
        with m.If(self.i_valid):
            m.d.sync += index.eq(address + 1)
            with m.If(self.i_k_last):
                m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))
        control: Value = Cat(
            self.i_valid, self.i_k_first, self.i_k_last, self.i_maximum, address, place
        )
        space = Signal(range(depth + 1), init=depth)
        m.d.sync += space.eq(space + self.i_release - self.i_claim)
        m.d.comb += self.o_space.eq(space)
        stages = [control]  # by cycles behind the inputs
        halves = []
        for c in range(self.spec.array.columns):
            late = self.spec.array.column_delay(c)
            while len(stages) < late + 4:
                stage = Signal(len(control), name=f"control_{len(stages)}")
                m.d.sync += stage.eq(stages[-1])
                stages.append(stage)
            halves.append(self._column(m, c, stages[late : late + 4]))
        m.d.comb += self.r_data.eq(Cat(*(h[s] for s in range(self.sums) for h in halves)))
        valid, k_last = stages[-1][0], stages[-1][2]
        m.d.comb += self.o_credit.eq(valid & k_last)
        return m

    def _column(self, m: Module, c: int, stages: Sequence[Value]) -> list[Value]:
        """Read, wait a cycle, combine, write; return the results that are read.

        The register between a block RAM, which is slow to read, and the adder costs no latency:
        the read begins before the sum arrives. On an iCE40, whose registers are dear and whose
        clock is slow, the read begins a cycle later in its place.
        """
        depth, width = self.spec.memory.accumulator_depth, 32 * self.sums
        bits = (depth - 1).bit_length()
        style = self.spec.memory.small_attributes
        partial, results = (
            Memory(shape=width, depth=depth, init=[], attrs=style) for _ in range(2)
        )
        m.submodules[f"sums{c}"], m.submodules[f"results{c}"] = partial, results
        read, write = partial.read_port(), partial.write_port()
        give, append = results.read_port(), results.write_port()
        now, following, summing, writing = stages
        kept = Signal(width, name=f"kept{c}", reset_less=True)
        if self._late:
            now = following
            m.d.comb += kept.eq(read.data)
        else:
            m.d.sync += kept.eq(read.data)
        totals = []
        for s, sums in enumerate(self._sums(c)):
            total = Signal(signed(32), name=f"total{c}_{s}", reset_less=True)
            old = kept[32 * s : 32 * s + 32].as_signed()
            k_first, maximum = summing[1], summing[3]
            # The sign of the difference chooses among what is there by then.
            greater = Signal(name=f"greater{c}_{s}")
            m.d.comb += greater.eq((old - sums)[-1])
            rest = Mux(maximum, old, old + sums)
            m.d.sync += total.eq(Mux(k_first | (maximum & greater), sums, rest))
            totals.append(total)
        valid, k_last = writing[0], writing[2]
        m.d.comb += [
            read.addr.eq(now[4 : 4 + bits]), read.en.eq(1),
            write.addr.eq(writing[4 : 4 + bits]), write.data.eq(Cat(*totals)),
            write.en.eq(valid & ~k_last),
            append.addr.eq(writing[4 + bits :]), append.data.eq(Cat(*totals)),
            append.en.eq(valid & k_last),
            give.addr.eq(self.r_address), give.en.eq(self.r_valid),
        ]  # fmt: skip
        return [give.data[32 * s : 32 * s + 32] for s in range(self.sums)]

    def _sums(self, c: int) -> list[Value]:
        """The sums that arrive at a column."""
        found = [self.i_sums.word_select(c, self.sum_width).as_signed()]
        if self.sums > 1:
            found.append(self.i_highs.word_select(c, self.high_width).as_signed())
        return found
