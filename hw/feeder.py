"""The compute unit: streams activations through the array, pass after pass."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.accumulators import MINIMUM_PASS
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.loops import LoopNest
from systolith.hw.output_grid import OutputGrid
from systolith.hw.queue import CommandQueue
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import MATMUL_LOOPS, Opcode, Unit
from systolith.spec.precision import WeightFormat

__all__ = ["Feeder"]

_PIXEL_LOOPS = MATMUL_LOOPS[-2:]
"""Loops inside a pass: one stream of the depthwise mode."""


class Feeder(wiring.Component):
    """Run MATMUL commands: one activation vector a cycle, unless something it needs is missing.

    A depthwise stream of pixels marks the pixels that complete an output. Its pixels must follow
    each other without a bubble while outputs depend on them. So it waits only at a gate, just
    behind the last output of a row, until the whole next row of outputs fits into the ring; a
    stream ends with its last output.

    Parameters
    ----------
    spec: address width, queue depth, result buffer depth, depthwise lines.

    Members
    -------
    push, push_ready, i: MATMUL commands, as fetched.
    start_ready, start, wait: the tokens of `wait` are there; the command starts and consumes them.
    finish, signal: the command has issued its last read; tokens to give.
    x_valid, x_address, x_ready: requests to the activation memory.
    x_urgent: the request must be granted.
    x_pair, x_below: the request is for two pixels; the address of the lower one, a row below. Only
        with `AcceleratorSpec.row_pairs`.
    x_signed: of the vector issued in this cycle.
    o_precision: `Precision` of that vector. Only with precisions of nibbles.
    o_sparse: that vector is for weights of two of four. Only if the array is sparse.
    o_issue: a vector is issued.
    o_depthwise, o_column, o_expand: the vector is a pixel of this column of the image, and columns
        of the array read its byte column >> expand. Only with a depthwise mode.
    i_tile_ready, o_switch: weight tile loaded; this vector is the first to use it.
    o_valid, o_pass_first, o_k_first, o_k_last, o_maximum: what the accumulators do with the sum
        that the vector completes.
    i_space: how many more result vectors there is room for.  i_release: one more from the next
        cycle on.
    stall_commands, stall_tokens, stall_weights, stall_accumulators, stall_activations: events of
        the counters.
    busy: a command is waiting or running.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        depthwise = {
            "x_urgent": Out(1),
            "o_depthwise": Out(1), "o_column": Out(range(spec.array.depthwise_width)),
            "o_expand": Out(2),
        }  # fmt: skip
        if spec.row_pairs:
            depthwise |= {"x_pair": Out(1), "x_below": Out(spec.activation_address_bits)}
        super().__init__(
            (depthwise if spec.array.depthwise_lines else {})
            | ({"o_precision": Out(2)} if spec.array.nibbles else {})
            | ({"o_sparse": Out(1)} if spec.array.sparse else {})
            | {
                "push": In(1), "push_ready": Out(1), "i": In(command_bits(Opcode.MATMUL)),
                "start_ready": In(1), "start": Out(1), "wait": Out(len(Unit)),
                "finish": Out(1), "signal": Out(len(Unit)),
                "x_valid": Out(1), "x_address": Out(spec.activation_address_bits),
                "x_ready": In(1), "x_signed": Out(1), "o_issue": Out(1),
                "i_tile_ready": In(1), "o_switch": Out(1),
                "o_valid": Out(1), "o_pass_first": Out(1), "o_k_first": Out(1),
                "o_k_last": Out(1), "o_maximum": Out(1),
                "i_space": In(range(spec.memory.accumulator_depth + 1)), "i_release": In(1),
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
            len(MATMUL_LOOPS),
            1,
            address_bits=self.spec.activation_address_bits,
            count_bits=self.spec.count_bits,
            cuttable=len(_PIXEL_LOOPS) if self.spec.array.depthwise_lines else 0,
        )
        fields = command_fields(Opcode.MATMUL, queue.o, self.spec.count_bits)
        m.d.comb += nest.base0.eq(fields["x_base"])
        if self.spec.row_pairs:
            self._pairs(m, nest, fields)
        for d, name in enumerate(MATMUL_LOOPS):
            m.d.comb += getattr(nest, f"count{d}").eq(fields[f"{name}_count"])
            m.d.comb += getattr(nest, f"stride0_{d}").eq(fields[f"x_{name}_stride"])

        running = Signal()
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.wait.eq(fields["wait"]), self.signal.eq(fields["signal"]),
            self.start.eq(queue.valid & ~running & self.start_ready),
            # Until the tokens are there it is loaded again and again: they come late.
            nest.load.eq(~running),
            self.busy.eq(queue.valid),
            self.stall_commands.eq(~queue.valid),
            self.stall_tokens.eq(queue.valid & ~running & ~self.start_ready),
        ]  # fmt: skip
        m.d.sync += running.eq(self.start | (running & ~self.finish))
        if self.spec.array.nibbles:
            m.d.comb += self.o_precision.eq(fields["precision"])
        if self.spec.array.sparse:
            m.d.comb += self.o_sparse.eq(fields["w_format"] == WeightFormat.TWO_OF_FOUR)
        flags = self._pass_flags(m, nest, fields, running)
        needs_room = Signal()  # the next vector must wait for room in the ring
        if self.spec.array.depthwise_lines:
            self._outputs(m, nest, fields, flags, needs_room)
        else:
            m.d.comb += [
                self.o_valid.eq(self.o_issue), self.o_pass_first.eq(flags["pass_first"])
            ]  # fmt: skip
            m.d.sync += needs_room.eq(flags["will_k_last"])
        self._issue(m, nest, fields, flags, needs_room & self._room(m, fields))
        m.d.comb += queue.pop.eq(self.finish)
        return m

    def _pairs(self, m: Module, nest: LoopNest, fields: dict) -> None:
        """With pairs the stream's rows are pairs of rows: half as many, twice as far apart."""
        pairs = fields["depthwise"] & fields["pairs"]
        m.d.comb += [
            self.x_pair.eq(pairs),
            self.x_below.eq(nest.address0 + fields["x_my_stride"]),
        ]
        for name in ("my_count", "y_first", "y_step"):
            fields[name] = Mux(pairs, fields[name] >> 1, fields[name])
        stride = fields["x_my_stride"]
        fields["x_my_stride"] = Mux(pairs, stride << 1, stride)

    def _pass_flags(
        self, m: Module, nest: LoopNest, fields: dict, running: Signal
    ) -> dict[str, Signal]:
        """What the next vector begins, as registers: whether it is issued is decided late.

        A held tile is needed by the first vector of the command alone.

        Returns
        -------
        pass_first, k_first: it is the first of a pass; of the passes that make an output.
        k_last: it is one of an output's last pass.
        needs_tile: it is the first to use a weight tile.
        will_pass_first, will_k_last: what those will be in the next cycle, known late in this one.
        running: a command runs.
        """
        names = ("pass_first", "k_first", "k_last", "needs_tile")
        flags = {name: Signal(name=f"is_{name}") for name in names}
        will = {name: Signal(name=f"will_{name}") for name in ("pass_first", "k_last")}
        pass_ends = nest.last5 & nest.last6
        output_ends = pass_ends & nest.last2 & nest.last3 & nest.last4
        m.d.comb += [signal.eq(flags[name]) for name, signal in will.items()]
        m.d.sync += [flags[name].eq(signal) for name, signal in will.items()]
        with m.If(~running):
            m.d.comb += will["pass_first"].eq(1)
            m.d.sync += [flags["needs_tile"].eq(1), flags["k_first"].eq(1)]
        with m.Elif(self.o_issue):
            m.d.comb += will["pass_first"].eq(pass_ends)
            m.d.sync += [
                flags["needs_tile"].eq(pass_ends & ~fields["w_hold"]),
                flags["k_first"].eq(output_ends | (flags["k_first"] & ~pass_ends)),
            ]
        with m.If(~running | self.o_issue):
            m.d.comb += will["k_last"].eq(
                nest.ahead2 & nest.ahead3 & nest.ahead4 & ~fields["partial"]
            )
        return flags | {f"will_{name}": flag for name, flag in will.items()} | {"running": running}

    def _room(self, m: Module, fields: dict) -> Signal:
        """Whether the ring lacks room: for a vector or, in the depthwise mode, for a row of them.

        A register, made from what there will be room for in the next cycle.
        """
        tight, claim = Signal(), Signal()
        need = Signal(fields["ox_count"].shape(), init=1)
        if self.spec.array.depthwise_lines:
            with m.If(fields["depthwise"]):
                m.d.comb += need.eq(fields["ox_count"])
        m.d.comb += claim.eq(self.o_valid & self.o_k_last)
        with m.If(claim & ~self.i_release):
            m.d.sync += tight.eq(self.i_space <= need)
        with m.Elif(self.i_release & ~claim):
            m.d.sync += tight.eq(self.i_space + 1 < need)
        with m.Else():
            m.d.sync += tight.eq(self.i_space < need)
        return tight

    def _outputs(
        self, m: Module, nest: LoopNest, fields: dict, flags: dict, needs_room: Signal
    ) -> None:
        """Which vectors complete an output: all normal ones; of a stream those on a grid."""
        depthwise = fields["depthwise"]
        grid = OutputGrid(m, fields, self.spec.array.depthwise_width)
        # While no stream runs, it stands at the first pixel of the next.
        grid.advance(
            m, issue=self.o_issue, idle=~flags["running"] | ~depthwise, row_ends=nest.last6
        )
        m.d.comb += [
            self.x_urgent.eq(depthwise), nest.cut.eq(depthwise & grid.ends),
            self.o_depthwise.eq(self.o_issue & depthwise),
            self.o_column.eq(grid.column), self.o_expand.eq(fields["expand"]),
            self.o_valid.eq(self.o_issue & (~depthwise | grid.is_output)),
            self.o_pass_first.eq(Mux(depthwise, grid.fresh, flags["pass_first"])),
        ]  # fmt: skip
        gate = grid.will_gate | (flags["will_pass_first"] & grid.will_begin)
        m.d.sync += needs_room.eq(flags["will_k_last"] & (~depthwise | gate))

    def _issue(self, m: Module, nest: LoopNest, fields: dict, flags: dict, full: Value) -> None:
        """Issue a vector when weights, result space, pass spacing and the read port allow it."""
        running = flags["running"]
        age = Signal(range(MINIMUM_PASS + 1), init=MINIMUM_PASS)  # cycles since the pass began
        ripe, will_ripe = Signal(init=1), Signal()  # it has reached its end
        early = Signal()  # the next pass must wait for that
        m.d.comb += [
            self.o_k_first.eq(flags["k_first"] & ~fields["accumulate"]),
            self.o_k_last.eq(flags["k_last"]),
            self.o_maximum.eq(fields["maximum"]),
            will_ripe.eq(ripe),
            self.stall_weights.eq(running & flags["needs_tile"] & ~self.i_tile_ready),
            self.stall_accumulators.eq(running & ~self.stall_weights & (full | early)),
            self.x_valid.eq(running & ~self.stall_weights & ~self.stall_accumulators),
            self.stall_activations.eq(self.x_valid & ~self.x_ready),
            self.x_address.eq(nest.address0),
            self.x_signed.eq(fields["x_signed"]),
            self.o_issue.eq(self.x_valid & self.x_ready),
            self.o_switch.eq(self.o_issue & flags["needs_tile"]),
            nest.step.eq(self.o_issue),
            self.finish.eq(self.o_issue & nest.done),
        ]
        with m.If(self.o_issue & flags["pass_first"]):
            m.d.sync += age.eq(1)
            m.d.comb += will_ripe.eq(0)
        # A vector that waited for the read port comes late: the pass after it must wait as long.
        with m.Elif(~ripe & ~self.stall_activations):
            m.d.sync += age.eq(age + 1)
            m.d.comb += will_ripe.eq(age == MINIMUM_PASS - 1)
        m.d.sync += [ripe.eq(will_ripe), early.eq(flags["will_pass_first"] & ~will_ripe)]
