"""The compute unit: streams activations through the array, pass after pass."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.accumulators import MINIMUM_PASS
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.loops import LoopNest
from systolith.hw.queue import CommandQueue
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import MATMUL_LOOPS, Opcode, Unit

__all__ = ["Feeder"]


class Feeder(wiring.Component):
    """Run MATMUL commands: one activation vector a cycle, unless something it needs is missing.

    Parameters
    ----------
    spec: address width, queue depth, result buffer depth.

    Members
    -------
    push, push_ready, i: MATMUL commands, as fetched.
    start_ready, start, wait: the tokens of `wait` are there; the command starts and consumes them.
    finish, signal: the command has issued its last read; tokens to give.
    x_valid, x_address, x_ready: requests to the activation memory.
    x_signed: of the vector issued in this cycle.
    i_tile_ready, o_switch: weight tile loaded; this vector is the first to use it.
    o_valid, o_pass_first, o_k_first, o_k_last, o_maximum: what the accumulators do with the vector.
    i_space: there is room for one more result vector.
    stall_commands, stall_tokens, stall_weights, stall_accumulators, stall_activations: events of
        the counters.
    busy: a command is waiting or running.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        super().__init__(
            {
                "push": In(1), "push_ready": Out(1), "i": In(command_bits(Opcode.MATMUL)),
                "start_ready": In(1), "start": Out(1), "wait": Out(len(Unit)),
                "finish": Out(1), "signal": Out(len(Unit)),
                "x_valid": Out(1), "x_address": Out(spec.activation_address_bits),
                "x_ready": In(1), "x_signed": Out(1),
                "i_tile_ready": In(1), "o_switch": Out(1),
                "o_valid": Out(1), "o_pass_first": Out(1), "o_k_first": Out(1),
                "o_k_last": Out(1), "o_maximum": Out(1), "i_space": In(1),
                "stall_commands": Out(1), "stall_tokens": Out(1), "stall_weights": Out(1),
                "stall_accumulators": Out(1), "stall_activations": Out(1),
                "busy": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """The queue's head is the running command; it is popped when its last vector is issued."""
        m = Module()
        m.submodules.queue = queue = CommandQueue(len(self.i), self.spec.queue_depth)
        m.submodules.nest = nest = LoopNest(
            len(MATMUL_LOOPS), 1, address_bits=self.spec.activation_address_bits
        )
        fields = command_fields(Opcode.MATMUL, queue.o)
        m.d.comb += nest.base0.eq(fields["x_base"])
        for d, name in enumerate(MATMUL_LOOPS):
            m.d.comb += getattr(nest, f"count{d}").eq(fields[f"{name}_count"])
            m.d.comb += getattr(nest, f"stride0_{d}").eq(fields[f"x_{name}_stride"])

        running = Signal()
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.wait.eq(fields["wait"]), self.signal.eq(fields["signal"]),
            self.start.eq(queue.valid & ~running & self.start_ready),
            nest.load.eq(self.start),
            self.busy.eq(queue.valid),
            self.stall_commands.eq(~queue.valid),
            self.stall_tokens.eq(queue.valid & ~running & ~self.start_ready),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += running.eq(1)
        self._issue(m, nest, fields, running)
        with m.If(self.finish):
            m.d.comb += queue.pop.eq(1)
            m.d.sync += running.eq(0)
        return m

    def _issue(self, m: Module, nest: LoopNest, fields: dict, running: Signal) -> None:
        """Issue a vector when weights, result space, pass spacing and the read port allow it."""
        age = Signal(range(MINIMUM_PASS + 1), init=MINIMUM_PASS)  # cycles since the pass began
        spaced, needs_tile = Signal(), Signal()
        k_first = nest.first2 & nest.first3 & nest.first4
        m.d.comb += [
            self.o_pass_first.eq(nest.first5 & nest.first6),
            self.o_k_first.eq(k_first),
            self.o_k_last.eq(nest.last2 & nest.last3 & nest.last4),
            self.o_maximum.eq(fields["maximum"]),
            needs_tile.eq(
                self.o_pass_first & (~fields["w_hold"] | (k_first & nest.first0 & nest.first1))
            ),
            spaced.eq(~self.o_pass_first | (age == MINIMUM_PASS)),
            self.stall_weights.eq(running & needs_tile & ~self.i_tile_ready),
            self.stall_accumulators.eq(
                running & ~self.stall_weights & ((self.o_k_last & ~self.i_space) | ~spaced)
            ),
            self.x_valid.eq(running & ~self.stall_weights & ~self.stall_accumulators),
            self.stall_activations.eq(self.x_valid & ~self.x_ready),
            self.x_address.eq(nest.address0),
            self.x_signed.eq(fields["x_signed"]),
            self.o_valid.eq(self.x_valid & self.x_ready),
            self.o_switch.eq(self.o_valid & needs_tile),
            nest.step.eq(self.o_valid),
            self.finish.eq(self.o_valid & nest.done),
        ]
        with m.If(self.o_valid & self.o_pass_first):
            m.d.sync += age.eq(1)
        # A vector that waited for the read port comes late: the pass after it must wait as long.
        with m.Elif((age != MINIMUM_PASS) & ~self.stall_activations):
            m.d.sync += age.eq(age + 1)
