"""Loop nests: the address generators behind every operand stream."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LoopNest"]


class LoopNest(wiring.Component):
    """Step through nested loops and keep one byte address per stream.

    ``address[s] = base[s] + sum(index[d] * stride[s][d])`` with all arithmetic modulo
    ``2**address_bits``. A step takes one cycle. Counts and strides must be stable from `load` on.

    Parameters
    ----------
    depth: number of loops, outermost first.
    streams: number of addresses.
    address_bits: width of an address.
    count_bits: width of a count.
    cuttable: number of innermost loops that `cut` ends; with 0 there is no such port.
    open_end: the innermost of them has no count: `cut` alone ends it.
    stride_bits: width of a stride.

    Members
    -------
    load: restart at index 0 and at the bases.
    step: advance the innermost loop (ignored while `load` is high).
    cut: the cuttable loops are at their last iteration, whatever their counts.
    count{d}: iterations of loop d, at least 1.
    base{s}, stride{s}_{d}: start and bytes per iteration of loop d, for stream s.
    address{s}: the current address of stream s.
    first{d}, last{d}: loop d is at its first, last iteration.
    ahead{d}: if there is a load or a step, loop d, which is not cuttable, will be at its last
        iteration.
    done: every loop is at its last iteration: the next step would end the nest.
    """

    def __init__(
        self,
        depth: int,
        streams: int,
        *,
        address_bits: int,
        count_bits: int = 16,
        cuttable: int = 0,
        open_end: bool = False,
        stride_bits: int = 24,
    ):
        self.depth, self.streams = depth, streams
        self.address_bits, self.count_bits = address_bits, count_bits
        self.cuttable = cuttable
        self._counted = depth - 1 if open_end else depth
        members = {"load": In(1), "step": In(1), "done": Out(1)}
        if cuttable:
            members["cut"] = In(1)
        for d in range(depth):
            members |= {f"first{d}": Out(1), f"last{d}": Out(1)}
            if d < self._counted:
                members[f"count{d}"] = In(count_bits)
            if d < depth - cuttable:
                members[f"ahead{d}"] = Out(1)
        for s in range(streams):
            members |= {f"base{s}": In(address_bits), f"address{s}": Out(address_bits)}
            members |= {f"stride{s}_{d}": In(signed(stride_bits)) for d in range(depth)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Down-counters for the loops, one address register per loop and stream.

        A step is decided late in a cycle, and so may be the cut: what they do waits for nothing
        else. That a loop is at its end is a register, and so is which loops a step moves once the
        cuttable ones are at their ends: that is found with the step before. They only enable
        registers, of which the loops from the outermost to one have the same.
        """
        m = Module()
        outer = self.depth - self.cuttable
        ended = [Signal(name=f"ended{d}") for d in range(self.depth)]
        moves = [Signal(name=f"moves{d}") for d in range(self.depth)]
        # The step that ends all cuttable loops moves this loop or one around it.
        turns = [Signal(name=f"turns{d}") for d in range(outer)]
        inner: Value = Const(1)
        for d in reversed(range(self.depth)):
            last = getattr(self, f"last{d}")
            m.d.comb += last.eq(ended[d] | (self.cut if d >= outer else 0))
            if d >= outer:
                m.d.comb += moves[d].eq(inner & ~last)
                inner = inner & last
        ends = Signal()
        m.d.comb += [ends.eq(inner), self.done.eq(ends & ~(turns[-1] if turns else 0))]
        moved: list[Value] = [ends & turn for turn in turns]  # this loop or one around it moves
        for d, turn in enumerate(turns):
            m.d.comb += moves[d].eq(ends & turn & ~(turns[d - 1] if d else 0))
        for move in moves[outer:]:
            moved.append((moved[-1] | move) if moved else move)
        enables = [Signal(name=f"enable{d}") for d in range(self.depth)]
        for enable, here in zip(enables, moved, strict=True):
            m.d.comb += enable.eq(self.load | (self.step & here))
        self._count(m, ended, moved, enables, turns)
        for s in range(self.streams):
            self._addresses(m, s, moves, enables)
        return m

    def _count(
        self,
        m: Module,
        ended: list[Signal],
        moved: list[Value],
        enables: list[Signal],
        turns: list[Signal],
    ) -> None:
        """Count the loops down; find which of them the step after the next one moves."""
        ahead: list[Value] = []
        for d in range(self._counted):
            count, left = getattr(self, f"count{d}"), Signal(self.count_bits, name=f"left{d}")
            # A loop that moves is inside none that moves. What is not cuttable is enabled when the
            # cuttable loops end, and need not ask whether they do.
            around = turns[d - 1] if 0 < d < len(turns) else moved[d - 1] if d else Const(0)
            restarts = self.load | around
            ends = Mux(restarts, count == 1, left == 2)
            with m.If(enables[d]):
                m.d.sync += [
                    left.eq(Mux(restarts, count, left - 1)), ended[d].eq(ends),
                    getattr(self, f"first{d}").eq(restarts),
                ]  # fmt: skip
            if d < len(turns):
                ahead.append(Mux(self.load | turns[d], ends, ended[d]))
                here = self.load | moved[d]
                m.d.comb += getattr(self, f"ahead{d}").eq(Mux(here, ends, ended[d]))
        if turns:
            with m.If(enables[len(turns) - 1]):
                for d, turn in enumerate(turns):
                    inside, around = Cat(*ahead[d + 1 :]), Cat(*ahead[: d + 1])
                    m.d.sync += turn.eq(inside.all() & ~around.all())

    def _addresses(self, m: Module, s: int, moves: list[Signal], enables: list[Signal]) -> None:
        """The address at the index of loops 0..d, for every d; loops inside d restart there."""
        width = self.address_bits
        level = [Signal(width, name=f"level{s}_{d}") for d in range(self.depth)]
        target = Signal(width, name=f"target{s}")
        base = getattr(self, f"base{s}")
        moved: Value = Const(0)
        for d in range(self.depth):
            moved = Mux(moves[d], level[d] + getattr(self, f"stride{s}_{d}"), moved)
        m.d.comb += target.eq(moved)
        for d in range(self.depth):
            with m.If(enables[d]):
                m.d.sync += level[d].eq(Mux(self.load, base, target))
        m.d.comb += getattr(self, f"address{s}").eq(level[-1])
