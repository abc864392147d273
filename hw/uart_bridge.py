"""The host's side over a serial line: frames with a checksum read and write the register map."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.byte_queue import ByteQueue
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
_STATUS, _SEQUENCE, _DATA, _CRC, _CLOSE = 1, 2, 3, 4, 4 + CRC_BYTES
"""Steps of an answer; step 0 opens the frame."""


class UartBridge(wiring.Component):
    """An AXI4-Lite master behind a serial line; docs/uart-protocol.md is its contract.

    One frame after the other: received into a buffer, checked, executed, answered. Nothing is
    written before the frame's CRC and length are known to be right. What arrives meanwhile waits in
    a queue. There is no state in which it waits for the host other than the beginning or the
    inside of a frame, and the next END ends that.

    Latency: a frame is executed about 12 cycles for each of its bytes after the byte has arrived,
    in 3 cycles a byte and the accesses to the bus, a word each.

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
        self.queue = ByteQueue(QUEUE_BYTES)
        self.buffer = Memory(shape=8, depth=MOST_BYTES, init=[])

    def elaborate(self, platform: object) -> Module:
        """Registers, and the states of a frame."""
        m = Module()
        for name in ("receiver", "transmitter", "queue", "buffer"):
            m.submodules[name] = getattr(self, name)
        m.d.comb += [
            self.receiver.rx.eq(self.rx), self.tx.eq(self.transmitter.tx),
            self.queue.i.eq(self.receiver.o_data), self.queue.i_valid.eq(self.receiver.o_valid),
        ]  # fmt: skip
        self._byte = Signal(8)  # received or to be sent; digesting turns it round once
        self._writes, self._known = Signal(), Signal()
        self._sequence, self._length, self._address = Signal(8), Signal(8), Signal(32)
        self._place = Signal(range(HEADER_BYTES + 1))  # header bytes that are there
        self._index = Signal(8)  # of the data
        self._whole, self._tail = Signal(), Signal(3)  # all data is there; bytes behind it
        self._bad, self._escaped = Signal(), Signal()
        self._status = Signal(UartStatus)
        self._done_sequence, self._done_status = Signal(8), Signal(UartStatus)
        self._repeatable = Signal()  # the last request was a WRITE
        self._final = Signal()
        m.d.comb += self._final.eq(self._index == self._length)
        self._store, self._load = self.buffer.write_port(), self.buffer.read_port()
        m.d.comb += [
            self._load.addr.eq(self._index), self._load.en.eq(1),
            self._store.addr.eq(self._index), self._store.data.eq(self._byte),
        ]  # fmt: skip
        self._word, self._strobe = Signal(32), Signal(4)
        self._fetched = Signal()  # `_word` has been read
        bus = self.bus
        m.d.comb += [
            bus.awaddr.eq(Cat(Const(0, 2), self._address[2:28])), bus.araddr.eq(bus.awaddr),
            bus.wdata.eq(self._word), bus.wstrb.eq(self._strobe),
            bus.bready.eq(1), bus.rready.eq(1),
        ]  # fmt: skip
        self._loads, self._steps = Signal(), Signal()
        # Less -1, or less 0 where the difference is not used: in an iCE40 the choice then fits into
        # the cells of the subtraction.
        following = self._address - self._steps.replicate(32)
        loaded = Cat(self._address[8:], self._byte)
        with m.If(self._loads | self._steps):
            m.d.sync += self._address.eq(Mux(self._steps, following, loaded))
        self._checksum(m)
        with m.FSM():
            self._receive(m)
            self._put(m)
            self._check(m)
            self._execute(m)
            self._access(m)
            self._answer(m)
        return m

    def _checksum(self, m: Module) -> None:
        """Digest a byte in eight cycles, a bit a cycle; or only move the CRC on by a byte."""
        self._crc = Signal(32, init=-1)
        self._bits, self._sending = Signal(range(9)), Signal()
        self._idle = Signal()
        m.d.comb += self._idle.eq(self._bits == 0)
        with m.If(~self._idle):
            turn = (self._crc[0] ^ self._byte[0]) & ~self._sending
            m.d.sync += [
                self._crc.eq((self._crc >> 1) ^ Mux(turn, _POLYNOMIAL, 0)),
                self._byte.eq(self._byte.rotate_right(1)), self._bits.eq(self._bits - 1),
            ]  # fmt: skip

    def _receive(self, m: Module) -> None:
        """Take a frame's bytes from the queue."""
        byte = self._byte
        with m.State("RECEIVE"), m.If(self.queue.o_valid & self._idle):
            m.next = "TAKE"
        with m.State("TAKE"):
            m.d.comb += self.queue.o_next.eq(1)
            m.d.sync += byte.eq(self.queue.o)
            m.next = "COMPARE"
        # What the byte is compared with is a register, for the decisions' sake: there is time.
        ends, escapes, is_end, is_escape = (Signal() for _ in range(4))
        m.d.sync += [
            ends.eq(byte == END), escapes.eq(byte == ESCAPE),
            is_end.eq(byte == ESCAPED_END), is_escape.eq(byte == ESCAPED_ESCAPE),
        ]  # fmt: skip
        with m.State("COMPARE"):
            m.next = "DECODE"
        with m.State("DECODE"):
            m.next = "RECEIVE"
            some = (self._place != 0) | self._bad | self._escaped
            with m.If(ends & some):
                m.d.sync += self._bad.eq(self._bad | self._escaped)
                m.next = "CHECK"
            with m.Elif(escapes):
                m.d.sync += [self._bad.eq(self._bad | self._escaped), self._escaped.eq(1)]
            with m.Elif(~ends):  # one without a frame means nothing
                m.d.sync += self._escaped.eq(0)
                m.next = "PUT"
                with m.If(self._escaped):
                    m.d.sync += byte.eq(Mux(is_end, END, ESCAPE))
                    with m.If(~is_end & ~is_escape):
                        m.d.sync += self._bad.eq(1)

    def _put(self, m: Module) -> None:
        """Put a byte of a frame where it belongs, and digest it."""
        byte = self._byte
        with m.State("PUT"):
            m.next = "RECEIVE"
            m.d.sync += self._bits.eq(8)
            with m.If(self._place != HEADER_BYTES):
                m.d.sync += self._place.eq(self._place + 1)
            with m.Switch(self._place):
                with m.Case(0):
                    write, read = byte == UartRequest.WRITE, byte == UartRequest.READ
                    m.d.sync += [self._writes.eq(write), self._known.eq(write | read)]
                with m.Case(1):
                    m.d.sync += self._sequence.eq(byte)
                with m.Case(2):
                    m.d.sync += self._length.eq(byte)
                with m.Case(*range(3, HEADER_BYTES)):
                    m.d.comb += self._loads.eq(1)
                with m.Default():
                    with m.If(self._writes & ~self._whole):
                        m.d.comb += self._store.en.eq(1)
                        m.d.sync += [self._whole.eq(self._final), self._index.eq(self._index + 1)]
                    with m.Else():
                        m.d.sync += self._tail.eq(self._tail + ~self._tail.all())

    def _check(self, m: Module) -> None:
        """Decide what is to be done with a frame."""
        fits = (self._whole | ~self._writes) & (self._tail == CRC_BYTES)
        with m.State("CHECK"), m.If(self._idle):
            m.d.sync += [
                self._crc.eq(-1), self._index.eq(0), self._escaped.eq(0), self._bad.eq(0),
                self._place.eq(0), self._whole.eq(0), self._tail.eq(0),
            ]  # fmt: skip
            m.next = "ANSWER"
            with m.If(self._bad | (self._crc != _RESIDUE)):
                m.d.sync += [self._status.eq(UartStatus.DAMAGED), self._sequence.eq(0)]
            with m.Elif(~self._known | ~fits | self._address[28:].any()):
                m.d.sync += self._status.eq(UartStatus.MALFORMED)
            with m.Elif(
                self._writes & self._repeatable & (self._sequence == self._done_sequence)
            ):  # its answer got lost
                m.d.sync += self._status.eq(self._done_status)
            with m.Else():
                m.d.sync += self._status.eq(UartStatus.OK)
                m.next = "FETCH"

    def _execute(self, m: Module) -> None:
        """Move the bytes between the buffer and a word of the bus."""
        lane = self._address[:2]
        ends = self._final | lane.all()
        with m.State("FETCH"):
            m.next = "MOVE"
        with m.State("MOVE"):
            m.next = "STEP"
            with m.If(self._writes):
                m.d.sync += self._word.word_select(lane, 8).eq(self._load.data)
                m.d.sync += self._strobe.bit_select(lane, 1).eq(1)
                with m.If(ends):
                    m.d.sync += [self.bus.awvalid.eq(1), self.bus.wvalid.eq(1)]
                    m.next = "ACCESS"
            with m.Elif(self._fetched):
                m.d.comb += [
                    self._store.en.eq(1), self._store.data.eq(self._word.word_select(lane, 8))
                ]  # fmt: skip
                m.d.sync += self._fetched.eq(~ends)
            with m.Else():
                m.d.sync += self.bus.arvalid.eq(1)
                m.next = "ACCESS"
        with m.State("STEP"):
            m.d.comb += self._steps.eq(1)
            m.d.sync += self._index.eq(self._index + 1)
            m.next = "FETCH"
            with m.If(self._final):
                m.next = "FINISH"
        with m.State("FINISH"):
            m.d.sync += [
                self._done_sequence.eq(self._sequence), self._done_status.eq(self._status),
                self._repeatable.eq(self._writes), self._index.eq(0),
            ]  # fmt: skip
            m.next = "ANSWER"

    def _access(self, m: Module) -> None:
        """Wait for the answer to the access of a word; the first that fails ends the request."""
        bus = self.bus
        with m.State("ACCESS"):
            for channel in ("aw", "w", "ar"):
                valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
                with m.If(ready):
                    m.d.sync += valid.eq(0)
            with m.If(bus.bvalid):
                m.d.sync += self._strobe.eq(0)
                m.next = "STEP"
            with m.If(bus.rvalid):
                m.d.sync += [self._word.eq(bus.rdata), self._fetched.eq(bus.rresp == 0)]
                m.next = "MOVE"
            with m.If((bus.bvalid & (bus.bresp != 0)) | (bus.rvalid & (bus.rresp != 0))):
                m.d.sync += self._status.eq(UartStatus.BUS)
                m.next = "FINISH"

    def _answer(self, m: Module) -> None:
        """Send status, sequence number, what was read, and the CRC."""
        step, byte, raw = Signal(range(_CLOSE + 1)), self._byte, Signal()
        again, final = Signal(), Signal()  # the byte's second half follows; the last byte of data
        line = self.transmitter
        reads = ~self._writes & (self._status == UartStatus.OK)
        m.d.comb += self._sending.eq(step >= _CRC)
        with m.State("ANSWER"):
            m.next = "SEND"
            m.d.sync += [byte.eq(END), raw.eq((step == 0) | (step == _CLOSE))]
            sources = {_STATUS: self._status, _SEQUENCE: self._sequence, _DATA: self._load.data}
            with m.Switch(step):
                for number, source in sources.items():
                    with m.Case(number):
                        m.d.sync += [byte.eq(source), self._bits.eq(8)]
                        if number == _DATA:  # the next one is read while this one is sent
                            m.d.sync += [final.eq(self._final), self._index.eq(self._index + 1)]
                with m.Case(*range(_CRC, _CLOSE)):
                    m.d.sync += [byte.eq(~self._crc[:8]), self._bits.eq(8)]
        special = ((byte == END) | (byte == ESCAPE)) & ~raw
        code = Mux(byte == END, Const(ESCAPED_END, 8), ESCAPED_ESCAPE)
        m.d.comb += line.i_data.eq(Mux(again, code, Mux(special, ESCAPE, byte)))
        with m.State("SEND"), m.If(self._idle):
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
            m.d.sync += [step.eq(0), self._index.eq(0), self._crc.eq(-1)]
            m.next = "RECEIVE"
