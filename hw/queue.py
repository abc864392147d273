"""A queue of commands in registers."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["CommandQueue"]


class CommandQueue(wiring.Component):
    """First in, first out; the head stays in place, stable, until `pop`.

    Registers and not a memory, because entries are wide and few, and every field of the head is
    read at once.

    With ``depth`` 0 there are no registers but whether there is a command: whoever pushes holds it
    at `i`, and changes it after `pop` only.

    Parameters
    ----------
    width: bits of an entry.
    depth: entries.

    Members
    -------
    push, ready, i: `i` is taken when both are high.
    valid, o, pop: the head; `pop` discards it.
    """

    def __init__(self, width: int, depth: int):
        self.width, self.depth = width, depth
        super().__init__(
            {
                "push": In(1), "ready": Out(1), "i": In(width),
                "valid": Out(1), "o": Out(width), "pop": In(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Entries move towards the head."""
        m = Module()
        if not self.depth:
            m.d.comb += [self.o.eq(self.i), self.ready.eq(~self.valid)]
            with m.If(self.push | self.pop):
                m.d.sync += self.valid.eq(self.push)
            return m
        entries = [Signal(self.width, name=f"entry{k}", reset_less=True) for k in range(self.depth)]
        level = Signal(range(self.depth + 1))
        m.d.comb += [
            self.o.eq(entries[0]),
            self.valid.eq(level != 0),
            self.ready.eq(level != self.depth),
        ]
        taken = self.push & self.ready
        m.d.sync += level.eq(level + taken - self.pop)
        # One enable an entry, in a form that tools find: most cycles move nothing. `pop`, which
        # comes late, does nothing else: an entry that it leaves empty may take anything.
        for k, entry in enumerate(entries):
            behind = Mux(level > k + 1, entries[k + 1], self.i) if k + 1 < self.depth else self.i
            with m.If(self.pop | (taken & (level == k))):
                m.d.sync += entry.eq(behind)
        return m
