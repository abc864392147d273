"""The save unit: runs of the activation memory to external memory."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.beats import BeatGenerator
from systolith.hw.bursts import EXTERNAL_BITS, BurstGenerator
from systolith.hw.delay import delay
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.queue import CommandQueue
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode, Unit

__all__ = ["SaveUnit"]

_AHEAD = ActivationMemory.read_latency + 2
"""Beats read ahead: as long as a beat takes from its read until it makes room for the next."""


class SaveUnit(wiring.Component):
    """Run SAVE commands: read the bytes of a beat a cycle, rotate them to their place on the bus.

    A command starts when the one before it has finished.

    Latency: 4 cycles from a granted read to the beat.

    Parameters
    ----------
    spec: everything.

    Members
    -------
    push, push_ready, i: SAVE commands, as fetched.
    start_ready, start, wait: the tokens of `wait` are there; the command starts and consumes them.
    finish, signal: all bursts are answered; tokens to give.
    b_valid, b_ready, b_address, b_len: bursts for the `WriteMaster`.
    o_valid, o_ready, o_data, o_strobe: their beats.
    written: the `WriteMaster` has no burst under way, and none has failed.
    s_valid, s_address, s_ready, s_data: reads of activations.
    running: a command runs.  busy: one is waiting or running.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        size = spec.external.data_bytes
        super().__init__(
            {
                "push": In(1), "push_ready": Out(1), "i": In(command_bits(Opcode.SAVE)),
                "start_ready": In(1), "start": Out(1), "wait": Out(len(Unit)),
                "finish": Out(1), "signal": Out(len(Unit)),
                "b_valid": Out(1), "b_ready": In(1), "b_address": Out(EXTERNAL_BITS),
                "b_len": Out(8),
                "o_valid": Out(1), "o_ready": In(1), "o_data": Out(8 * size),
                "o_strobe": Out(size), "written": In(1),
                "s_valid": Out(1), "s_address": Out(spec.activation_address_bits),
                "s_ready": In(1), "s_data": In(8 * size),
                "running": Out(1), "busy": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Queue, bursts, reads, beats."""
        m = Module()
        m.submodules.queue = queue = CommandQueue(len(self.i), self.spec.queue_depth)
        m.submodules.bursts = bursts = BurstGenerator(self.spec)
        fields = command_fields(Opcode.SAVE, queue.o)
        bursts.connect_fields(m, fields)
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.wait.eq(fields["wait"]), self.signal.eq(fields["signal"]),
            self.start.eq(queue.valid & ~self.running & self.start_ready),
            bursts.load.eq(self.start), self.busy.eq(queue.valid), queue.pop.eq(self.finish),
            self.b_valid.eq(bursts.b_valid), bursts.b_ready.eq(self.b_ready),
            self.b_address.eq(bursts.b_address), self.b_len.eq(bursts.b_len),
            # Bursts that have been issued but not answered are under way: `written` is low.
            self.finish.eq(self.running & bursts.done & self.written),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += self.running.eq(1)
        with m.If(self.finish):
            m.d.sync += self.running.eq(0)
        self._beats(m, fields["length"], bursts)
        return m

    def _beats(self, m: Module, length: Value, bursts: BurstGenerator) -> None:
        """Read as far ahead as there is room for the answers."""
        size = self.spec.external.data_bytes
        m.submodules.beats = beats = BeatGenerator(size)
        m.submodules.ready = ready = CommandQueue(9 * size, _AHEAD)
        ahead = Signal(range(_AHEAD + 1))
        read, sent = self.s_valid & self.s_ready, self.o_valid & self.o_ready
        m.d.sync += ahead.eq(ahead + read - sent)
        m.d.comb += [
            beats.length.eq(length), beats.run_valid.eq(bursts.run_valid),
            bursts.run_pop.eq(beats.run_pop), beats.run_place.eq(bursts.run_place),
            beats.run_offset.eq(bursts.run_start[: bursts.lane_bits]),
            beats.run_last.eq(bursts.run_last),
            self.s_valid.eq(beats.o_valid & (ahead != _AHEAD)), self.s_address.eq(beats.o_place),
            beats.o_ready.eq(read),
        ]  # fmt: skip
        latency = ActivationMemory.read_latency
        arrives = delay(m, read, latency, "arrives", reset=True)
        offset = delay(m, beats.o_offset, latency, "offset")
        count = delay(m, beats.o_count, latency, "count")
        data = (self.s_data << (offset << 3))[: 8 * size]
        strobe = (((1 << count) - 1) << offset)[:size]
        m.d.comb += [
            ready.push.eq(arrives), ready.i.eq(Cat(data, strobe)),
            self.o_valid.eq(ready.valid), ready.pop.eq(sent),
            Cat(self.o_data, self.o_strobe).eq(ready.o),
        ]  # fmt: skip
