"""The load unit: writes constant runs to the activation memory (halos of padded tensors)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.delay import delay
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.loops import LoopNest
from systolith.hw.queue import CommandQueue
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import FILL_LOOPS, Opcode, Unit

__all__ = ["FillUnit"]


class FillUnit(wiring.Component):
    """Run FILL commands: up to a line of bytes a cycle.

    Parameters
    ----------
    spec: address width, line width, queue depth.

    Members
    -------
    push, push_ready, i: FILL commands, as fetched.
    start_ready, start, wait: the tokens of `wait` are there; the command starts and consumes them.
    finish, signal: the last byte is written; tokens to give.
    f_valid, f_address, f_count, f_data, f_ready: writes.
    busy: a command is waiting or running.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        super().__init__(
            {
                "push": In(1), "push_ready": Out(1), "i": In(command_bits(Opcode.FILL)),
                "start_ready": In(1), "start": Out(1), "wait": Out(len(Unit)),
                "finish": Out(1), "signal": Out(len(Unit)),
                "f_valid": Out(1), "f_address": Out(spec.activation_address_bits),
                "f_count": Out(range(spec.line_bytes + 1)), "f_data": Out(8 * spec.line_bytes),
                "f_ready": In(1),
                "busy": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """A nest of runs; inside a run, line after line."""
        m = Module()
        line = self.spec.line_bytes
        m.submodules.queue = queue = CommandQueue(len(self.i), self.spec.queue_depth)
        m.submodules.nest = nest = LoopNest(
            len(FILL_LOOPS), 1, address_bits=self.spec.activation_address_bits
        )
        fields = command_fields(Opcode.FILL, queue.o)
        m.d.comb += nest.base0.eq(fields["d_base"])
        for d, name in enumerate(FILL_LOOPS):
            m.d.comb += getattr(nest, f"count{d}").eq(fields[f"{name}_count"])
            m.d.comb += getattr(nest, f"stride0_{d}").eq(fields[f"d_{name}_stride"])
        running, draining = Signal(), Signal()
        offset, rest = Signal(16), Signal(16)
        taken, run_ends = self.f_valid & self.f_ready, Signal()
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.wait.eq(fields["wait"]), self.signal.eq(fields["signal"]),
            self.start.eq(queue.valid & ~running & ~draining & self.start_ready),
            nest.load.eq(self.start), self.busy.eq(queue.valid),
            rest.eq(fields["length"] - offset), run_ends.eq(rest <= line),
            self.f_valid.eq(running), self.f_address.eq(nest.address0 + offset),
            self.f_count.eq(Mux(run_ends, rest, line)),
            self.f_data.eq(fields["value"].replicate(line)),
            nest.step.eq(taken & run_ends),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [running.eq(1), offset.eq(0)]
        with m.If(taken):
            m.d.sync += offset.eq(Mux(run_ends, 0, offset + line))
        last = taken & run_ends & nest.done
        with m.If(last):
            m.d.sync += [running.eq(0), draining.eq(1)]
        m.d.comb += self.finish.eq(
            delay(m, last, ActivationMemory.write_latency, "landed", reset=True)
        )
        with m.If(self.finish):
            m.d.comb += queue.pop.eq(1)
            m.d.sync += draining.eq(0)
        return m
