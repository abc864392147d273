"""The load unit: runs of external memory into the memories on chip."""

from collections.abc import Callable

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.activation import ActivationMemory
from systolith.hw.beats import BeatGenerator
from systolith.hw.bursts import EXTERNAL_BITS, PLACE_BITS, BurstGenerator
from systolith.hw.delay import delay
from systolith.hw.fields import command_bits, command_fields
from systolith.hw.queue import CommandQueue
from systolith.hw.words import SHORT_PLACES, SIGNED_WORD, parameter_data_bits, weight_part_bytes
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import Opcode, ParameterForm, Target, Unit
from systolith.spec.registers import Window, parameter_part_bytes, window_stride

__all__ = ["LoadUnit"]

_WIDE, _SHORT = 32, 16
"""Bytes of a record of parameters."""


class LoadUnit(wiring.Component):
    """Run LOAD commands: read bursts ahead of the data, and put each beat where it belongs.

    A beat stays in a register until all of it is written: activations a beat a cycle; of the other
    memories, a cycle writes a weight word or a beat of it, a record of parameters or a beat of it,
    a beat of biases, a command word, an exponential, or a byte of a table. A command starts when
    all bursts of the one before it have been issued: its data follows without a gap but for one
    cycle.

    Latency: 1 cycle from a beat on the bus to its first write; `finish` comes when the last write
    is seen by all readers.

    Parameters
    ----------
    spec: everything.

    Members
    -------
    push, push_ready, i: LOAD commands, as fetched.
    start_ready, start, wait: the tokens of `wait` are there; the command starts and consumes them.
    finish, signal: the last byte is written; tokens to give.
    misaligned: a run that does not consist of whole parts, aligned on the bus: the run must stop.
    b_valid, b_ready, b_address, b_len: bursts for the `ReadMaster`.
    i_valid, i_ready, i_data: its beats.
    l_valid, l_address, l_count, l_data, l_ready: writes of activations.
    w_valid, w_address, w_part, w_data: write part `w_part` of a weight word.
    p_valid, p_address, p_lanes, p_enable, p_data: write words of the parameter memory, as it has
        them.
    t_valid, t_address, t_data: write a byte of a table.
    c_valid, c_address, c_data: write a command word.
    e_valid, e_address, e_data: write a word of the softmax unit's tables.
    running: a command runs.  busy: one is waiting or running.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        size, lanes = spec.external.data_bytes, spec.post.lanes
        self._part = weight_part_bytes(spec)
        self._parts = window_stride(spec, Window.WEIGHTS) // self._part
        super().__init__(
            {
                "push": In(1), "push_ready": Out(1), "i": In(command_bits(Opcode.LOAD)),
                "start_ready": In(1), "start": Out(1), "wait": Out(len(Unit)),
                "finish": Out(1), "signal": Out(len(Unit)), "misaligned": Out(1),
                "b_valid": Out(1), "b_ready": In(1), "b_address": Out(EXTERNAL_BITS),
                "b_len": Out(8),
                "i_valid": In(1), "i_ready": Out(1), "i_data": In(8 * size),
                "l_valid": Out(1), "l_address": Out(spec.activation_address_bits),
                "l_count": Out(range(size + 1)), "l_data": Out(8 * size), "l_ready": In(1),
                "w_valid": Out(1), "w_address": Out(range(max(2, spec.weight_words))),
                "w_part": Out(range(max(2, self._parts))), "w_data": Out(8 * self._part),
                "p_valid": Out(1), "p_address": Out(range(max(2, spec.lane_words))),
                "p_lanes": Out(lanes), "p_enable": Out(8), "p_data": Out(parameter_data_bits(spec)),
                "t_valid": Out(1), "t_address": Out(12), "t_data": Out(8),
                "c_valid": Out(1), "c_address": Out(range(spec.memory.command_words)),
                "c_data": Out(32),
                "e_valid": Out(1), "e_address": Out(10), "e_data": Out(32),
                "running": Out(1), "busy": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Queue, bursts, the beat in work, writes."""
        m = Module()
        m.submodules.queue = queue = CommandQueue(len(self.i), self.spec.queue_depth)
        m.submodules.bursts = bursts = BurstGenerator(self.spec)
        ahead = command_fields(Opcode.LOAD, queue.o)
        bursts.connect_fields(m, ahead)
        fields = self._jobs(m, ahead)
        issuing = Signal()  # the queue's head has started: it stays until its bursts are issued
        landing = Signal(ActivationMemory.write_latency)
        mask = fields["signal"]
        m.d.comb += [
            queue.push.eq(self.push), queue.i.eq(self.i), self.push_ready.eq(queue.ready),
            self.wait.eq(ahead["wait"]),
            self.start.eq(queue.valid & ~issuing & self._jobs_ready & self.start_ready),
            bursts.load.eq(self.start), queue.pop.eq(issuing & bursts.done),
            self.running.eq(self._job_valid | landing.any()),
            self.busy.eq(queue.valid | self.running),
            self.b_valid.eq(bursts.b_valid), bursts.b_ready.eq(self.b_ready),
            self.b_address.eq(bursts.b_address), self.b_len.eq(bursts.b_len),
            self.finish.eq(landing[-1]),
            self.signal.eq(delay(m, mask, ActivationMemory.write_latency, "signal")),
        ]  # fmt: skip
        m.d.sync += landing.eq(Cat(self._ended, landing))
        with m.If(self.start):
            m.d.sync += issuing.eq(1)
        with m.Elif(bursts.done):
            m.d.sync += issuing.eq(0)
        self._check(m, fields, bursts)
        self._beats(m, fields, bursts)
        return m

    def _jobs(self, m: Module, ahead: dict[str, Value]) -> dict[str, Value]:
        """List what the data of commands that have started needs; return the oldest's fields.

        The bursts of later commands are issued while the data of earlier ones is on its way.
        """
        parts = {name: ahead[name] for name in ("target", "form", "length", "signal")}
        jobs = CommandQueue(sum(map(len, parts.values())), self.spec.external.outstanding)
        m.submodules.jobs = jobs
        self._ended, self._last = Signal(), Signal()
        self._jobs_ready, self._job_valid = jobs.ready, jobs.valid
        m.d.comb += [
            jobs.push.eq(self.start), jobs.i.eq(Cat(*parts.values())), jobs.pop.eq(self._ended)
        ]  # fmt: skip
        fields, place = {}, 0
        for name, value in parts.items():
            fields[name] = jobs.o[place : place + len(value)]
            place += len(value)
        return fields

    def _check(self, m: Module, fields: dict[str, Value], bursts: BurstGenerator) -> None:
        """Compare the places of runs on the bus, and their length, with the target's parts."""
        parts: dict[Target, Value] = {
            Target.WEIGHTS: Const(self._part),
            Target.PARAMETERS: self._by_form(fields, self._record_part),
            Target.COMMANDS: Const(4),
            Target.EXPONENTS: Const(4),
        }
        loose = Signal(bursts.lane_bits)
        with m.Switch(fields["target"]):
            for target, part in parts.items():
                with m.Case(target):
                    m.d.comb += loose.eq(part - 1)
        offset = bursts.run_start[: bursts.lane_bits] | fields["length"]
        # Behind a command's last beat the list holds runs of the next.
        mine = bursts.run_valid & self._job_valid & ~self._last
        m.d.comb += self.misaligned.eq(mine & (offset & loose).any())

    def _beats(self, m: Module, fields: dict[str, Value], bursts: BurstGenerator) -> None:
        """Hold a beat, its next byte in the low bits, and take the next as it is used up."""
        size = self.spec.external.data_bytes
        m.submodules.beats = beats = BeatGenerator(size)
        held, last = Signal(), Signal()
        data, count, step = Signal(8 * size), Signal(range(size + 1)), Signal(range(size + 1))
        place = Signal(PLACE_BITS)
        stepped, empties = Signal(), Signal()
        is_target = {t: fields["target"] == t for t in Target}
        m.d.comb += [
            beats.length.eq(fields["length"]), beats.run_valid.eq(bursts.run_valid),
            bursts.run_pop.eq(beats.run_pop), beats.run_place.eq(bursts.run_place),
            beats.run_offset.eq(bursts.run_start[: bursts.lane_bits]),
            beats.run_last.eq(bursts.run_last),
            stepped.eq(held & (self.l_ready | ~is_target[Target.ACTIVATIONS])),
            empties.eq(stepped & (count <= step)),
            # A command's last beat leaves before the next command's first comes.
            self.i_ready.eq(~held | (empties & ~last)),
            beats.o_ready.eq(self.i_valid & self.i_ready),
            self.l_valid.eq(held & is_target[Target.ACTIVATIONS]),
            self.l_address.eq(place), self.l_count.eq(count), self.l_data.eq(data),
        ]  # fmt: skip
        word_ends, restart = self._words(m, fields, is_target, step, stepped, data, count)
        with m.If(stepped):
            m.d.sync += [held.eq(~empties), count.eq(count - step)]
            m.d.sync += place.eq(place + word_ends)
            with m.Switch(step):
                for amount in sorted(
                    {1, 4, self._part, *map(self._record_part, ParameterForm)} - {size}
                ):
                    with m.Case(amount):
                        m.d.sync += data.eq(data >> 8 * amount)
        with m.If(beats.o_ready):
            m.d.sync += [
                held.eq(1), data.eq(self.i_data >> (beats.o_offset << 3)), count.eq(beats.o_count),
                last.eq(beats.o_last),
            ]  # fmt: skip
            with m.If(beats.o_first | is_target[Target.ACTIVATIONS]):
                m.d.sync += place.eq(beats.o_place)
            m.d.comb += restart.eq(beats.o_first)
        m.d.comb += [
            self.w_address.eq(place), self.p_address.eq(place), self.t_address.eq(place),
            self.c_address.eq(place), self.e_address.eq(place),
            self.t_valid.eq(held & is_target[Target.TABLES]), self.t_data.eq(data[:8]),
            self.c_valid.eq(held & is_target[Target.COMMANDS]), self.c_data.eq(data[:32]),
            self.e_valid.eq(held & is_target[Target.EXPONENTS]), self.e_data.eq(data[:32]),
            self._ended.eq(empties & last), self._last.eq(held & last),
        ]  # fmt: skip

    def _words(
        self,
        m: Module,
        fields: dict[str, Value],
        is_target: dict[Target, Value],
        step: Signal,
        stepped: Value,
        data: Signal,
        count: Value,
    ) -> tuple[Value, Signal]:
        """Count the parts of weight words and of channels, and the channels of lane words.

        Returns whether this step ends a word, and a signal to begin a new one.
        """
        size, lanes = self.spec.external.data_bytes, self.spec.post.lanes
        restart = Signal()
        part, lane = Signal(range(max(2, self._parts, _WIDE // size))), Signal(range(max(2, lanes)))
        last_part, word_ends = Signal.like(part), Signal()
        last_lanes = {
            ParameterForm.UNIFORM: 0,
            ParameterForm.BIAS: lanes // self.spec.bias_lanes - 1,
        }
        whole = part == last_part
        last_lane = lane == self._by_form(fields, lambda form: last_lanes.get(form, lanes - 1))
        with m.Switch(fields["target"]):
            with m.Case(Target.ACTIVATIONS):
                m.d.comb += step.eq(count)
            with m.Case(Target.WEIGHTS):
                m.d.comb += [step.eq(self._part), last_part.eq(self._parts - 1)]
                m.d.comb += [self.w_valid.eq(stepped), word_ends.eq(whole)]
            with m.Case(Target.PARAMETERS):
                m.d.comb += [
                    step.eq(self._by_form(fields, self._record_part)),
                    last_part.eq(self._by_form(fields, self._last_part)),
                    self.p_valid.eq(stepped), word_ends.eq(whole & last_lane),
                ]  # fmt: skip
            with m.Case(Target.TABLES):
                m.d.comb += [step.eq(1), word_ends.eq(1)]
            with m.Default():
                m.d.comb += [step.eq(4), word_ends.eq(1)]
        with m.If(restart):
            m.d.sync += [part.eq(0), lane.eq(0)]
        with m.Elif(stepped):
            m.d.sync += part.eq(Mux(whole, 0, part + 1))
            with m.If(whole):
                m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))
        m.d.comb += [
            self.w_part.eq(part), self.w_data.eq(data[: len(self.w_data)])
        ]  # fmt: skip
        self._parameters(m, fields, part, lane, data)
        return word_ends, restart

    def _record_part(self, form: ParameterForm) -> int:
        return parameter_part_bytes(self.spec, form)

    def _last_part(self, form: ParameterForm) -> int:
        """Number of a record's last part; biases are written whole."""
        record = {ParameterForm.BIAS: 4, ParameterForm.WIDE: _WIDE}.get(form, _SHORT)
        return max(record // self._record_part(form), 1) - 1

    @staticmethod
    def _by_form(fields: dict[str, Value], number: Callable[[ParameterForm], int]) -> Value:
        """Choose a number that depends on the form."""
        return Array([Const(number(form)) for form in ParameterForm])[fields["form"]]

    def _parameters(
        self, m: Module, fields: dict[str, Value], part: Signal, lane: Signal, data: Signal
    ) -> None:
        """Choose the lanes, and place the words of a part of a channel in the record of eight."""
        size, biases = self.spec.external.data_bytes, self.spec.bias_lanes
        is_form = {form: fields["form"] == form for form in ParameterForm}
        wide, bias = is_form[ParameterForm.WIDE], is_form[ParameterForm.BIAS]
        for i in range(self.spec.post.lanes):
            here = Mux(bias, lane == i // biases, lane == i)
            m.d.comb += self.p_lanes[i].eq(here | is_form[ParameterForm.UNIFORM])
        wide_words, short_words = min(_WIDE, size) // 4, min(_SHORT, size) // 4
        places: list[Value] = []
        enables: list[Value] = []
        for word in range(8):
            value: Value = data.word_select(word % wide_words, 32)
            enable: Value = part == word // wide_words
            short_value: Value | int = 0
            short_enable: Value | int = 0
            if word in SHORT_PLACES:
                source, low, high = SHORT_PLACES[word]
                short_value = data.word_select(source % short_words, 32)[low:high]
                if word == SIGNED_WORD:
                    short_value = short_value.as_signed()
                short_enable = part == source // short_words
            places.append(Mux(wide, value, short_value)[:32])
            enables.append(Mux(wide, enable, short_enable) & (~bias if word else 1))
        # Word 0 of a record is the bias of any lane; biases alone follow one another.
        others = [Mux(bias, data.word_select(i, 32), places[0]) for i in range(1, biases)]
        m.d.comb += [
            self.p_data.eq(Cat(places[0], *others, *places[1:])), self.p_enable.eq(Cat(*enables))
        ]  # fmt: skip
