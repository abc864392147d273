"""The accelerator: control slave, command fetch, units, array and memories."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from systolith.hw.accumulators import Accumulators
from systolith.hw.activation import ActivationMemory
from systolith.hw.array import WeightStationaryArray, high_sum_bits, sum_bits
from systolith.hw.array_inputs import ArrayInputs
from systolith.hw.axi import AXI_LITE, axi4, forward
from systolith.hw.control import ControlSlave
from systolith.hw.delay import delay
from systolith.hw.direct_fetch import DirectFetcher
from systolith.hw.external import ExternalMemory, connect_constants, load_windows
from systolith.hw.feeder import Feeder
from systolith.hw.fetch import Fetcher
from systolith.hw.move import MoveUnit
from systolith.hw.store import StoreUnit
from systolith.hw.technology import Technology
from systolith.hw.tokens import Tokens, token_pairs
from systolith.hw.weights import WeightLoader
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Unit
from systolith.spec.registers import COUNTERS, Window, window_stride

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """A complete accelerator with an AXI4-Lite slave.

    The host writes commands, weights, parameters, tables and the input through the slave's windows,
    starts the program, waits for `irq` or polls, and reads the output (`systolith.spec.registers`).
    With an external memory, commands also reach it through an AXI4 master.

    Parameters
    ----------
    spec: everything that can be chosen.
    array: a simulation model to use in place of `WeightStationaryArray`: its ports, and `reset`.
    technology: whose primitives the blocks may contain; the function is the same.

    Members
    -------
    bus: AXI4-Lite slave, 32-bit data.
    memory: AXI4 master, if there is an external memory.
    irq: interrupt, level, while done or error is set and interrupts are enabled.
    busy: a program runs.
    stamps: time stamps written since the start.
    """

    def __init__(
        self,
        spec: AcceleratorSpec,
        *,
        array: wiring.Component | None = None,
        technology: Technology = Technology.GENERIC,
    ):
        self.spec, self.technology = spec, technology
        members = {"bus": Out(AXI_LITE), "irq": Out(1), "busy": Out(1), "stamps": Out(16)}
        if spec.external.data_bytes:
            members["memory"] = Out(axi4(spec.external))
        super().__init__(members)
        self.control, self.inputs = ControlSlave(spec), ArrayInputs(spec)
        self.fetch = Fetcher(spec) if spec.queue_depth else DirectFetcher(spec)
        self.tokens = Tokens(spec.token_bits, pairs=token_pairs(spec))
        self.move = MoveUnit(spec) if spec.moves else None
        self.feeder, self.store = Feeder(spec), StoreUnit(spec)
        self.activations = ActivationMemory(spec, technology)
        self.weights = WeightLoader(spec, technology)
        shape, self.array_is_model = spec.array, array is not None
        self.array = array or WeightStationaryArray.of(shape, technology)
        widths = sum_bits(shape.rows), high_sum_bits(shape.rows)
        self.accumulators = Accumulators(spec, *widths, technology)
        self.external = ExternalMemory(spec) if spec.external.data_bytes else None

    def elaborate(self, platform: object) -> Module:
        """Wire one concern after the other."""
        m = Module()
        for name in ("control", "fetch", "activations", "inputs"):
            m.submodules[name] = getattr(self, name)
        # Held in reset while no program runs, so that a run which an error cut short leaves
        # neither tokens nor commands nor results to the next.
        for name in ("tokens", "move", "feeder", "store", "weights", "array", "accumulators"):
            if part := getattr(self, name):
                m.submodules[name] = ResetInserter(~self.fetch.running)(part)
        if self.array_is_model:
            m.d.comb += self.array.reset.eq(~self.fetch.running)
        connect(m, flipped(self.bus), self.control.bus)
        m.d.comb += [
            self.irq.eq(self.control.irq), self.busy.eq(self.fetch.running),
            self.stamps.eq(self.control.stamps),
        ]  # fmt: skip
        for name in ("commands", "tokens", "datapath", "memories", "host", "counters"):
            getattr(self, f"_{name}")(m)
        if self.move:
            self._move(m, self.move)
        if self.spec.array.depthwise_lines:
            self._depthwise(m)
        if self.external:
            self._external(m, self.external)
        return m

    def _commands(self, m: Module) -> None:
        """Fetcher to queues; a MATMUL goes to the feeder and to the weight loader at once."""
        fetch, feeder, weights = self.fetch, self.feeder, self.weights
        both = feeder.push_ready & weights.push_ready
        m.d.comb += [
            fetch.start.eq(self.control.start), fetch.entry.eq(self.control.entry),
            self.control.running.eq(fetch.running), self.control.finish.eq(fetch.finish),
            self.control.error.eq(fetch.error), fetch.timeout.eq(self.control.timeout),
            fetch.quiet.eq(self.external.quiet if self.external else 1),
            fetch.failure.eq(self.external.failure if self.external else 0),
            feeder.i.eq(fetch.command_of(Unit.COMPUTE)),
            weights.i.eq(fetch.command_of(Unit.COMPUTE)),
            self.store.i.eq(fetch.command_of(Unit.STORE)),
            fetch.ready_matmul.eq(both),
            feeder.push.eq(fetch.push_matmul & both), weights.push.eq(fetch.push_matmul & both),
            fetch.ready_store.eq(self.store.push_ready), self.store.push.eq(fetch.push_store),
            fetch.units_busy.eq(
                feeder.busy | weights.busy | self.store.busy | (self.move.busy if self.move else 0)
                | (self.external.load.busy | self.external.save.busy if self.external else 0)
            ),
        ]  # fmt: skip

    def _tokens(self, m: Module) -> None:
        """Every unit's start and finish go through the token counters."""
        tokens = self.tokens
        units = {Unit.COMPUTE: self.feeder, Unit.STORE: self.store}
        if self.move:
            units |= {Unit.MOVE: self.move}
        if self.external:
            units |= {Unit.LOAD: self.external.load, Unit.SAVE: self.external.save}
        jump = int(Unit.FETCH)
        m.d.comb += [
            getattr(tokens, f"wait{jump}").eq(self.fetch.wait),
            self.fetch.jump_ready.eq(getattr(tokens, f"ready{jump}")),
            getattr(tokens, f"start{jump}").eq(self.fetch.jump),
            self.weights.load_ready.eq(tokens.loader_ready),
            tokens.loader_start.eq(self.weights.load_start),
        ]
        for u, unit in units.items():
            m.d.comb += unit.start_ready.eq(getattr(tokens, f"ready{int(u)}"))
            for name in ("wait", "start", "finish", "signal"):
                m.d.comb += getattr(tokens, f"{name}{int(u)}").eq(getattr(unit, name))

    def _datapath(self, m: Module) -> None:
        """Activation memory, array, accumulators, store unit; control beside the data."""
        feeder, array, accumulators = self.feeder, self.array, self.accumulators
        inputs, store = self.inputs, self.store
        latency = ActivationMemory.read_latency + array.latency - 2
        m.d.comb += [
            inputs.i_x.eq(self.activations.x_data), inputs.i_signed.eq(feeder.x_signed),
            inputs.i_switch.eq(feeder.o_switch), self.weights.i_switch.eq(feeder.o_switch),
            array.i_x.eq(inputs.o_x), array.i_switch.eq(inputs.o_switch),
            array.i_w.eq(self.weights.o_w), array.i_shift.eq(self.weights.o_shift),
            feeder.i_tile_ready.eq(self.weights.ready), accumulators.i_sums.eq(array.o),
            *([inputs.i_sparse.eq(feeder.o_sparse)] if self.spec.array.sparse else []),
            *([accumulators.i_highs.eq(array.o_high)] if self.spec.array.column_sums > 1 else []),
        ]  # fmt: skip
        if self.spec.array.nibbles:
            m.d.comb += [
                inputs.i_precision.eq(feeder.o_precision), array.i_precision.eq(inputs.o_precision),
                array.i_nibbles.eq(self.weights.o_nibbles),
            ]  # fmt: skip
        for name in ("valid", "pass_first", "k_first", "k_last", "maximum"):
            control = getattr(feeder, f"o_{name}")
            clear = ~self.fetch.running if name == "valid" else None
            late = delay(m, control, latency, name, reset=clear is not None, clear=clear)
            m.d.comb += getattr(accumulators, f"i_{name}").eq(late)
        m.d.comb += [
            accumulators.i_claim.eq(feeder.o_valid & feeder.o_k_last),
            feeder.i_space.eq(accumulators.o_space), store.i_credit.eq(accumulators.o_credit),
            accumulators.i_release.eq(store.o_release), feeder.i_release.eq(store.o_release),
            accumulators.r_valid.eq(store.result_valid),
            accumulators.r_address.eq(store.result_address),
            store.result_data.eq(accumulators.r_data),
        ]  # fmt: skip

    def _depthwise(self, m: Module) -> None:
        """What only depthwise streams need."""
        feeder, memory, inputs = self.feeder, self.activations, self.inputs
        for name in ("depthwise", "column", "expand"):
            m.d.comb += getattr(inputs, f"i_{name}").eq(getattr(feeder, f"o_{name}"))
        m.d.comb += [
            memory.x_urgent.eq(feeder.x_urgent),
            self.array.i_lane.eq(inputs.o_lane), self.array.i_d.eq(inputs.o_d),
        ]  # fmt: skip
        if self.spec.row_pairs:
            m.d.comb += [memory.x_pair.eq(feeder.x_pair), memory.x_below.eq(feeder.x_below)]
            m.d.comb += [inputs.i_pairs.eq(feeder.x_pair), inputs.i_below.eq(memory.x_below_data)]

    def _memories(self, m: Module) -> None:
        """The units' ports of the activation memory."""
        memory, feeder, store = self.activations, self.feeder, self.store
        m.d.comb += [
            memory.x_valid.eq(feeder.x_valid), memory.x_address.eq(feeder.x_address),
            feeder.x_ready.eq(memory.x_ready),
            memory.p_valid.eq(store.p_valid), memory.p_address.eq(store.p_address),
            memory.p_count.eq(store.p_count), memory.p_data.eq(store.p_data),
        ]  # fmt: skip
        if self.spec.post.residual:
            for port in ("valid", "address"):
                m.d.comb += getattr(memory, f"r_{port}").eq(getattr(store, f"r_{port}"))
            m.d.comb += [store.r_ready.eq(memory.r_ready), store.r_data.eq(memory.r_data)]

    def _move(self, m: Module, move: MoveUnit) -> None:
        """The commands of the unit MOVE, its ports of the activation memory, and its tables."""
        fetch, memory, control = self.fetch, self.activations, self.control
        names = [o.name.lower() for o in fetch.queued if COMMANDS[o].unit is Unit.MOVE]
        m.d.comb += [
            move.i.eq(fetch.command_of(Unit.MOVE)),
            *(getattr(fetch, f"ready_{name}").eq(move.push_ready) for name in names),
            move.push.eq(Cat(getattr(fetch, f"push_{name}") for name in names).any()),
            memory.c_valid.eq(move.c_valid), memory.c_address.eq(move.c_address),
            move.c_ready.eq(memory.c_ready), move.c_data.eq(memory.c_data),
            memory.f_valid.eq(move.f_valid), memory.f_address.eq(move.f_address),
            memory.f_count.eq(move.f_count), memory.f_data.eq(move.f_data),
            move.f_ready.eq(memory.f_ready),
            move.h_valid.eq(control.w_select[Window.EXPONENTS]),
            move.h_address.eq(control.w_address[2:]), move.h_data.eq(control.w_data),
            control.event_move_busy.eq(move.f_valid & move.f_ready),
        ]  # fmt: skip

    def _host(self, m: Module) -> None:
        """The windows of the control slave."""
        control, memory, store = self.control, self.activations, self.store
        address, select = control.w_address, control.w_select
        weight_stride = window_stride(self.spec, Window.WEIGHTS).bit_length() - 1
        parameter_stride = window_stride(self.spec, Window.PARAMETERS).bit_length() - 1
        table_byte = Signal(2)  # tables are written a byte a cycle, four cycles a word
        m.d.comb += [
            memory.hw_valid.eq(select[Window.ACTIVATIONS]), memory.hw_address.eq(address),
            memory.hw_strobe.eq(control.w_strobe), memory.hw_data.eq(control.w_data),
            memory.hr_valid.eq(control.a_valid), memory.hr_address.eq(control.a_address),
            control.a_ready.eq(memory.hr_ready), control.a_data.eq(memory.hr_data),
            self.weights.h_valid.eq(select[Window.WEIGHTS]),
            self.weights.h_address.eq(address[weight_stride:]),
            self.weights.h_lane.eq(address[2:weight_stride]),
            self.weights.h_strobe.eq(control.w_strobe), self.weights.h_data.eq(control.w_data),
            store.hp_valid.eq(select[Window.PARAMETERS]),
            store.hp_address.eq(address[parameter_stride:]),
            store.hp_lanes.eq(1 << address[5:parameter_stride]),
            store.hp_enable.eq(1 << address[2:5]),
            store.hp_data.eq(control.w_data.replicate(len(store.hp_data) // 32)),
            store.t_address.eq(Cat(table_byte, address[2:12])),
            store.t_data.eq(control.w_data.word_select(table_byte, 8)),
            store.t_write.eq(
                select[Window.TABLES] & control.w_strobe.bit_select(table_byte, 1)
            ),
            self.fetch.h_valid.eq(select[Window.COMMANDS]), self.fetch.h_data.eq(control.w_data),
            self.fetch.h_address.eq(address[2:]),
            control.w_ready.eq(
                Mux(select[Window.ACTIVATIONS], memory.hw_ready,
                    Mux(select[Window.TABLES], table_byte == 3,
                        ~select[Window.WEIGHTS] | self.weights.h_ready))
            ),
        ]  # fmt: skip
        m.d.sync += table_byte.eq(table_byte + select[Window.TABLES])

    def _external(self, m: Module, external: ExternalMemory) -> None:
        """The transfer units' queues and memories; LOAD writes before the host does."""
        fetch, memory, store, control = self.fetch, self.activations, self.store, self.control
        load, save, weights, select = external.load, external.save, self.weights, control.w_select
        m.submodules.external = external
        forward(m, self.memory, external.bus, axi4(self.spec.external))
        m.d.comb += [
            external.base.eq(control.base), external.running.eq(fetch.running),
            external.stopping.eq(fetch.stopping),
            load.i.eq(fetch.command_of(Unit.LOAD)), load.push.eq(fetch.push_load),
            save.i.eq(fetch.command_of(Unit.SAVE)), save.push.eq(fetch.push_save),
            fetch.ready_load.eq(load.push_ready), fetch.ready_save.eq(save.push_ready),
            memory.l_valid.eq(load.l_valid), memory.l_address.eq(load.l_address),
            memory.l_count.eq(load.l_count), memory.l_data.eq(load.l_data),
            load.l_ready.eq(memory.l_ready),
            memory.s_valid.eq(save.s_valid), memory.s_address.eq(save.s_address),
            save.s_ready.eq(memory.s_ready), save.s_data.eq(memory.s_data),
            weights.d_valid.eq(load.w_valid), weights.d_address.eq(load.w_address),
            weights.d_part.eq(load.w_part), weights.d_data.eq(load.w_data),
        ]  # fmt: skip
        connect_constants(m, load, store, {"c": fetch, "e": self.move})
        for window, valid in load_windows(load).items():
            with m.If(select[window] & valid):
                m.d.comb += control.w_ready.eq(0)

    def _counters(self, m: Module) -> None:
        """Events to counters; time stamps."""
        control, feeder, store = self.control, self.feeder, self.store
        stalls = [c.name for c in COUNTERS if c.name.startswith("stall_")]
        events = {name: getattr(feeder, name) for name in stalls}
        events |= {name: getattr(store, name) for name in ("post_busy", "post_wait")}
        events |= {"array_busy": feeder.o_issue} | (self.external.events if self.external else {})
        for name, event in events.items():
            m.d.comb += getattr(control, f"event_{name}").eq(event)
        # Tokens keep stamped commands of the two units apart: each stamp stands for one command.
        moved = self.move.finish & self.move.stamp if self.move else 0
        m.d.comb += control.stamp.eq(store.finish & store.stamp | moved)
