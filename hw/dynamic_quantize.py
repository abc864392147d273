"""Dynamic quantization: a packet of float32 numbers to uint8 codes, with a scale of its own."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.float32 import Float32Adder, Float32Divider, Float32Rounder
from systolith.hw.quantize import QuantizeLane
from systolith.spec.quantize import QuantizeForm

__all__ = ["DynamicQuantizeStream"]

_INFINITY = 0xFF << 23
_ONE = 127 << 23
_RANGE = 0x437F0000
"""255, the codes' range."""


class DynamicQuantizeStream(wiring.Component):
    """Codes as of ONNX's DynamicQuantizeLinear, of packets that are kept until their end.

    With min and max of the packet and 0, and F() rounding to float32: ``scale = F(F(max - min) /
    255)``, 1 if that is 0; ``zero = half_even(clamp(F(-min / scale), 0, 255))``; codes by
    `QuantizeForm.DIVIDE_EVEN`. A packet of n numbers takes n cycles to come in, about 80 more for
    scale and zero point, and n to go out again.

    Defined for finite numbers whose scale is a normal number; `m_error` says that it is not so.

    Parameters
    ----------
    depth: numbers that a packet may have.

    Members
    -------
    s_axis_tvalid, s_axis_tready, s_axis_tdata, s_axis_tlast: numbers; `tlast` ends a packet.
    m_axis_tvalid, m_axis_tready, m_axis_tdata, m_axis_tlast: its codes.
    m_scale, m_zero: bits of the scale, and the zero point, while codes go out.
    m_error: the packet has infinities or NaN, a scale that is not normal, or too many numbers, of
        which the first `depth` are there.

    Raises
    ------
    ValueError: a depth out of range.
    """

    s_axis_tvalid: Signal
    s_axis_tready: Signal
    s_axis_tdata: Signal
    s_axis_tlast: Signal
    m_axis_tvalid: Signal
    m_axis_tready: Signal
    m_axis_tdata: Signal
    m_axis_tlast: Signal
    m_scale: Signal
    m_zero: Signal
    m_error: Signal

    def __init__(self, depth: int = 1024) -> None:
        if not 1 <= depth <= 1 << 20:
            raise ValueError(f"depth must be between 1 and {1 << 20}, not {depth!r}")
        self.depth = depth
        super().__init__(
            {
                "s_axis_tvalid": In(1), "s_axis_tready": Out(1), "s_axis_tdata": In(32),
                "s_axis_tlast": In(1),
                "m_axis_tvalid": Out(1), "m_axis_tready": In(1), "m_axis_tdata": Out(8),
                "m_axis_tlast": Out(1),
                "m_scale": Out(32), "m_zero": Out(8), "m_error": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Collect; compute scale, zero point and inverse; read again and quantize."""
        m = Module()
        self._largest, self._least = Signal(31), Signal(31)
        self._inverse = Signal(32, reset_less=True)
        self._count = Signal(range(self.depth + 1))
        self._emitting, self._sent_all = Signal(), Signal()
        m.submodules.memory = memory = Memory(shape=32, depth=self.depth, init=[])
        write = memory.write_port()
        m.d.comb += [write.addr.eq(self._count), write.data.eq(self.s_axis_tdata)]
        started = Signal()
        finished = self._compute(m, started)
        with m.FSM():
            with m.State("COLLECT"):
                m.d.comb += self.s_axis_tready.eq(1)
                with m.If(self.s_axis_tvalid):
                    self._collect(m, write.en)
                    with m.If(self.s_axis_tlast):
                        m.d.comb += started.eq(1)
                        m.next = "COMPUTE"
            with m.State("COMPUTE"), m.If(finished):
                m.next = "EMIT"
            with m.State("EMIT"):
                m.d.comb += self._emitting.eq(1)
                with m.If(self._sent_all):
                    m.d.sync += [self._largest.eq(0), self._least.eq(0), self._count.eq(0)]
                    m.d.sync += self.m_error.eq(0)
                    m.next = "COLLECT"
        self._emit(m, memory)
        return m

    def _collect(self, m: Module, enable: Signal) -> None:
        """Keep a number, and the largest on either side of 0."""
        magnitude = self.s_axis_tdata[:31]
        for bound, sign in ((self._largest, 0), (self._least, 1)):
            with m.If((self.s_axis_tdata[31] == sign) & (magnitude > bound)):
                m.d.sync += bound.eq(magnitude)
        with m.If(self._count != self.depth):
            m.d.comb += enable.eq(1)
            m.d.sync += self._count.eq(self._count + 1)
        with m.If((self._count == self.depth) | (magnitude >= _INFINITY)):
            m.d.sync += self.m_error.eq(1)

    def _compute(self, m: Module, started: Value) -> Value:
        """Sum, quotient by 255, zero point's quotient, inverse: one after the other."""
        m.submodules.adder = adder = Float32Adder()
        m.submodules.divider = divider = Float32Divider()
        m.submodules.rounder = rounder = Float32Rounder(8)
        added, step, go = Signal(), Signal(2), Signal()
        a, b = Signal(32), Signal(32)
        m.d.sync += [added.eq(started), go.eq(0)]
        m.d.comb += [
            adder.i_valid.eq(added), adder.i_a.eq(self._largest), adder.i_b.eq(self._least),
            divider.i_valid.eq(go), divider.i_a.eq(a), divider.i_b.eq(b),
            rounder.i_valid.eq(divider.o_valid & (step == 1)), rounder.i.eq(divider.o),
        ]  # fmt: skip
        finished = Signal()
        with m.If(adder.o_valid):
            m.d.sync += [a.eq(adder.o), b.eq(_RANGE), go.eq(1), step.eq(0)]
            with m.If(adder.o >= _INFINITY):
                m.d.sync += [a.eq(_ONE), self.m_error.eq(1)]
        with m.If(divider.o_valid):
            m.d.sync += step.eq(step + 1)
            with m.If(step == 0):
                nothing = Signal()
                m.d.comb += nothing.eq(~adder.o.any())
                scale = Mux(nothing | ~divider.o[23:31].any(), _ONE, divider.o)
                m.d.sync += [self.m_scale.eq(scale), a.eq(self._least), b.eq(scale), go.eq(1)]
                with m.If(~nothing & ~divider.o[23:31].any()):
                    m.d.sync += self.m_error.eq(1)
            with m.Elif(step == 1):
                m.d.sync += [a.eq(_ONE), b.eq(self.m_scale), go.eq(1)]
            with m.Else():
                m.d.sync += self._inverse.eq(divider.o)
                m.d.comb += finished.eq(1)
        with m.If(rounder.o_valid):
            m.d.sync += self.m_zero.eq(rounder.o)
        return finished

    def _emit(self, m: Module, memory: Memory) -> None:
        """Read, quantize, and offer codes; numbers wait for room at the end."""
        m.submodules.lane = lane = QuantizeLane({QuantizeForm.DIVIDE_EVEN}, held=True)
        slots = 16
        m.submodules.codes = codes = Memory(shape=8, depth=slots, init=[])
        write, read = codes.write_port(), codes.read_port(domain="comb")
        numbers = memory.read_port()
        place, sent = Signal.like(self._count), Signal.like(self._count)
        under_way, waiting = Signal(range(slots + 1)), Signal(range(slots + 1))
        tail, head = Signal(range(slots)), Signal(range(slots))
        asks, arrives, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            asks.eq(self._emitting & (place != self._count) & (under_way != slots)),
            numbers.addr.eq(place), numbers.en.eq(asks),
            lane.i_valid.eq(arrives), lane.i.eq(numbers.data),
            lane.i_scale.eq(self.m_scale), lane.i_inverse.eq(self._inverse),
            lane.i_zero.eq(self.m_zero), lane.i_high.eq(255),
            write.addr.eq(tail), write.data.eq(lane.o), write.en.eq(lane.o_valid),
            read.addr.eq(head), self.m_axis_tdata.eq(read.data),
            self.m_axis_tvalid.eq(waiting != 0), taken.eq(self.m_axis_tvalid & self.m_axis_tready),
            self.m_axis_tlast.eq(sent + 1 == self._count),
            self._sent_all.eq(taken & self.m_axis_tlast),
        ]  # fmt: skip
        m.d.sync += [
            arrives.eq(asks), under_way.eq(under_way + asks - taken),
            waiting.eq(waiting + lane.o_valid - taken),
            place.eq(Mux(self._sent_all, 0, place + asks)),
            sent.eq(Mux(self._sent_all, 0, sent + taken)),
            tail.eq(tail + lane.o_valid), head.eq(head + taken),
        ]  # fmt: skip
