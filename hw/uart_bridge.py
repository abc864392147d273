"""The host's side over a serial line: frames with a checksum read and write the register map."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.byte_master import ByteMaster
from systolith.hw.control import AXI_LITE
from systolith.hw.uart import UartReceiver, UartTransmitter
from systolith.spec.uart import (
    CRC_BYTES,
    END,
    ESCAPE,
    ESCAPED_END,
    ESCAPED_ESCAPE,
    HEADER_BYTES,
    MOST_BYTES,
    QUEUE_BYTES,
    UartRequest,
    UartStatus,
)

__all__ = ["UartBridge"]

_POLYNOMIAL = 0xEDB88320
"""CRC-32 of IEEE 802.3, low bit first."""
_RESIDUE = 0xDEBB20E3
"""What the register holds behind a good frame and its CRC."""
_COUNT_BITS = 9
"""Enough to count the longest frame; longer ones are cut off there, and have no good length."""

_STATUS, _SEQUENCE, _DATA, _CRC, _CLOSE = 1, 2, 3, 4, 4 + CRC_BYTES
"""Steps of an answer; step 0 opens the frame."""


class UartBridge(wiring.Component):
    """An AXI4-Lite master behind a serial line; docs/uart-protocol.md is its contract.

    One frame after the other: received into a buffer, checked, executed, answered. Nothing is
    written before the frame's CRC and length are known to be right. What arrives meanwhile waits in
    a queue. There is no state in which it waits for the host other than the beginning or the
    inside of a frame, and the next END ends that.

    Latency: a frame is executed about 12 cycles for each of its bytes after the byte has arrived,
    in 3 cycles a byte and the accesses to the bus.

    Parameters
    ----------
    period: of `UartReceiver` and `UartTransmitter`.

    Members
    -------
    rx, tx: the line.
    bus: the register map.
    """

    def __init__(self, period: int):
        self.period = period
        super().__init__({"rx": In(1), "tx": Out(1), "bus": In(AXI_LITE)})
        self.receiver, self.transmitter = UartReceiver(period), UartTransmitter(period)
        self.queue = SyncFIFOBuffered(width=8, depth=QUEUE_BYTES)
        self.buffer = Memory(shape=8, depth=MOST_BYTES, init=[])
        self.bytes = ByteMaster()

    def elaborate(self, platform: object) -> Module:
        """Registers, and the states of a frame."""
        m = Module()
        for name in ("receiver", "transmitter", "queue", "buffer", "bytes"):
            m.submodules[name] = getattr(self, name)
        wiring.connect(m, wiring.flipped(self.bus), self.bytes.bus)
        m.d.comb += [
            self.receiver.rx.eq(self.rx), self.tx.eq(self.transmitter.tx),
            self.queue.w_data.eq(self.receiver.o_data), self.queue.w_en.eq(self.receiver.o_valid),
        ]  # fmt: skip
        self._request, self._sequence, self._length = Signal(8), Signal(8), Signal(8)
        self._address, self._index = Signal(32), Signal(8)
        self._count = Signal(_COUNT_BITS)  # of the frame's bytes
        self._bad, self._escaped = Signal(), Signal()
        self._status = Signal(UartStatus)
        self._done_sequence, self._done_status = Signal(8), Signal(UartStatus)
        self._repeatable = Signal()  # the last request was a WRITE
        self._writes = Signal()
        m.d.comb += self._writes.eq(self._request == UartRequest.WRITE)
        self._store, self._load = self.buffer.write_port(), self.buffer.read_port()
        m.d.comb += [self._load.addr.eq(self._index), self._load.en.eq(1)]
        self._checksum(m)
        with m.If(self.bytes.error):
            m.d.sync += self._status.eq(UartStatus.BUS)
        with m.FSM():
            self._receive(m)
            self._check(m)
            self._execute(m)
            self._answer(m)
        return m

    def _checksum(self, m: Module) -> None:
        """Digest a byte in eight cycles, a bit a cycle; or only move the CRC on by a byte."""
        self._crc, self._digested = Signal(32, init=-1), Signal(8)
        self._bits, self._sending = Signal(range(9)), Signal()
        with m.If(self._bits != 0):
            turn = (self._crc[0] ^ self._digested[0]) & ~self._sending
            m.d.sync += [
                self._crc.eq((self._crc >> 1) ^ Mux(turn, _POLYNOMIAL, 0)),
                self._digested.eq(self._digested >> 1), self._bits.eq(self._bits - 1),
            ]  # fmt: skip

    def _digest(self, m: Module, byte: Value) -> None:
        m.d.sync += [self._digested.eq(byte), self._bits.eq(8)]

    def _receive(self, m: Module) -> None:
        """Take a frame's bytes from the queue."""
        byte, value, count = self.queue.r_data, Signal(8), self._count
        is_end, is_escape = byte == END, byte == ESCAPE
        special = Mux(byte == ESCAPED_END, Const(END, 8), ESCAPE)
        m.d.comb += value.eq(Mux(self._escaped, special, byte))
        with m.State("RECEIVE"), m.If(self.queue.r_rdy & (self._bits == 0)):
            m.d.comb += self.queue.r_en.eq(1)
            with m.If(is_end), m.If((count != 0) | self._bad | self._escaped):
                m.d.sync += self._bad.eq(self._bad | self._escaped)
                m.next = "CHECK"
            with m.Elif(is_escape):
                m.d.sync += [self._bad.eq(self._bad | self._escaped), self._escaped.eq(1)]
            with m.Else():
                known = (byte == ESCAPED_END) | (byte == ESCAPED_ESCAPE)
                m.d.sync += [self._bad.eq(self._bad | (self._escaped & ~known))]
                m.d.sync += [self._escaped.eq(0), count.eq(count + ~count.all())]
                self._digest(m, value)
                self._place(m, value)

    def _place(self, m: Module, value: Value) -> None:
        """Put a byte of a frame where it belongs."""
        count = self._count
        with m.Switch(count):
            for place, register in enumerate((self._request, self._sequence, self._length)):
                with m.Case(place):
                    m.d.sync += register.eq(value)
            with m.Case(*range(3, HEADER_BYTES)):
                m.d.sync += self._address.eq(Cat(self._address[8:], value))
        m.d.comb += [
            self._store.addr.eq(count - HEADER_BYTES), self._store.data.eq(value),
            self._store.en.eq((count >= HEADER_BYTES) & (count < HEADER_BYTES + MOST_BYTES)),
        ]  # fmt: skip

    def _check(self, m: Module) -> None:
        """Decide what is to be done with a frame."""
        known = self._writes | (self._request == UartRequest.READ)
        payload = Mux(self._writes, self._length + 1, 0)
        fits = self._count == HEADER_BYTES + CRC_BYTES + payload
        with m.State("CHECK"), m.If(self._bits == 0):
            m.d.sync += [self._crc.eq(-1), self._index.eq(0), self._escaped.eq(0)]
            m.next = "ANSWER"
            with m.If(self._bad | (self._crc != _RESIDUE)):
                m.d.sync += [self._status.eq(UartStatus.DAMAGED), self._sequence.eq(0)]
            with m.Elif(~known | ~fits | self._address[28:].any()):
                m.d.sync += self._status.eq(UartStatus.MALFORMED)
            with m.Elif(
                self._writes & self._repeatable & (self._sequence == self._done_sequence)
            ):  # its answer got lost
                m.d.sync += self._status.eq(self._done_status)
            with m.Else():
                m.d.sync += self._status.eq(UartStatus.OK)
                m.next = "FETCH"

    def _execute(self, m: Module) -> None:
        """Move the bytes, up to the first access that fails."""
        move, failed = self.bytes, self._status != UartStatus.OK
        last = (self._index == self._length) | failed
        m.d.comb += [
            move.i_write.eq(self._writes), move.i_address.eq(self._address), move.i_last.eq(last),
            move.i_data.eq(self._load.data),
        ]  # fmt: skip
        with m.State("FETCH"):
            m.next = "MOVE"
        with m.State("MOVE"):
            with m.If(self._writes & failed):
                m.next = "FINISH"
            with m.Else():
                m.d.comb += move.i_valid.eq(1)
            with m.If(move.i_ready):
                m.d.comb += [self._store.addr.eq(self._index), self._store.data.eq(move.o_data)]
                m.d.comb += self._store.en.eq(~self._writes)
                m.d.sync += [self._address.eq(self._address + 1), self._index.eq(self._index + 1)]
                m.next = "FETCH"
                with m.If(last):
                    m.next = "FINISH"
        with m.State("FINISH"), m.If(~move.busy):
            m.d.sync += [
                self._done_sequence.eq(self._sequence), self._done_status.eq(self._status),
                self._repeatable.eq(self._writes), self._index.eq(0),
            ]  # fmt: skip
            m.next = "ANSWER"

    def _answer(self, m: Module) -> None:
        """Send status, sequence number, what was read, and the CRC."""
        step, byte, raw = Signal(range(_CLOSE + 1)), Signal(8), Signal()
        again, final = Signal(), Signal()  # the byte's second half follows; the last byte of data
        line = self.transmitter
        reads = ~self._writes & (self._status == UartStatus.OK)
        m.d.comb += self._sending.eq(step >= _CRC)
        with m.State("ANSWER"), m.If(self._bits == 0):
            m.next = "SEND"
            m.d.sync += [byte.eq(END), raw.eq((step == 0) | (step == _CLOSE))]
            sources = {_STATUS: self._status, _SEQUENCE: self._sequence, _DATA: self._load.data}
            with m.Switch(step):
                for number, source in sources.items():
                    with m.Case(number):
                        m.d.sync += byte.eq(source)
                        self._digest(m, source)
                        if number == _DATA:  # the next one is read while this one is sent
                            m.d.sync += final.eq(self._index == self._length)
                            m.d.sync += self._index.eq(self._index + 1)
                with m.Case(*range(_CRC, _CLOSE)):
                    m.d.sync += [byte.eq(~self._crc[:8]), self._bits.eq(8)]
        special = ((byte == END) | (byte == ESCAPE)) & ~raw
        code = Mux(byte == END, Const(ESCAPED_END, 8), ESCAPED_ESCAPE)
        m.d.comb += line.i_data.eq(Mux(again, code, Mux(special, ESCAPE, byte)))
        with m.State("SEND"):
            m.d.comb += line.i_valid.eq(1)
            with m.If(line.i_ready):
                m.d.sync += again.eq(special & ~again)
                with m.If(~special | again):
                    m.next = "ANSWER"
                    self._advance(m, step, reads, final)

    def _advance(self, m: Module, step: Signal, reads: Value, final: Signal) -> None:
        """Go on behind a byte of an answer, and to the next frame behind its last one."""
        m.d.sync += step.eq(step + 1)
        with m.If((step == _SEQUENCE) & ~reads):
            m.d.sync += step.eq(_CRC)
        with m.If((step == _DATA) & ~final):
            m.d.sync += step.eq(_DATA)
        with m.If(step == _CLOSE):
            m.d.sync += [step.eq(0), self._count.eq(0), self._bad.eq(0), self._crc.eq(-1)]
            m.next = "RECEIVE"
