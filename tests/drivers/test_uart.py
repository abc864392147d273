"""The host's side of the UART protocol: lines that lose, change and delay, and errors."""

import os
import random
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from systolith.drivers.host import DeviceError, UartMmio, open_port
from systolith.drivers.host.uart import _framed, _unframed
from systolith.spec.uart import UartRequest, UartStatus


class Bridge:
    """A bridge before a memory, after docs/uart-protocol.md, at a line that may damage bytes.

    Parameters
    ----------
    damage: changes what goes over the line, (direction, bytes) to bytes.
    """

    baudrate = 1_000_000
    in_waiting = 1

    def __init__(self, damage: Callable[[str, bytes], bytes] = lambda way, data: data) -> None:
        self.memory = bytearray(4096)
        self.timeout: float | None = 0.0
        self.writes = self.requests = 0
        self._damage = damage
        self._queue, self._frame = bytearray(), bytearray()
        self._last: tuple[int, bytes] | None = None

    def write(self, data: bytes) -> None:
        for byte in self._damage("out", data):
            if byte != 0xC0:
                self._frame.append(byte)
            elif self._frame:
                frame, self._frame = bytes(self._frame), bytearray()
                self._queue += self._damage("in", _framed(self._answer(_unframed(frame))))

    def read(self, size: int) -> bytes:
        result = bytes(self._queue[:size])
        del self._queue[:size]
        return result

    def _answer(self, body: bytes | None) -> bytes:
        self.requests += 1
        if body is None:
            return bytes([UartStatus.DAMAGED, 0])
        kind, sequence, size = body[0], body[1], body[2] + 1
        address = int.from_bytes(body[3:7], "little")
        if kind == UartRequest.READ and address + size <= len(self.memory):
            self._last = None
            return bytes([UartStatus.OK, sequence]) + self.memory[address : address + size]
        if self._last is not None and self._last[0] == sequence:
            return self._last[1]
        answer = bytes([UartStatus.BUS, sequence])
        if kind == UartRequest.WRITE and address + size <= len(self.memory):
            assert len(body) == 7 + size
            self.memory[address : address + size] = body[7:]
            self.writes += 1
            answer = bytes([UartStatus.OK, sequence])
        self._last = (sequence, answer)
        return answer


def test_the_example_of_the_protocol() -> None:
    sent = _framed(bytes([1, 1, 3, 0, 0, 0, 0]))
    assert sent == bytes.fromhex("C00101030000000 0BF7DE7B7C0".replace(" ", ""))
    assert _unframed(bytes.fromhex("000154535953 5C662C3F".replace(" ", ""))) == b"\0\1TSYS"


def test_frames_survive_and_damage_does_not() -> None:
    rng = random.Random(3)
    for _ in range(2000):
        body = bytes(rng.choice([0xC0, 0xDB, 0xDC, 0xDD, rng.randrange(256)]) for _ in range(9))
        sent = _framed(body)
        assert sent[0] == sent[-1] == 0xC0 and 0xC0 not in sent[1:-1]
        assert _unframed(sent[1:-1]) == body
        place = rng.randrange(1, len(sent) - 1)
        changed = bytearray(sent)
        changed[place] ^= 1 << rng.randrange(8)
        assert _unframed(bytes(changed[1:-1])) != body
    assert _unframed(b"") is None and _unframed(b"\xdb") is None


def test_words_and_blocks() -> None:
    bridge = Bridge()
    mmio = UartMmio(bridge)
    words = np.random.default_rng(1).integers(0, 1 << 32, 300, np.uint32)
    mmio.write_block(16, words)
    assert bytes(bridge.memory[16:1216]) == words.astype("<u4").tobytes() and bridge.writes == 5
    np.testing.assert_array_equal(mmio.read_block(16, 300), words)
    mmio.write(8, 0xC0DBDCDD)
    assert mmio.read(8) == 0xC0DBDCDD and mmio.repeated == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_line_costs_time_alone(seed: int) -> None:
    """Bytes changed, lost and invented on both ways; every write is done once, all data arrive."""
    rng = random.Random(seed)

    def damage(way: str, data: bytes) -> bytes:
        kind = rng.random()
        place = rng.randrange(len(data))
        if kind < 0.06:
            return data[:place] + data[place + 1 :]
        if kind < 0.12:
            return data[:place] + bytes([rng.randrange(256)]) + data[place:]
        if kind < 0.18:
            return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        return b"" if kind < 0.22 else data

    bridge = Bridge(damage)
    mmio = UartMmio(bridge, tries=60, slack=0.01)
    words = np.random.default_rng(seed).integers(0, 1 << 32, 64, np.uint32)
    for turn in range(40):
        mmio.write(0, turn)
        assert mmio.read(0) == turn
    assert bridge.writes == 40
    mmio.write_block(256, words)
    np.testing.assert_array_equal(mmio.read_block(256, 64), words)
    assert mmio.repeated > 10


