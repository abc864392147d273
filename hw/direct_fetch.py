"""Command fetch without a copy: the words of a command go straight to the unit that will run it."""

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib.enum import Enum
from amaranth.lib.memory import ReadPort
from amaranth.lib.wiring import Member, Out

from systolith.hw.fetch import Fetcher
from systolith.hw.fields import command_fields
from systolith.spec.commands import COMMANDS, Opcode, Unit

__all__ = ["DirectFetcher"]


class _State(Enum):
    """What the fetcher does in a cycle."""

    IDLE = 0
    ADDRESS = 1
    """Gives the address of a header."""
    HEADER = 2
    """Takes it; the command before, if there is one, is whole, and pushed."""
    UNIT = 3
    """Waits until the command's unit is free, or until all are at END."""
    WORDS = 4
    """Takes words; a JUMP stays at its last until its tokens are there."""


class DirectFetcher(Fetcher):
    """A `Fetcher` that keeps the running command of every unit, and none of its own.

    It reads a header, waits until the command's unit is free, and reads all of the command into the
    unit's registers. The push comes ``words + 1`` cycles after the cycle that finds the unit free;
    the cycle behind the push is the first to look at the next command's unit.

    Members
    -------
    command_{unit}: in place of `command`: the command of a unit, from its push until the unit is
        free.
    """

    def _command_members(self) -> dict[str, Member]:
        """Registers as long as the unit's longest command."""
        return {
            f"command_{unit.name.lower()}": Out(32 * max(COMMANDS[o].words for o in opcodes))
            for unit, opcodes in self._opcodes().items()
        }

    def _opcodes(self) -> dict[Unit, list[Opcode]]:
        """Commands of every unit."""
        return {
            unit: opcodes
            for unit in Unit
            if (opcodes := [o for o in self.queued if COMMANDS[o].unit is unit])
        }

    def command_of(self, unit: Unit) -> Value:
        """The command of a unit, from its push until the unit is free."""
        value: Value = getattr(self, f"command_{unit.name.lower()}")
        return value

    def elaborate(self, platform: object) -> Module:
        """A word arrives one cycle after its address."""
        m = Module()
        read = self._memory(m)
        # Of the next word, with one bit more than any address: it says that there is no such word.
        address = Signal(self.address_bits + 1)
        state, opcode, place = Signal(_State), Signal(4), Signal(5)
        missing = Signal()  # the word that arrives has no memory
        ends, broken, found = Signal(), Signal(), Signal()
        m.d.comb += read.addr.eq(address)
        m.d.sync += missing.eq(address >= self.spec.memory.command_words)
        with m.Switch(state):
            with m.Case(_State.ADDRESS):
                m.d.sync += state.eq(_State.HEADER)
            with m.Case(_State.HEADER):
                m.d.sync += [
                    opcode.eq(read.data[:4]), place.eq(0), state.eq(_State.UNIT),
                    self.wait.eq(command_fields(Opcode.JUMP, read.data)["wait"]),
                ]  # fmt: skip
                m.d.comb += broken.eq(missing)
            with m.Case(_State.UNIT):
                self._find_unit(m, opcode, found, ends, broken)
                with m.If(found):
                    m.d.sync += [address.eq(address + 1), state.eq(_State.WORDS)]
            with m.Case(_State.WORDS):
                m.d.comb += broken.eq(missing)
                self._take(m, read, opcode, place, address, state)
        self._push(m, opcode, (state == _State.HEADER) & (place != 0) & ~self.stopping)
        self._stop(m, ends, broken)
        with m.If(self.jump):
            m.d.sync += [address.eq(self._extended(read.data[:16])), state.eq(_State.ADDRESS)]
        with m.If(self.finish | self.stopping):
            m.d.sync += state.eq(_State.IDLE)
        with m.If(self.start & ~self.running):
            self._begin(m)
            m.d.sync += [address.eq(self._extended(self.entry)), state.eq(_State.ADDRESS)]
            m.d.sync += place.eq(0)
        return m

    def _extended(self, address: Value) -> Value:
        """An address, cut to one bit more than there are; that bit says that there is no word."""
        bits = self.address_bits
        return Cat(address[:bits], address[bits:].any())

    def _find_unit(
        self, m: Module, opcode: Signal, found: Signal, ends: Signal, broken: Signal
    ) -> None:
        """Whether the command can be read into its unit's registers; END ends the run."""
        was_busy = Signal()  # END waits until a cycle after the last
        m.d.sync += was_busy.eq(self.units_busy)
        with m.Switch(opcode):
            for kind in self.queued:
                with m.Case(kind):
                    m.d.comb += found.eq(getattr(self, f"ready_{kind.name.lower()}"))
            with m.Case(Opcode.JUMP):
                m.d.comb += found.eq(1)
            with m.Case(Opcode.END):
                m.d.comb += ends.eq(~self.units_busy & ~was_busy)
            with m.Default():
                m.d.comb += broken.eq(1)

    def _take(
        self,
        m: Module,
        read: ReadPort,
        opcode: Signal,
        place: Signal,
        address: Signal,
        state: Signal,
    ) -> None:
        """A word arrives: it goes to the unit; behind the last one the next header arrives."""
        lengths = Array(COMMANDS[Opcode(k)].words if k in set(Opcode) else 1 for k in range(16))
        following = place + 1
        last = following == lengths[opcode]
        for unit, opcodes in self._opcodes().items():
            with m.If(_is_among(opcode, opcodes)):
                m.d.sync += self.command_of(unit).word_select(place, 32).eq(read.data)
        with m.If(opcode == Opcode.JUMP):
            # The address stays, and with it the word that arrives, until the tokens are there.
            m.d.sync += place.eq(1)
            m.d.comb += self.jump.eq((place == 1) & self.jump_ready)
        with m.Else():
            m.d.sync += place.eq(following)
            with m.If(last):
                m.d.sync += state.eq(_State.HEADER)
            with m.Else():
                m.d.sync += address.eq(address + 1)

    def _push(self, m: Module, opcode: Signal, whole: Value) -> None:
        """Whoever is free stays free until it gets a command."""
        for kind in self.queued:
            push = getattr(self, f"push_{kind.name.lower()}")
            m.d.comb += push.eq(whole & (opcode == kind))


def _is_among(opcode: Value, opcodes: list[Opcode]) -> Value:
    """Whether an opcode is one of several."""
    result: Value = opcode == opcodes[0]
    for other in opcodes[1:]:
        result = result | (opcode == other)
    return result
