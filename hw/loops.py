"""Loop nests: the address generators behind every operand stream."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
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
    ahead{d}: if there is a load or a step, loop d will be at its last iteration by its count.
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
                members |= {f"count{d}": In(count_bits), f"ahead{d}": Out(1)}
        for s in range(streams):
            members |= {f"base{s}": In(address_bits), f"address{s}": Out(address_bits)}
            members |= {f"stride{s}_{d}": In(signed(stride_bits)) for d in range(depth)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Down-counters for the loops, one address register per loop and stream.

        That a loop is at its end is a register, too: a step is decided late in a cycle, and what it
        does must not wait for comparisons. It only enables registers, of which the loops from the
        outermost to one have the same.
        """
        m = Module()
        left = [Signal(self.count_bits, name=f"left{d}") for d in range(self.depth)]
        ended = [Signal(name=f"ended{d}") for d in range(self.depth)]
        moves = [Signal(name=f"moves{d}") for d in range(self.depth)]
        # A step moves the innermost loop that is not at its end; the loops inside it restart.
        inner = Const(1)
        for d in reversed(range(self.depth)):
            last = getattr(self, f"last{d}")
            ends = self.cut if d >= self.depth - self.cuttable else 0
            m.d.comb += [last.eq(ended[d] | ends), moves[d].eq(inner & ~last)]
            inner = inner & last
        m.d.comb += self.done.eq(inner)
        enables = [Signal(name=f"enable{d}") for d in range(self.depth)]
        for d, enable in enumerate(enables):
            m.d.comb += enable.eq(self.load | (self.step & self._any(moves[: d + 1])))

        for d in range(self._counted):
            count = getattr(self, f"count{d}")
            restarts = self.load | (self._any(moves[:d]) if d else 0)
            ends = Mux(restarts, count == 1, left[d] == 2)
            with m.If(enables[d]):
                m.d.sync += [
                    left[d].eq(Mux(restarts, count, left[d] - 1)), ended[d].eq(ends),
                    getattr(self, f"first{d}").eq(restarts),
                ]  # fmt: skip
            m.d.comb += getattr(self, f"ahead{d}").eq(Mux(restarts | moves[d], ends, ended[d]))
        for s in range(self.streams):
            self._addresses(m, s, moves, enables)
        return m

    @staticmethod
    def _any(bits: list[Signal]) -> Value:
        result: Value = bits[0]
        for bit in bits[1:]:
            result = result | bit
        return result

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
