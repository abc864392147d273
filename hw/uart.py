"""Receiver and transmitter of a serial line: 8 data bits, no parity, 1 stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from systolith.spec.bus import BAUD_FRACTION

__all__ = ["UartReceiver", "UartTransmitter"]

_ONE = 1 << BAUD_FRACTION
"""A clock cycle, in the unit of bit periods."""
_BITS = 10
"""Bits of a character: start, 8 of data, stop."""


def _check(period: int) -> None:
    if not 4 * _ONE <= period < 1 << 28:
        raise ValueError(f"period must be between 4 and 2**20 clock cycles, not {period / _ONE}")


class UartReceiver(wiring.Component):
    """Bytes from a line.

    A bit is sampled once, within a clock cycle of its middle; bit times have a fraction, so that
    they do not drift within a character. Behind a character whose stop bit is 0 the line must be
    high before the next start bit is seen: a break is one error.

    Latency: about 9.5 bits and 3 cycles from the start bit's edge to `o_valid`.

    Parameters
    ----------
    period: clock cycles of a bit in units of ``2**-BAUD_FRACTION`` cycles, at least 4 cycles.

    Members
    -------
    rx: the line; synchronised here.
    o_valid, o_data: a byte, for one cycle; whoever needs it takes it then.
    o_error: a character without stop bit has ended, for one cycle.

    Raises
    ------
    ValueError: a period out of range.
    """

    def __init__(self, period: int):
        _check(period)
        self.period = period
        super().__init__({"rx": In(1), "o_valid": Out(1), "o_data": Out(8), "o_error": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Count down to the middle of a bit, sample, add a period."""
        m = Module()
        line, before = Signal(init=1), Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        left = Signal(range(self.period + _ONE))  # until the next sample
        number = Signal(range(_BITS + 1))  # the bit to be sampled; 0 is the start bit
        active, sample = Signal(), Signal()
        m.d.sync += before.eq(line)
        m.d.comb += sample.eq(active & (left < _ONE))
        m.d.sync += [self.o_valid.eq(0), self.o_error.eq(0)]
        with m.If(~active):
            m.d.sync += [left.eq(self.period // 2 - _ONE), number.eq(0)]
            m.d.sync += active.eq(before & ~line)
        with m.Elif(sample):
            m.d.sync += [left.eq(left + (self.period - _ONE)), number.eq(number + 1)]
            with m.If((number == 0) & line):  # too short for a start bit
                m.d.sync += active.eq(0)
            with m.Elif(number == _BITS - 1):
                m.d.sync += [active.eq(0), self.o_valid.eq(line), self.o_error.eq(~line)]
            with m.Else():
                m.d.sync += self.o_data.eq(Cat(self.o_data[1:], line))
        with m.Else():
            m.d.sync += left.eq(left - _ONE)
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a line: a character of 10 bits each, the next one a cycle behind the stop bit.

    Parameters
    ----------
    period: as of `UartReceiver`.

    Members
    -------
    tx: the line, high between characters.
    i_valid, i_ready, i_data: bytes.

    Raises
    ------
    ValueError: a period out of range.
    """

    def __init__(self, period: int):
        _check(period)
        self.period = period
        super().__init__({"tx": Out(1), "i_valid": In(1), "i_ready": Out(1), "i_data": In(8)})

    def elaborate(self, platform: object) -> Module:
        """Shift out the character; ones follow it."""
        m = Module()
        left = Signal(range(self.period + _ONE))
        line, shift = Signal(init=1), Signal(_BITS - 1, init=-1)
        count = Signal(range(_BITS + 1))  # bits still on their way, the present one included
        m.d.comb += [self.i_ready.eq(count == 0), self.tx.eq(line)]
        with m.If(self.i_ready):
            m.d.sync += left.eq(self.period - _ONE)
            with m.If(self.i_valid):
                m.d.sync += [line.eq(0), count.eq(_BITS)]
                m.d.sync += shift.eq(Cat(self.i_data, Const(1, 1)))
        with m.Elif(left < _ONE):
            m.d.sync += [
                left.eq(left + (self.period - _ONE)), count.eq(count - 1),
                line.eq(shift[0]), shift.eq(Cat(shift[1:], Const(1, 1))),
            ]  # fmt: skip
        with m.Else():
            m.d.sync += left.eq(left - _ONE)
        return m
