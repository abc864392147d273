"""Command fetch: reads the program and hands each command to its unit's queue."""

from amaranth.hdl import Array, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import In, Out

from systolith.hw.fields import command_fields
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode, Unit
from systolith.spec.registers import ErrorCode

__all__ = ["Fetcher"]

_ARRAY = (Opcode.MATMUL, Opcode.STORE)
_MOVES = (Opcode.FILL, Opcode.COPY)
_TRANSFERS = (Opcode.LOAD, Opcode.SAVE)


class Fetcher(wiring.Component):
    """Read one command word a cycle, in order; push whole commands; jump; stop at END.

    An opcode that does not exist, a word that is needed and lies behind the command memory's end,
    and an error of a transfer stop the run: it ends when no burst is under way any more, or at the
    `timeout`, which ends every run at once.

    Parameters
    ----------
    spec: depth of the command memory.

    Members
    -------
    start, entry: begin at word `entry`.
    units_busy: some unit has work; END waits until a cycle after the last.
    command: the command read, its header in the low word.
    push_{opcode}, ready_{opcode}: to the queue of each opcode that a unit runs; those of LOAD and
        SAVE exist with an external memory.
    wait, jump_ready, jump: a JUMP's wait mask; the tokens of `wait` are there; it is taken and
        consumes them.
    failure: `ErrorCode` of a transfer.  quiet: no burst is under way.  timeout: stop at once.
    running: from `start` to `finish`.
    stopping: there was an error; no burst must be issued any more.
    finish, error: stopped, with an `ErrorCode`.
    h_valid, h_address, h_data: host or LOAD write command words.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        self.address_bits = (spec.memory.command_words - 1).bit_length()
        softmax = (Opcode.SOFTMAX,) if spec.post.softmax_tables else ()
        edges = (Opcode.QUANTIZE, Opcode.DEQUANTIZE) if spec.post.quantize_lanes else ()
        moves = _MOVES if spec.moves else ()
        transfers = _TRANSFERS if spec.external.data_bytes else ()
        self.queued = _ARRAY + moves + softmax + edges + transfers
        members = {
            "start": In(1), "entry": In(16), "units_busy": In(1),
            **self._command_members(),
            "running": Out(1), "finish": Out(1), "error": Out(8),
            "wait": Out(len(Unit)), "jump_ready": In(1), "jump": Out(1),
            "quiet": In(1, init=1),  # type: ignore[call-arg]  # stubs lack init
            "failure": In(8), "timeout": In(1), "stopping": Out(1),
            "h_valid": In(1), "h_address": In(self.address_bits), "h_data": In(32),
        }  # fmt: skip
        for opcode in self.queued:
            members |= {
                f"push_{opcode.name.lower()}": Out(1),
                f"ready_{opcode.name.lower()}": In(1),
            }
        super().__init__(members)
        self.memory = Memory(shape=32, depth=spec.memory.command_words, init=[])

    def _command_members(self) -> dict[str, wiring.Member]:
        """One register, as long as the longest command."""
        return {"command": Out(32 * max(COMMANDS[opcode].words for opcode in self.queued))}

    def command_of(self, unit: Unit) -> Value:
        """The command that is pushed to a unit."""
        return self.command

    def _memory(self, m: Module) -> ReadPort:
        """The command memory, which the host writes; a word arrives a cycle after its address."""
        m.submodules.memory = memory = self.memory
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            write.addr.eq(self.h_address), write.data.eq(self.h_data), write.en.eq(self.h_valid),
            read.en.eq(1),
        ]  # fmt: skip
        return read

    def elaborate(self, platform: object) -> Module:
        """Words arrive one cycle after their address; the header tells how many belong together."""
        m = Module()
        read = self._memory(m)
        start = Signal(17)  # of the current command; one bit more than any address
        asked = Signal(6)  # words of it whose address has been given
        arriving, place = Signal(), Signal(5)  # a word arrives in this cycle, and which
        missing = Signal()  # it has no memory
        reading = Signal()
        opcode, length, last = Signal(4), Signal(5), Signal(5)
        lengths = Array(COMMANDS[Opcode(k)].words if k in set(Opcode) else 1 for k in range(16))
        header = arriving & (place == 0)
        # A block RAM is slow to read: nothing but `length` looks at a header in its cycle. So a
        # command of one word is complete with the word behind it, which need not exist.
        single = arriving & (place == 1) & (last == 0)
        complete = Signal()
        m.d.comb += [
            read.addr.eq(start + asked),
            complete.eq(single | (arriving & ~header & ~missing & (place == last))),
        ]
        m.d.sync += [
            arriving.eq(reading & ~complete & ~self.finish), place.eq(asked),
            missing.eq(start + asked >= self.spec.memory.command_words),
        ]  # fmt: skip
        with m.If(header):
            words = lengths[read.data[:4]]
            m.d.sync += [opcode.eq(read.data[:4]), length.eq(words), last.eq(words - 1)]
        with m.If(arriving):
            m.d.sync += self.command.word_select(place, 32).eq(read.data)
        with m.If(reading):
            m.d.sync += asked.eq(asked + 1)
        with m.If(complete):
            m.d.sync += [reading.eq(0), arriving.eq(0)]
        lost = arriving & missing & ~single
        self._dispatch(m, opcode, length, start, reading, complete, asked, lost)
        return m

    def _dispatch(
        self,
        m: Module,
        opcode: Value,
        length: Value,
        start: Signal,
        reading: Signal,
        complete: Value,
        asked: Signal,
        lost: Value,
    ) -> None:
        """Push the complete command, or stop."""
        whole = Signal()  # a complete command waits for its queue
        pushed = Signal()
        with m.If(complete):
            m.d.sync += whole.eq(1)
        with m.If(pushed):
            m.d.sync += [whole.eq(0), start.eq(start + length), asked.eq(0), reading.eq(1)]
        fields = command_fields(Opcode.JUMP, self.command)
        ends, unknown, units_busy = Signal(), Signal(), Signal()
        m.d.sync += units_busy.eq(self.units_busy)
        m.d.comb += self.wait.eq(fields["wait"])
        with m.If(whole), m.Switch(opcode):
            for kind in self.queued:
                with m.Case(kind):
                    name = kind.name.lower()
                    m.d.comb += [
                        getattr(self, f"push_{name}").eq(1),
                        pushed.eq(getattr(self, f"ready_{name}")),
                    ]
            with m.Case(Opcode.JUMP):
                m.d.comb += [self.jump.eq(self.jump_ready), pushed.eq(self.jump_ready)]
            with m.Case(Opcode.END):
                m.d.comb += ends.eq(~units_busy)
            with m.Default():
                m.d.comb += unknown.eq(1)
        with m.If(self.jump):
            m.d.sync += start.eq(fields["address"])
        with m.If(self.finish | self.stopping):
            m.d.sync += [whole.eq(0), reading.eq(0)]
        self._stop(m, ends, unknown | lost)
        with m.If(self.start & ~self.running):
            self._begin(m)
            m.d.sync += [reading.eq(1), asked.eq(0), start.eq(self.entry)]

    def _begin(self, m: Module) -> None:
        """A run starts."""
        m.d.sync += [self.running.eq(1), self.error.eq(ErrorCode.NONE)]

    def _stop(self, m: Module, ends: Value, broken: Value) -> None:
        """Finish at END, at the timeout, or after an error as soon as the bus is quiet."""
        m.d.comb += self.finish.eq(
            self.running & (ends | self.timeout | (self.stopping & self.quiet))
        )
        with m.If(self.running & ~self.stopping & ~ends):
            with m.If(self.failure != ErrorCode.NONE):
                m.d.sync += [self.error.eq(self.failure), self.stopping.eq(1)]
            with m.Elif(broken):
                m.d.sync += [self.error.eq(ErrorCode.OPCODE), self.stopping.eq(1)]
            with m.Elif(self.timeout):
                m.d.sync += self.error.eq(ErrorCode.TIMEOUT)
        with m.If(self.finish):
            m.d.sync += [self.running.eq(0), self.stopping.eq(0)]
