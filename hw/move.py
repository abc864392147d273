"""The move unit: constant runs, copies, softmax and conversions in the activation memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.convert import Converter
from systolith.hw.delay import delay
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.level import Level
from systolith.hw.loops import LoopNest
from systolith.hw.queue import CommandQueue
from systolith.hw.softmax import SoftmaxUnit
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COPY_LOOPS, FILL_LOOPS, Opcode, Unit

__all__ = ["MoveUnit"]

_READING = ActivationMemory.read_latency
_SLOTS = 4
"""Pieces of a copy between their read and their write: `read_latency` of them on the way, and one
more, as a slot is free again only in the cycle after its write."""
_CONVERTED_SLOTS = 16
"""Those of a conversion, which takes the lanes' latency besides."""


class MoveUnit(wiring.Component):
    """Run FILL, COPY, SOFTMAX, QUANTIZE and DEQUANTIZE commands in order.

    A run goes in pieces of a line, one a cycle; its last may be shorter. A FILL writes its first
    piece in the cycle after its start, a COPY `read_latency` cycles later. A command starts when
    the one before it has written its last byte.

    A conversion is a COPY whose pieces are as many numbers as there are lanes, that arrive the
    lanes' latency later; its fields lie where those of a COPY do.

    Parameters
    ----------
    spec: address width, line width, queue depth, tables of the softmax unit.

    Attributes
    ----------
    softmax: the softmax unit, or None.
    converter: the lanes of QUANTIZE and DEQUANTIZE, or None.

    Members
    -------
    push, push_ready, i: commands, as fetched.
    start_ready, start, wait: the tokens of `wait` are there; the command starts and consumes them.
    finish, signal, stamp: the last byte is written; tokens to give; append a time stamp.
    c_valid, c_address, c_ready, c_data: reads of lines, `read_latency` cycles from grant to data.
    f_valid, f_address, f_count, f_data, f_ready: writes.
    busy: a command is waiting or running.
    h_valid, h_address, h_data: host writes of the tables of exponentials, see `SoftmaxUnit`.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        bits, line = spec.activation_address_bits, spec.line_bytes
        self.softmax = SoftmaxUnit(spec) if spec.post.softmax_tables else None
        self.converter = Converter(spec) if spec.post.quantize_lanes else None
        opcodes = {Opcode.FILL, Opcode.COPY, Opcode.SOFTMAX}
        opcodes |= {Opcode.QUANTIZE, Opcode.DEQUANTIZE} if self.converter else set()
        command = max(map(command_bits, opcodes))
        super().__init__(
            {
                "push": In(1), "push_ready": Out(1), "i": In(command),
                "start_ready": In(1), "start": Out(1), "wait": Out(len(Unit)),
                "finish": Out(1), "signal": Out(len(Unit)), "stamp": Out(1),
                "c_valid": Out(1), "c_address": Out(bits), "c_ready": In(1),
                "c_data": In(8 * line),
                "f_valid": Out(1), "f_address": Out(bits), "f_count": Out(range(line + 1)),
                "f_data": Out(8 * line), "f_ready": In(1),
                "busy": Out(1),
                "h_valid": In(1), "h_address": In(10), "h_data": In(32),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """The queue's head is the running command; it is popped when its last byte is written."""
        m = Module()
        m.submodules.queue = queue = CommandQueue(len(self.i), self.spec.queue_depth)
        m.submodules.nest = nest = LoopNest(
            len(COPY_LOOPS) + 1, 2, address_bits=self.spec.activation_address_bits,
            count_bits=self.spec.count_bits, cuttable=1, open_end=True,
        )  # fmt: skip
        counts = self.spec.count_bits
        fill, copy = (command_fields(o, queue.o, counts) for o in (Opcode.FILL, Opcode.COPY))
        copies, length = Signal(), Signal(self.spec.count_bits)
        copying = Signal()  # as of the running command, a cycle after it came
        running, draining = Signal(), Signal()
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.wait.eq(fill["wait"]), self.signal.eq(fill["signal"]),
            self.stamp.eq(fill["stamp"]),
            copies.eq((fill["opcode"] == Opcode.COPY) | self._converts(m, queue.o)),
            length.eq(Mux(copies, copy["length"], fill["length"])),
            self.start.eq(queue.valid & ~running & ~draining & self.start_ready),
            # Until the tokens are there it is loaded again and again: they come late.
            nest.load.eq(~running), self.busy.eq(queue.valid),
        ]  # fmt: skip
        m.d.sync += copying.eq(copies)
        with m.If(self.start):
            m.d.sync += running.eq(1)
        self._connect_nest(m, nest, fill, copy, copies, copying)
        sent = Signal()  # a piece has been written by a FILL or read by a COPY
        count, last = self._pieces(m, nest, length, sent, running)
        source, target = nest.address0, nest.address1
        with m.If(last):
            m.d.sync += [running.eq(0), draining.eq(1)]
        taken, ended = self.f_valid & self.f_ready, Signal()
        valid, place, data, single = self._copy(
            m, running & copying, Cat(target, count), taken & copying
        )
        with m.If(copying):
            m.d.comb += [
                self.f_valid.eq(valid), Cat(self.f_address, self.f_count).eq(place),
                self.f_data.eq(data),
                sent.eq(self.c_valid & self.c_ready), ended.eq(taken & single & ~running),
            ]  # fmt: skip
        with m.Else():
            m.d.comb += [
                self.f_valid.eq(running), self.f_address.eq(target), self.f_count.eq(count),
                self.f_data.eq(fill["value"].replicate(self.spec.line_bytes)),
                sent.eq(taken), ended.eq(last),
            ]  # fmt: skip
        m.d.comb += self.c_address.eq(source)
        if self.softmax is not None:
            with m.If(self._run_softmax(m, self.softmax, queue.o)):
                m.d.comb += [sent.eq(0), ended.eq(self.softmax.done)]
                with m.If(self.softmax.done):
                    m.d.sync += [running.eq(0), draining.eq(1)]
        m.d.comb += self.finish.eq(
            delay(m, ended, ActivationMemory.write_latency, "landed", reset=True)
        )
        with m.If(self.finish):
            m.d.comb += queue.pop.eq(1)
            m.d.sync += draining.eq(0)
        return m

    def _converts(self, m: Module, command: Value) -> Value:
        """Whether a command is a conversion."""
        if self.converter is None:
            return Const(0)
        m.submodules.converter = self.converter
        m.d.comb += self.converter.command.eq(command)
        return self.converter.active

    def _run_softmax(self, m: Module, softmax: SoftmaxUnit, command: Value) -> Value:
        """Let the softmax unit have the ports while its command runs; return whether that is so."""
        m.submodules.softmax = softmax
        chosen = Signal()
        m.d.comb += [
            chosen.eq(command_fields(Opcode.SOFTMAX, command)["opcode"] == Opcode.SOFTMAX),
            softmax.start.eq(self.start & chosen), softmax.i.eq(command),
            softmax.c_ready.eq(self.c_ready), softmax.c_data.eq(self.c_data),
            softmax.f_ready.eq(self.f_ready), softmax.h_valid.eq(self.h_valid),
            softmax.h_address.eq(self.h_address), softmax.h_data.eq(self.h_data),
        ]  # fmt: skip
        with m.If(chosen):
            for port in ("c_valid", "c_address", "f_valid", "f_address", "f_count", "f_data"):
                m.d.comb += getattr(self, port).eq(getattr(softmax, port))
        return chosen

    @staticmethod
    def _connect_nest(
        m: Module, nest: LoopNest, fill: dict, copy: dict, copies: Value, copying: Value
    ) -> None:
        """Streams: 0 source, which a FILL does not use, 1 target. A FILL has no loop d3.

        What a step adds is chosen by a register: the first comes a cycle after the start.
        """
        m.d.comb += [
            nest.base0.eq(copy["s_base"]),
            nest.base1.eq(Mux(copies, copy["d_base"], fill["d_base"])),
        ]
        for d, name in enumerate(COPY_LOOPS):
            count, stride = copy[f"{name}_count"], copy[f"d_{name}_stride"]
            if name in FILL_LOOPS:
                count = Mux(copies, count, fill[f"{name}_count"])
                stride = Mux(copying, stride, fill[f"d_{name}_stride"])
            else:
                count = Mux(copies, count, 1)
            m.d.comb += [
                getattr(nest, f"count{d}").eq(count),
                getattr(nest, f"stride0_{d}").eq(copy[f"s_{name}_stride"]),
                getattr(nest, f"stride1_{d}").eq(stride),
            ]

    def _pieces(
        self, m: Module, nest: LoopNest, length: Value, sent: Value, running: Value
    ) -> tuple[Value, Value]:
        """Cut runs into pieces, the innermost loop: bytes that are written, the end of the last."""
        line = self.spec.line_bytes
        rest = Signal(self.spec.count_bits)  # bytes, or numbers, of the run to send
        count, run_ends, last = Signal(range(line + 1)), Signal(), Signal()
        most: Value = Const(line)
        strides: tuple[Value, Value] = (most, most)
        size: Value = count
        if self.converter is not None:
            converts, widens = self.converter.active, self.converter.widens
            lanes = self.spec.post.quantize_lanes
            most = Mux(converts, lanes, line)
            strides = Mux(converts & ~widens, 4 * lanes, most), Mux(widens, 4 * lanes, most)
            size = Mux(widens, count << 2, count)
        for stream, stride in enumerate(strides):
            m.d.comb += getattr(nest, f"stride{stream}_{len(COPY_LOOPS)}").eq(stride)
        m.d.comb += [
            count.eq(Mux(run_ends, rest, most)), nest.cut.eq(run_ends), nest.step.eq(sent),
            last.eq(sent & nest.done),
        ]  # fmt: skip
        with m.If(~running | (sent & run_ends)):
            m.d.sync += [rest.eq(length), run_ends.eq(length <= most)]
        with m.Elif(sent):
            m.d.sync += [rest.eq(rest - most), run_ends.eq(rest <= (most << 1))]
        return size[: len(count)], last

    def _copy(
        self, m: Module, reading: Value, place: Value, taken: Value
    ) -> tuple[Value, Value, Value, Value]:
        """Read pieces while slots are free; offer each for writing from its arrival on.

        Parameters
        ----------
        reading: there is a piece to read, at `c_address`.
        place: where that piece goes: address and count of its write.
        taken: the write that is offered has been granted.

        Returns
        -------
        Whether there is a write, its place and data; whether no other piece is on the way.
        """
        slots = _SLOTS if self.converter is None else _CONVERTED_SLOTS
        m.submodules.places = places = Memory(shape=len(place), depth=slots, init=[])
        m.submodules.lines = lines = Memory(shape=len(self.c_data), depth=slots, init=[])
        asks, granted = Signal(), Signal()
        arrives, arrived, most = self._arrivals(m, granted)
        waiting = Level(m, "waiting", slots, arrives, taken)  # pieces that wait for their write
        under_way = Signal(range(slots + 1))
        room = Signal(init=1)  # fewer than `most` are under way
        m.d.comb += [
            asks.eq(reading & room), granted.eq(asks & self.c_ready),
            self.c_valid.eq(asks),
        ]  # fmt: skip
        with m.If(granted & ~taken):
            m.d.sync += [under_way.eq(under_way + 1), room.eq(under_way + 1 != most)]
        with m.Elif(taken & ~granted):
            m.d.sync += [under_way.eq(under_way - 1), room.eq(1)]
        # Slots are used in turn: pieces arrive and are written in the order of their reads.
        out, following = Signal(range(slots), name="slot_written"), Signal(range(slots))
        place_stored, line_stored = Signal(range(slots)), Signal(range(slots))
        line = lines.read_port(domain="comb")
        m.d.comb += [following.eq(out + 1), line.addr.eq(out)]
        with m.If(taken):
            m.d.sync += out.eq(following)
        for memory, enable, value, slot in (
            (places, granted, place, place_stored), (lines, arrives, arrived, line_stored)
        ):  # fmt: skip
            write = memory.write_port()
            m.d.comb += [write.addr.eq(slot), write.data.eq(value), write.en.eq(enable)]
            with m.If(enable):
                m.d.sync += slot.eq(slot + 1)
        # The place of the write that is offered next is a register, since grants depend on it:
        # there is time for that, as a piece arrives cycles after its place.
        offered = Signal(len(place), reset_less=True)
        same, other = places.read_port(domain="comb"), places.read_port(domain="comb")
        m.d.comb += [same.addr.eq(out), other.addr.eq(following)]
        m.d.sync += offered.eq(Mux(taken, other.data, same.data))
        data = Mux(waiting.some, line.data, arrived)
        return arrives | waiting.some, offered, data, under_way == 1

    def _arrivals(self, m: Module, granted: Value) -> tuple[Value, Value, Value]:
        """Whether a piece is there to be written, its bytes, and how many may be under way."""
        read = delay(m, granted, _READING, "arrives", reset=True)
        if self.converter is None:
            return read, self.c_data, Const(_SLOTS)
        converter = self.converter
        m.d.comb += [converter.i_valid.eq(read), converter.i.eq(self.c_data)]
        return (
            Mux(converter.active, converter.o_valid, read),
            Mux(converter.active, converter.o, self.c_data),
            Mux(converter.active, _CONVERTED_SLOTS, _SLOTS),
        )
