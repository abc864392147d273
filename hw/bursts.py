"""Runs of external memory as AXI bursts."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.axi import burst_limit
from systolith.hw.loops import LoopNest
from systolith.hw.queue import CommandQueue
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import TRANSFER_LOOPS

__all__ = ["EXTERNAL_BITS", "LENGTH_BITS", "PLACE_BITS", "BurstGenerator"]

EXTERNAL_BITS = 32
"""Width of an external byte address, as commands have it."""
PLACE_BITS = 24
"""Width of an address on chip."""
LENGTH_BITS = 24
"""Width of a run's length."""


class BurstGenerator(wiring.Component):
    """Cut the runs of a LOAD or SAVE into bursts; list the runs for those who move the data.

    A burst ends with its run and at every multiple of `burst_limit` beats, so that none leaves a
    page of 4 KiB. It does not wait for data: bursts are offered one a cycle, the first 2 cycles
    after `load`, and a run's entry of the list is there a cycle after its first burst was taken.
    The list has room for as many runs as bursts may be under way: data of a run that is listed is
    always still to come.

    Parameters
    ----------
    spec: bus width, length of bursts, bursts under way.

    Members
    -------
    load: begin with the command whose fields are given; they must stay until `done`.
    e_base, m_base, length, count{d}, e_stride{d}, m_stride{d}: fields of the command.
    b_valid, b_ready, b_address, b_len, b_first: a burst: external address of its first beat, a
        multiple of the bus width; its beats less 1; whether it begins a run.
    done: no burst is left.
    run_valid, run_pop: the oldest run of the list; `run_pop` discards it.
    run_place, run_start, run_last: address on chip, the low bits of its external address that say
        where in a burst it starts, and whether it is the command's last.
    """

    def __init__(self, spec: AcceleratorSpec):
        self.spec = spec
        external = spec.external
        self.lane_bits = external.data_bytes.bit_length() - 1
        self.start_bits = self.lane_bits + burst_limit(external).bit_length() - 1
        members = {
            "load": In(1), "e_base": In(EXTERNAL_BITS), "m_base": In(PLACE_BITS),
            "length": In(LENGTH_BITS),
            "b_valid": Out(1), "b_ready": In(1), "b_address": Out(EXTERNAL_BITS), "b_len": Out(8),
            "b_first": Out(1), "done": Out(1),
            "run_valid": Out(1), "run_pop": In(1), "run_place": Out(PLACE_BITS),
            "run_start": Out(self.start_bits), "run_last": Out(1),
        }  # fmt: skip
        for d in range(len(TRANSFER_LOOPS)):
            members |= {f"count{d}": In(16), f"e_stride{d}": In(EXTERNAL_BITS)}
            members |= {f"m_stride{d}": In(PLACE_BITS)}
        super().__init__(members)

    def connect_fields(self, m: Module, fields: dict[str, Value]) -> None:
        """Take the fields of a LOAD or SAVE."""
        m.d.comb += [
            self.e_base.eq(fields["e_base"]), self.m_base.eq(fields["m_base"]),
            self.length.eq(fields["length"]),
        ]  # fmt: skip
        for d, name in enumerate(TRANSFER_LOOPS):
            m.d.comb += [
                getattr(self, f"count{d}").eq(fields[f"{name}_count"]),
                getattr(self, f"e_stride{d}").eq(fields[f"e_{name}_stride"]),
                getattr(self, f"m_stride{d}").eq(fields[f"m_{name}_stride"]),
            ]

    def elaborate(self, platform: object) -> Module:
        """The nest holds the next run, a register the one that is being cut."""
        m = Module()
        m.submodules.nest = nest = LoopNest(
            len(TRANSFER_LOOPS), 2, address_bits=EXTERNAL_BITS, stride_bits=EXTERNAL_BITS
        )
        m.d.comb += [nest.load.eq(self.load), nest.base0.eq(self.e_base)]
        m.d.comb += nest.base1.eq(self.m_base)
        for d in range(len(TRANSFER_LOOPS)):
            m.d.comb += [
                getattr(nest, f"count{d}").eq(getattr(self, f"count{d}")),
                getattr(nest, f"stride0_{d}").eq(getattr(self, f"e_stride{d}")),
                getattr(nest, f"stride1_{d}").eq(getattr(self, f"m_stride{d}").as_signed()),
            ]
        size, limit = self.spec.external.data_bytes, burst_limit(self.spec.external)
        waiting = Signal()  # the nest holds a run
        cutting = Signal()
        address = Signal(EXTERNAL_BITS)
        left = Signal(LENGTH_BITS - self.lane_bits + 2)  # beats from `address` on
        place, last_run = Signal(PLACE_BITS), Signal()
        room, ends = Signal(range(limit + 1)), Signal()
        in_burst = address[self.lane_bits : self.start_bits]
        taken = self.b_valid & self.b_ready
        m.d.comb += [
            room.eq(limit - in_burst), ends.eq(left <= room),
            self.b_valid.eq(cutting), self.b_len.eq(Mux(ends, left, room) - 1),
            self.b_address.eq(address & ~(size - 1)),
            nest.step.eq(waiting & (~cutting | (taken & ends))),
            self.done.eq(~waiting & ~cutting),
        ]  # fmt: skip
        bytes_ = nest.address0[: self.lane_bits] + self.length + (size - 1)
        with m.If(taken):
            m.d.sync += [
                address.eq(self.b_address + (room << self.lane_bits)),
                left.eq(left - room),
            ]
            m.d.sync += [self.b_first.eq(0), cutting.eq(~ends)]
        with m.If(nest.step):
            m.d.sync += [
                cutting.eq(1), self.b_first.eq(1), address.eq(nest.address0),
                left.eq(bytes_ >> self.lane_bits), place.eq(nest.address1), last_run.eq(nest.done),
                waiting.eq(~nest.done),
            ]  # fmt: skip
        with m.If(self.load):
            m.d.sync += waiting.eq(1)
        self._list(m, taken & self.b_first, place, address[: self.start_bits], last_run)
        return m

    def _list(self, m: Module, push: Value, *run: Value) -> None:
        """Keep place, start and mark of the runs whose data is to come."""
        widths = [len(value) for value in run]
        runs = CommandQueue(sum(widths), self.spec.external.outstanding)
        m.submodules.runs = runs
        position, outs = 0, (self.run_place, self.run_start, self.run_last)
        for value, out, width in zip(run, outs, widths, strict=True):
            m.d.comb += runs.i[position : position + width].eq(value)
            m.d.comb += out.eq(runs.o[position : position + width])
            position += width
        m.d.comb += [
            runs.push.eq(push), runs.pop.eq(self.run_pop), self.run_valid.eq(runs.valid)
        ]  # fmt: skip
