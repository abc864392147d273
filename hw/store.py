"""The store unit: requantizes result vectors and writes them to the activation memory."""

from typing import cast

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.delay import delay, delay_samples
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.lane import LANE_CONTROL, PostLane
from systolith.hw.level import Level
from systolith.hw.loops import LoopNest
from systolith.hw.packing import NibblePacker
from systolith.hw.parameters import ParameterMemory
from systolith.hw.pipeline import Pipeline
from systolith.hw.queue import CommandQueue
from systolith.hw.requant import Requantizer
from systolith.hw.words import parameter_data_bits
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import STORE_LOOPS, Opcode, Unit
from systolith.spec.requant import PARAMETER_FIELDS

__all__ = ["StoreUnit"]

_OPERANDS = ActivationMemory.read_latency
"""Cycles from the issue of a lane vector until its operands stand at the lanes."""


class StoreUnit(wiring.Component):
    """Run STORE commands: take `lanes` channels of a result vector a cycle, requantize, write.

    With W4A8 a result vector has the channels of the low nibbles and then those of the high ones.

    A command starts when the one before it has written its last byte, because its fields steer
    the lanes directly.

    Parameters
    ----------
    spec: everything.

    Members
    -------
    push, push_ready, i: STORE commands, as fetched.
    start_ready, start, wait: the tokens of `wait` are there; the command starts and consumes them.
    finish, signal, stamp: the last byte is written; tokens to give; write a time stamp.
    i_credit: one more result vector is ready.  o_release: a result vector has been taken.
    result_valid, result_address, result_data: the ring of result vectors.
    r_valid, r_address, r_ready, r_data: residual reads; a lane vector waits until its is granted.
        Only if the lanes can add one.
    p_valid, p_address, p_count, p_data: writes.
    t_write, t_address, t_data: writes of table bytes (index * 256 + code).
    hp_valid, hp_address, hp_lanes, hp_enable, hp_data: writes of parameters.
    post_busy, post_wait: counters' events.
    busy: a command is waiting or running.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        lanes, bits = spec.post.lanes, spec.activation_address_bits
        self.channels = spec.array.columns * spec.array.column_sums
        self._split = self.channels > lanes  # a result vector takes several lane vectors
        self._delays = Requantizer.delays_of(spec.post.modes, spec.post.widths)
        self.parameters = ParameterMemory(spec, self._delays)
        residual = {
            "r_valid": Out(1), "r_address": Out(bits), "r_ready": In(1), "r_data": In(8 * lanes)
        }  # fmt: skip
        super().__init__(
            (residual if spec.post.residual else {})
            | {
                "push": In(1), "push_ready": Out(1), "i": In(command_bits(Opcode.STORE)),
                "start_ready": In(1), "start": Out(1), "wait": Out(len(Unit)),
                "finish": Out(1), "signal": Out(len(Unit)), "stamp": Out(1),
                "i_credit": In(1), "o_release": Out(1),
                "result_valid": Out(1), "result_address": Out(range(spec.memory.accumulator_depth)),
                "result_data": In(32 * self.channels),
                "p_valid": Out(1), "p_address": Out(bits), "p_count": Out(range(lanes + 1)),
                "p_data": Out(8 * lanes),
                "t_write": In(1), "t_address": In(12), "t_data": In(8),
                "hp_valid": In(1), "hp_address": In(self.parameters.address_bits),
                "hp_lanes": In(lanes), "hp_enable": In(8),
                "hp_data": In(parameter_data_bits(spec)),
                "post_busy": Out(1), "post_wait": Out(1),
                "busy": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Queue and nest, the issue of lane vectors, operand fetch, lanes, writes."""
        m = Module()
        m.submodules.queue = queue = CommandQueue(len(self.i), self.spec.queue_depth)
        m.submodules.nest = nest = LoopNest(
            len(STORE_LOOPS) + self._split, 2 + self.spec.post.residual,
            address_bits=max(self.spec.activation_address_bits, self.parameters.address_bits),
            count_bits=self.spec.count_bits, cuttable=int(self._split), open_end=self._split,
        )  # fmt: skip
        m.submodules.parameters = self.parameters
        fields = command_fields(Opcode.STORE, queue.o, self.spec.count_bits)
        running, draining = Signal(), Signal()
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.wait.eq(fields["wait"]), self.signal.eq(fields["signal"]),
            self.start.eq(queue.valid & ~running & ~draining & self.start_ready),
            # Until the tokens are there it is loaded again and again: they come late.
            nest.load.eq(~running), self.busy.eq(queue.valid), self.stamp.eq(fields["stamp"]),
        ]  # fmt: skip
        beat = Signal(range(max(2, self.channels // self.spec.post.lanes)))
        part = self._issue(m, nest, fields, running, beat)
        m.d.sync += draining.eq((draining | part["last"]) & ~self.finish)
        self._connect_nest(m, nest, fields, beat)
        lanes = self._operands_and_lanes(m, nest, fields, beat)
        self._write(m, nest, fields, lanes, beat, part)
        m.d.comb += queue.pop.eq(self.finish)
        return m

    def _connect_nest(self, m: Module, nest: LoopNest, fields: dict, beat: Value) -> None:
        """Streams: 0 output bytes, 1 parameter words, 2 residual bytes; lane vectors innermost."""
        lanes = self.spec.post.lanes
        adds = self.spec.post.residual
        m.d.comb += [nest.base0.eq(fields["y_base"]), nest.base1.eq(fields["p_base"])]
        if adds:
            m.d.comb += nest.base2.eq(fields["r_base"])
        for d, name in enumerate(STORE_LOOPS):
            m.d.comb += [
                getattr(nest, f"count{d}").eq(fields[f"{name}_count"]),
                getattr(nest, f"stride0_{d}").eq(fields[f"y_{name}_stride"]),
                getattr(nest, f"stride1_{d}").eq(fields["p_stride"] if name == "n" else 0),
            ]
            if adds:
                m.d.comb += getattr(nest, f"stride2_{d}").eq(fields[f"r_{name}_stride"])
        if not self._split:
            return
        written: Value = Const(lanes)
        if self.spec.array.packs:
            half = lanes // 2 + (beat[0] & lanes % 2)
            written = Mux(fields["packed"], half, lanes)
        for stream, stride in enumerate((written, 1, lanes)[: 2 + adds]):
            m.d.comb += getattr(nest, f"stride{stream}_{len(STORE_LOOPS)}").eq(stride)

    def _issue(
        self, m: Module, nest: LoopNest, fields: dict, running: Signal, beat: Signal
    ) -> dict[str, Value]:
        """Issue a lane vector whenever a result vector and its residual read are there.

        Return its count of channels, whether it is the result vector's last and the command's last.
        """
        lanes = self.spec.post.lanes
        will_run = Signal()  # what `running` is going to be
        # There is a result vector; it has a residual read, on which all other reads depend.
        waits, adds = Signal(), Signal()
        rest, last_beat = self._rest(m, nest, fields, running)
        count, last = Signal(range(lanes + 1)), Signal()
        depth = self.spec.memory.accumulator_depth
        credits = Level(m, "credits", depth, self.i_credit, self.o_release)
        m.d.comb += [
            self.post_busy.eq(waits),
            self.post_wait.eq(running & ~credits.some),
            count.eq(Mux(last_beat, rest, lanes)),
            self.o_release.eq(self.post_busy & last_beat),
            nest.step.eq(self.post_busy),
            last.eq(self.post_busy & nest.done),
        ]
        if self.spec.post.residual:
            m.d.comb += [
                self.r_valid.eq(adds),
                self.post_busy.eq(waits & (~adds | self.r_ready)),
                self.r_address.eq(nest.address2),
            ]
            m.d.sync += adds.eq(will_run & credits.will_have & fields["residual"])
        if self._split:
            m.d.comb += nest.cut.eq(last_beat)
        m.d.comb += will_run.eq(self.start | (running & ~last))
        m.d.sync += [running.eq(will_run), waits.eq(will_run & credits.will_have)]
        with m.If(self.post_busy):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
        return {"count": count, "last_beat": last_beat, "last": last}

    def _rest(
        self, m: Module, nest: LoopNest, fields: dict, running: Signal
    ) -> tuple[Signal, Value]:
        """Channels of the result vector that are still to be issued; whether they are the last.

        All of it is registers that are made from what comes next, as the issue is decided late.
        """
        lanes, width, channels = self.spec.post.lanes, fields["tile_channels"], fields["channels"]
        left = Signal(self.spec.count_bits)  # channels from this tile on
        tile, rest, next_tile = Signal(8), Signal(8), Signal(8)
        last_beat, tile_is_last = Signal(), Signal()  # `tile` fits the lanes
        more = Signal(9)  # more channels than that are left if the next tile does not fit them
        m.d.sync += more.eq(width + lanes)
        m.d.comb += next_tile.eq(Mux(left < (width << 1), (left - width)[:8], width))
        next_is_last = (left <= more) | (width <= lanes)
        whole = Mux(channels < width, channels[:8], width)
        whole_is_last = (channels <= lanes) | (width <= lanes)
        with m.If(self.post_busy & ~last_beat):
            m.d.sync += [rest.eq(rest - lanes), last_beat.eq(rest <= 2 * lanes)]
        with m.Elif(self.post_busy):
            m.d.sync += [rest.eq(tile), last_beat.eq(tile_is_last)]
            with m.If(nest.last2 & nest.last3 & ~nest.last1):
                m.d.sync += [
                    left.eq(left - width), tile.eq(next_tile), rest.eq(next_tile),
                    tile_is_last.eq(next_is_last), last_beat.eq(next_is_last),
                ]  # fmt: skip
        with m.If(~running | (self.o_release & nest.last1 & nest.last2 & nest.last3)):
            m.d.sync += [
                left.eq(channels), tile.eq(whole), rest.eq(whole),
                tile_is_last.eq(whole_is_last), last_beat.eq(whole_is_last),
            ]  # fmt: skip
        return rest, last_beat if self._split else Const(1)

    def _operands_and_lanes(
        self, m: Module, nest: LoopNest, fields: dict[str, Value], beat: Value
    ) -> list[PostLane]:
        """Fetch accumulators and parameters one cycle late: they meet the residual bytes."""
        spec = self.spec
        ring = Signal(range(spec.memory.accumulator_depth))
        with m.If(self.o_release):
            m.d.sync += ring.eq(Mux(ring == spec.memory.accumulator_depth - 1, 0, ring + 1))
        p = Pipeline(m, self.post_busy)
        p["ring"], p["beat"] = ring, beat
        p["word"] = nest.address1[: self.parameters.address_bits]
        p.advance(_OPERANDS - 2)
        m.d.comb += [
            self.result_valid.eq(p.valid), self.result_address.eq(p["ring"]),
            self.parameters.r_valid.eq(p.valid), self.parameters.r_address.eq(p["word"]),
            self.parameters.h_valid.eq(self.hp_valid), self.parameters.h_lanes.eq(self.hp_lanes),
            self.parameters.h_address.eq(self.hp_address), self.parameters.h_data.eq(self.hp_data),
            self.parameters.h_enable.eq(self.hp_enable),
        ]  # fmt: skip
        p.advance()
        p["acc"] = self.result_data.word_select(p["beat"], 32 * spec.post.lanes)
        operands: dict[str, Value] = {}
        for stage in range(max(self._delays.values()) + 1):
            now = [name for name, late in self._delays.items() if late == stage]
            for name in now:
                p[name] = getattr(self.parameters, name)
            p.advance()
            operands |= {name: p[name] for name in (now if stage else (*now, "acc"))}
            operands.setdefault("valid", p.valid)
        # The stubs do not know that a signal of a layout is a view.
        control = cast(data.View, Signal(LANE_CONTROL, name="control"))
        m.d.comb += [control[name].eq(fields[name]) for name in LANE_CONTROL.members]
        return [self._lane(m, i, operands, control, fields) for i in range(spec.post.lanes)]

    def _lane(
        self, m: Module, i: int, operands: dict, control: data.View, fields: dict
    ) -> PostLane:
        """Lane i with its slice of the operands."""
        spec = self.spec
        post, memory = spec.post, spec.memory
        lane = PostLane(
            post.modes, residual=post.residual, product=post.product, widths=post.widths,
            residual_multipliers=post.residual_multipliers, late=True,
            tables=memory.tables, table_attributes=memory.small_attributes,
        )  # fmt: skip
        m.submodules[f"lane{i}"] = lane
        m.d.comb += [
            lane.i_valid.eq(operands["valid"]),
            lane.i_acc.eq(operands["acc"][32 * i : 32 * i + 32]),
            lane.i_control.eq(control),
            lane.i_table_write.eq(self.t_write),
            lane.i_table_address.eq(self.t_address),
            lane.i_table_data.eq(self.t_data),
        ]
        if spec.post.residual:
            code = self.r_data[8 * i : 8 * i + 8]
            m.d.comb += lane.i_r.eq(Cat(code, code[7] & fields["r_signed"]).as_signed())
        for f in PARAMETER_FIELDS:
            value = operands[f.name][f.bits * i : f.bits * (i + 1)]
            m.d.comb += getattr(lane, f"i_{f.name}").eq(value)
        return lane

    def _write(
        self, m: Module, nest: LoopNest, fields: dict, lanes: list, beat: Signal, part: dict
    ) -> None:
        """Delay the destination by the lanes' latency; finish when the last write has landed."""
        waiting = part | {"destination": nest.address0[: len(self.p_address)], "odd": beat[0]}
        p = delay_samples(m, self.post_busy, waiting, _OPERANDS + lanes[0].latency, "written")
        ended = p["valid"] & p["last"]
        codes = Cat(*(lane.o for lane in lanes))
        m.d.comb += [
            self.p_address.eq(p["destination"]),
            self.finish.eq(delay(m, ended, ActivationMemory.write_latency, "landed", reset=True)),
        ]
        if not self.spec.array.packs:
            m.d.comb += [
                self.p_valid.eq(p["valid"]), self.p_count.eq(p["count"]), self.p_data.eq(codes)
            ]  # fmt: skip
            return
        m.submodules.packer = packer = NibblePacker(self.spec.post.lanes)
        m.d.comb += [
            packer.i_valid.eq(p["valid"]), packer.i.eq(codes), packer.i_count.eq(p["count"]),
            packer.i_packed.eq(fields["packed"]), packer.i_last.eq(p["last_beat"]),
            self.p_valid.eq(packer.o_valid), self.p_count.eq(packer.o_count),
            self.p_data.eq(packer.o),
        ]  # fmt: skip
        if self.spec.post.lanes % 2:
            m.d.comb += packer.i_late.eq(fields["packed"] & p["odd"])
