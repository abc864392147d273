"""Quantize and dequantize as units of their own, between streams with AXI4-Stream's names."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.delay import delay
from systolith.hw.dequantize import DequantizeLane
from systolith.hw.quantize import QuantizeLane
from systolith.spec.quantize import CodeFormat, QuantizeForm

__all__ = ["DequantizeStream", "QuantizeStream", "code_bytes", "scale_is_bad"]

_CREDITS = 16
"""Beats between both sides: more than the lanes' latency, so that a beat a cycle can pass."""


def code_bytes(kind: CodeFormat, lanes: int) -> int:
    """Bytes of a beat of codes: 4-bit codes are packed, the first in the low nibble."""
    return -(-kind.bits * lanes // 8)


def scale_is_bad(bits: Value) -> Value:
    """Whether bits are no positive, finite and normal float32 number."""
    field = bits[23:31]
    return bits[31] | ~field.any() | field.all()


class _ConvertStream(wiring.Component):
    """What both units share: parameters of every channel, lanes, credits and a queue behind them.

    Parameters
    ----------
    kind: format of the codes.
    lanes: numbers of a beat.
    channels: 1 for one scale and zero point, else how many there are: number i of the stream is of
        channel i modulo `channels`, a multiple of `lanes`.
    widths: bits of a beat of the input, of the output, and of a beat of parameters.

    Members
    -------
    s_axis_tvalid, s_axis_tready, s_axis_tdata, s_axis_tlast: the input.
    m_axis_tvalid, m_axis_tready, m_axis_tdata, m_axis_tlast: the output.
    p_axis_tvalid, p_axis_tready, p_axis_tdata, p_axis_tlast: parameters.
    p_error: a bad one is among the latest.

    Raises
    ------
    ValueError: lanes or channels out of range, or channels that are not a multiple of the lanes.
    """

    s_axis_tvalid: Signal
    s_axis_tready: Signal
    s_axis_tdata: Signal
    s_axis_tlast: Signal
    m_axis_tvalid: Signal
    m_axis_tready: Signal
    m_axis_tdata: Signal
    m_axis_tlast: Signal
    p_axis_tvalid: Signal
    p_axis_tready: Signal
    p_axis_tdata: Signal
    p_axis_tlast: Signal
    p_error: Signal

    def __init__(
        self, kind: CodeFormat, lanes: int, channels: int, widths: tuple[int, int, int]
    ) -> None:
        if not 1 <= lanes <= 64:
            raise ValueError(f"lanes must be between 1 and 64, not {lanes!r}")
        if not 1 <= channels <= 65536:
            raise ValueError(f"channels must be between 1 and 65536, not {channels!r}")
        if channels > 1 and channels % lanes:
            raise ValueError(f"channels must be 1 or a multiple of {lanes} lanes, not {channels!r}")
        self.kind, self.lanes, self.channels = kind, lanes, channels
        super().__init__(
            {
                "s_axis_tvalid": In(1), "s_axis_tready": Out(1), "s_axis_tdata": In(widths[0]),
                "s_axis_tlast": In(1),
                "m_axis_tvalid": Out(1), "m_axis_tready": In(1), "m_axis_tdata": Out(widths[1]),
                "m_axis_tlast": Out(1),
                "p_axis_tvalid": In(1), "p_axis_tready": Out(1), "p_axis_tdata": In(widths[2]),
                "p_axis_tlast": In(1), "p_error": Out(1),
            }
        )  # fmt: skip

    def _parameters(self, m: Module, accepted: Value) -> list[Value]:
        """The parameters of the lanes' channels for the beat that was accepted a cycle before."""
        rows = max(1, self.channels // self.lanes)
        shared = self.channels == 1
        lane, row, place = Signal(range(self.lanes)), Signal(range(rows)), Signal(range(rows))
        taken, last = self.p_axis_tvalid, self.p_axis_tlast
        m.d.comb += self.p_axis_tready.eq(1)
        with m.If(taken & ~Const(shared)):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == self.lanes - 1):
                m.d.sync += [lane.eq(0), row.eq(row + 1)]
            with m.If(last):
                m.d.sync += [lane.eq(0), row.eq(0)]
        following = Signal.like(place)
        m.d.comb += following.eq(place)
        with m.If(accepted):
            m.d.comb += following.eq(0)
            with m.If((place != rows - 1) & ~self.s_axis_tlast):
                m.d.comb += following.eq(place + 1)
        m.d.sync += place.eq(following)
        found = []
        for index in range(self.lanes):
            memory = Memory(shape=len(self.p_axis_tdata), depth=rows, init=[])
            m.submodules[f"parameters{index}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(row), write.data.eq(self.p_axis_tdata),
                write.en.eq(taken & ((lane == index) | shared)),
                read.addr.eq(place), read.en.eq(accepted),
            ]  # fmt: skip
            found.append(read.data)
        return found

    def _check(self, m: Module, zero: Value) -> None:
        """Note parameters that no runtime takes, until new ones begin."""
        bad = scale_is_bad(self.p_axis_tdata[:32])
        bad |= (zero < self.kind.low) | (zero > self.kind.high)
        first = Signal(init=1)
        with m.If(self.p_axis_tvalid):
            m.d.sync += [
                first.eq(self.p_axis_tlast), self.p_error.eq(bad | (self.p_error & ~first))
            ]  # fmt: skip

    def _accept(self, m: Module) -> tuple[Value, Value, Value]:
        """Take a beat while there is room behind the lanes; it is theirs in the next cycle."""
        under_way, accepted, left = Signal(range(_CREDITS + 1)), Signal(), Signal()
        m.d.comb += [
            self.s_axis_tready.eq(under_way != _CREDITS),
            accepted.eq(self.s_axis_tvalid & self.s_axis_tready),
            left.eq(self.m_axis_tvalid & self.m_axis_tready),
        ]  # fmt: skip
        m.d.sync += under_way.eq(under_way + accepted - left)
        valid, data = Signal(), Signal.like(self.s_axis_tdata)
        m.d.sync += valid.eq(accepted)
        with m.If(accepted):
            m.d.sync += data.eq(self.s_axis_tdata)
        return accepted, valid, data

    def _emit(self, m: Module, accepted: Value, valid: Value, data: Value, latency: int) -> None:
        """Queue the lanes' results, `latency` cycles behind the lanes' inputs."""
        m.submodules.queue = queue = SyncFIFOBuffered(width=len(data) + 1, depth=_CREDITS)
        last = delay(m, accepted & self.s_axis_tlast, latency + 1, "last", reset=True)
        m.d.comb += [
            queue.w_en.eq(valid), queue.w_data.eq(Cat(data, last)),
            self.m_axis_tvalid.eq(queue.r_rdy), queue.r_en.eq(self.m_axis_tready),
            Cat(self.m_axis_tdata, self.m_axis_tlast).eq(queue.r_data),
        ]  # fmt: skip


class QuantizeStream(_ConvertStream):
    """float32 numbers in, codes out: a beat a cycle, `latency` cycles later if nothing stalls.

    Parameters
    ----------
    kind: format of the codes.
    form: how numbers become integers.
    lanes: numbers of a beat.
    channels: 1 for one scale and zero point, else how many there are: number i after a `tlast` is
        of channel i modulo `channels`, a multiple of `lanes`.

    Members
    -------
    s_axis_tvalid, s_axis_tready, s_axis_tdata, s_axis_tlast: numbers, the first in the low bits.
    m_axis_tvalid, m_axis_tready, m_axis_tdata, m_axis_tlast: codes, see `code_bytes`; `tlast` is
        that of the numbers.
    p_axis_tvalid, p_axis_tready, p_axis_tdata, p_axis_tlast: parameters of one channel after the
        other while no numbers are under way: bits of the scale, of 1 / scale rounded to float32,
        and the zero point in 16 bits; `tlast` with the last channel.
    p_error: among the latest parameters were a scale that is not positive, finite and normal, or a
        zero point that is no code.
    """

    latency = 2 + QuantizeLane.latency

    def __init__(
        self,
        kind: CodeFormat,
        form: QuantizeForm = QuantizeForm.DIVIDE_EVEN,
        *,
        lanes: int = 1,
        channels: int = 1,
    ) -> None:
        self.form = form
        super().__init__(kind, lanes, channels, (32 * lanes, 8 * code_bytes(kind, lanes), 80))

    def elaborate(self, platform: object) -> Module:
        """Lanes with the parameters of their channels; their codes side by side."""
        m = Module()
        accepted, valid, data = self._accept(m)
        self._check(m, self.p_axis_tdata[64:80].as_signed())
        codes, done = [], Signal()
        for index, words in enumerate(self._parameters(m, accepted)):
            lane = QuantizeLane({self.form})
            m.submodules[f"lane{index}"] = lane
            m.d.comb += [
                lane.i_valid.eq(valid), lane.i.eq(data.word_select(index, 32)),
                lane.i_form.eq(self.form), lane.i_scale.eq(words[:32]),
                lane.i_inverse.eq(words[32:64]), lane.i_zero.eq(words[64:73].as_signed()),
                lane.i_low.eq(self.kind.low), lane.i_high.eq(self.kind.high),
                done.eq(lane.o_valid),
            ]  # fmt: skip
            codes.append(lane.o[: self.kind.bits])
        beat = Signal.like(self.m_axis_tdata)
        filled: Value = Cat(*codes)
        if len(filled) < len(beat):
            filled = filled.as_signed() if self.kind.signed and self.lanes == 1 else filled
        m.d.comb += beat.eq(filled)
        self._emit(m, accepted, done, beat, QuantizeLane.latency)
        return m


class DequantizeStream(_ConvertStream):
    """Codes in, float32 numbers out: a beat a cycle, `latency` cycles later if nothing stalls.

    Parameters
    ----------
    kind, lanes, channels: as of `QuantizeStream`.

    Members
    -------
    s_axis_tvalid, s_axis_tready, s_axis_tdata, s_axis_tlast: codes, see `code_bytes`.
    m_axis_tvalid, m_axis_tready, m_axis_tdata, m_axis_tlast: numbers, the first in the low bits.
    p_axis_tvalid, p_axis_tready, p_axis_tdata, p_axis_tlast: parameters of one channel after the
        other while no codes are under way: bits of the scale, and the zero point in 16 bits.
    p_error: as of `QuantizeStream`.
    """

    latency = 2 + DequantizeLane.latency

    def __init__(self, kind: CodeFormat, *, lanes: int = 1, channels: int = 1) -> None:
        super().__init__(kind, lanes, channels, (8 * code_bytes(kind, lanes), 32 * lanes, 48))

    def elaborate(self, platform: object) -> Module:
        """Lanes with the parameters of their channels; their numbers side by side."""
        m = Module()
        accepted, valid, data = self._accept(m)
        self._check(m, self.p_axis_tdata[32:48].as_signed())
        numbers, done = [], Signal()
        for index, words in enumerate(self._parameters(m, accepted)):
            lane = DequantizeLane()
            m.submodules[f"lane{index}"] = lane
            code = data.word_select(index, self.kind.bits)
            m.d.comb += [
                lane.i_valid.eq(valid), lane.i.eq(code.as_signed() if self.kind.signed else code),
                lane.i_scale.eq(words[:32]), lane.i_zero.eq(words[32:41].as_signed()),
                done.eq(lane.o_valid),
            ]  # fmt: skip
            numbers.append(lane.o)
        self._emit(m, accepted, done, Cat(*numbers), DequantizeLane.latency)
        return m
