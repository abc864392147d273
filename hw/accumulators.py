"""Accumulators below the array: partial sums in one memory, finished vectors in a ring buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.spec.accelerator import AcceleratorSpec

__all__ = ["MINIMUM_PASS", "Accumulators"]

MINIMUM_PASS = 3
"""Cycles from an accumulator's read to the first cycle in which a read sees the sum."""


class Accumulators(wiring.Component):
    """Combine the passes of a tile and keep its result vectors until post-processing takes them.

    Column c works c cycles behind column 0, in step with the array. The last pass of a tile does
    not write its sums back but appends them to a ring of ``accumulator_depth`` result vectors,
    from which post-processing reads while the array computes the next tile: two memories of a tile
    each, like two banks, yet a tile's first results leave while its last pass still runs.

    Parameters
    ----------
    spec: columns, `accumulator_depth`.
    sum_width: bits of the array's sums.

    Members
    -------
    i_sums: the array's outputs, column 0 first.
    i_valid, i_pass_first, i_k_first, i_k_last, i_maximum: one cycle before column 0's sum arrives.
    i_claim: a result vector has been issued that will need room in the ring.
    i_release: a result vector has been taken from the ring.
    o_space: how many more there is room for.
    o_credit: a result vector has been completed (all columns written).
    r_valid, r_address: read a result vector of the ring; `r_data` (int32 per column) follows one
        cycle later.
    """

    def __init__(self, spec: AcceleratorSpec, sum_width: int):
        self.spec, self.sum_width = spec, sum_width
        depth, columns = spec.memory.accumulator_depth, spec.array.columns
        super().__init__(
            {
                "i_sums": In(sum_width * columns),
                "i_valid": In(1), "i_pass_first": In(1), "i_k_first": In(1), "i_k_last": In(1),
                "i_maximum": In(1),
                "i_claim": In(1), "i_release": In(1), "o_space": Out(range(depth + 1)),
                "o_credit": Out(1),
                "r_valid": In(1, init=1),  # type: ignore[call-arg]  # stubs lack init
                "r_address": In(range(depth)),
                "r_data": Out(32 * columns),
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
        outputs = []
        for c in range(self.spec.array.columns):
            sums = self.i_sums[self.sum_width * c : self.sum_width * (c + 1)].as_signed()
            control, data = self._column(m, c, control, sums)
            outputs.append(data)
        m.d.comb += self.r_data.eq(Cat(*outputs))
        return m

    def _column(self, m: Module, c: int, control: Value, sums: Value) -> tuple[Value, Value]:
        """Read, combine a cycle later, write one later; return the next column's control."""
        depth = self.spec.memory.accumulator_depth
        bits = (depth - 1).bit_length()
        m.submodules[f"sums{c}"] = partial = Memory(shape=32, depth=depth, init=[])
        m.submodules[f"results{c}"] = results = Memory(shape=32, depth=depth, init=[])
        read, write = partial.read_port(), partial.write_port()
        give, append = results.read_port(), results.write_port()
        stage1 = Signal(len(control), name=f"control{c}_1")
        stage2 = Signal(len(control), name=f"control{c}_2")
        total = Signal(signed(32), name=f"total{c}", reset_less=True)
        old = read.data.as_signed()
        m.d.sync += [stage1.eq(control), stage2.eq(stage1)]
        k_first, maximum = stage1[1], stage1[3]
        with m.If(k_first | (maximum & (sums > old))):
            m.d.sync += total.eq(sums)
        with m.Elif(maximum):
            m.d.sync += total.eq(old)
        with m.Else():
            m.d.sync += total.eq(old + sums)
        valid, k_last = stage2[0], stage2[2]
        m.d.comb += [
            read.addr.eq(control[4 : 4 + bits]), read.en.eq(1),
            write.addr.eq(stage2[4 : 4 + bits]), write.data.eq(total),
            write.en.eq(valid & ~k_last),
            append.addr.eq(stage2[4 + bits :]), append.data.eq(total),
            append.en.eq(valid & k_last),
            give.addr.eq(self.r_address), give.en.eq(self.r_valid),
        ]  # fmt: skip
        if c == self.spec.array.columns - 1:
            m.d.comb += self.o_credit.eq(valid & k_last)
        return stage1, give.data