def test_late_answers_are_not_taken_for_others() -> None:
    bridge = Bridge()
    mmio = UartMmio(bridge)
    bridge.memory[0:4] = b"\1\2\3\4"
    bridge._queue += _framed(bytes([UartStatus.OK, 77, 9, 9, 9, 9]))  # of an earlier request
    assert mmio.read(0) == 0x04030201


def test_what_another_program_has_left_is_dropped() -> None:
    """Half a request in the bridge, and an answer that looks like that to the first request."""
    bridge = Bridge()
    bridge.memory[0:4] = b"\1\2\3\4"
    bridge.write(_framed(bytes([UartRequest.WRITE, 9, 3, 8, 0, 0, 0, 5, 5, 5, 5]))[:9])
    bridge._queue += _framed(bytes([UartStatus.OK, 1, 9, 9, 9, 9]))
    mmio = UartMmio(bridge, slack=0.01)
    assert mmio.read(0) == 0x04030201 and mmio.repeated == 0
    assert bytes(bridge.memory[8:12]) == bytes(4)


@pytest.mark.parametrize("way", ["write", "read", "timeout"])
def test_a_line_that_is_lost(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system says no to when a board is unplugged, the error is one line."""
    mmio = UartMmio(bridge := Bridge(), where="/dev/ttyX")

    def lost(*arguments: object) -> None:
        raise OSError(5, "gone")

    if way == "timeout":  # pyserial asks the system to set it
        monkeypatch.setattr(Bridge, "timeout", property(lambda self: 0, lost), raising=False)
    else:
        monkeypatch.setattr(bridge, way, lost)
    verb = "write" if way == "write" else "read"
    wanted = f"/dev/ttyX: the line was lost, cannot {verb}: Input/output error: connect the board"
    with pytest.raises(DeviceError, match=wanted):
        mmio.read(0)


def test_bytes_are_counted() -> None:
    """Those of the protocol's example, and the END that settles the line."""
    mmio, told = UartMmio(Bridge()), list[int]()
    before = mmio.sent, mmio.received
    mmio.on_write = told.append
    mmio.read(0)
    assert (mmio.sent - before[0], mmio.received - before[1]) == (13, 12)
    mmio.write_block(0, np.zeros(300, np.uint32))
    assert sum(told) == 1200 and len(told) == 5


def silent(way: str, data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (silent, "no answer after 4 requests: check port, baud rate (1000000)"),
        (lambda way, data: data if way == "out" else data[:4] + b"?" + data[5:], "damaged answers"),
        (lambda way, data: data[:4] if way == "out" else data, "requests arrive damaged"),
    ],
    ids=["silence", "garbage", "cut"],
)
def test_errors_are_one_line(damage: Callable[[str, bytes], bytes], text: str) -> None:
    with pytest.raises(DeviceError) as caught:
        UartMmio(Bridge(damage), slack=0.01, where="/dev/ttyX")
    message = str(caught.value)
    assert message.startswith("/dev/ttyX: ") and text in message and "\n" not in message


def test_refused_accesses() -> None:
    mmio = UartMmio(Bridge())
    with pytest.raises(DeviceError, match="the accelerator refused to read 0x1000000"):
        mmio.read(1 << 24)
    with pytest.raises(DeviceError, match="the accelerator refused to write 0x1000000"):
        mmio.write(1 << 24, 1)


def test_ports() -> None:
    pytest.importorskip("serial")
    with pytest.raises(DeviceError, match=r"serial port /dev/none at 115200 baud: No such file"):
        open_port("/dev/none", 115200)
    master, slave = os.openpty()
    name = os.ttyname(slave)
    try:
        for baud in (10**30, -1):
            with pytest.raises(DeviceError, match=f"cannot open serial port {name} at {baud} baud"):
                open_port(name, baud)
        first = open_port(name, 115200)
        with pytest.raises(DeviceError, match=f"{name} at 9600 baud: another program has it open"):
            open_port(name, 9600)
        first.close()  # type: ignore[attr-defined]  # of serial.Serial
        os.write(master, b"old")
        later = open_port(name, 9600)
        later.timeout = 0.05
        assert later.read(3) == b""
        later.close()  # type: ignore[attr-defined]  # of serial.Serial
    finally:
        os.close(master)
        os.close(slave)


def test_checksum_is_that_of_the_protocol() -> None:
    assert zlib.crc32(b"123456789") == 0xCBF43926
