"""The register map over a serial line: frames with a checksum, and again where one got lost."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from .container import Array, DeviceError

__all__ = ["Line", "UartMmio", "open_port"]

_END, _ESCAPE, _ESCAPED_END, _ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD
_READ, _WRITE = 1, 2
_QUEUE_BYTES = 512
"""Characters that the bridge keeps behind the request it works on."""
_MOST_BYTES = 256
"""Bytes of a request."""
_OK, _BUS, _DAMAGED, _MALFORMED = range(4)
_SLACK = 0.25
try:
    from termios import error as _TermiosError  # not an OSError
except ImportError:  # pragma: no cover - another system

    class _TermiosError(Exception):  # type: ignore[no-redef]  # the other branch
        """Stands for what cannot occur."""


class Line(Protocol):
    """What a serial line must offer: `serial.Serial` does."""

    timeout: Any
    """Seconds after which `read` returns what there is."""
    baudrate: int

    def read(self, size: int) -> bytes:
        """Return that many bytes, or fewer after the timeout."""
        ...

    def write(self, data: bytes) -> Any:
        """Send bytes."""
        ...


def open_port(port: str, baud: int) -> Line:
    """Open a serial port for this program alone; what it received before is thrown away.

    Raises
    ------
    DeviceError: there is none, another program has it, it has no such rate, or pyserial is not
        installed.
    """
    try:
        import serial
    except ImportError:
        raise DeviceError("a serial port needs pyserial: `pip install pyserial`") from None
    try:
        line = serial.Serial(port, baud, timeout=_SLACK, write_timeout=10.0, exclusive=True)
        line.reset_input_buffer()
    except (OSError, ValueError, OverflowError, _TermiosError) as error:
        busy = getattr(error, "errno", None) == errno.EAGAIN
        text = "another program has it open" if busy else _reason(error)
        raise DeviceError(f"cannot open serial port {port} at {baud} baud: {text}") from None
    result: Line = line
    return result


def _reason(error: Exception) -> str:
    """The system's words for it; pyserial puts a Python expression around them."""
    number = getattr(error, "errno", None)
    if isinstance(error, _TermiosError) and error.args:
        number = error.args[0]
    return os.strerror(number) if isinstance(number, int) else str(error)


def _framed(body: bytes) -> bytes:
    """A frame as it is sent."""
    whole = body + struct.pack("<I", zlib.crc32(body))
    whole = whole.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return bytes([_END]) + whole + bytes([_END])


def _unframed(raw: bytes) -> bytes | None:
    """A frame's bytes without its checksum; None if it is damaged."""
    result, escaped = bytearray(), False
    for byte in raw:
        if escaped:
            if byte not in (_ESCAPED_END, _ESCAPED_ESCAPE):
                return None
            result.append(_END if byte == _ESCAPED_END else _ESCAPE)
            escaped = False
        elif byte == _ESCAPE:
            escaped = True
        else:
            result.append(byte)
    body, crc = bytes(result[:-4]), bytes(result[-4:])
    good = not escaped and len(result) >= 6 and struct.pack("<I", zlib.crc32(body)) == crc
    return body if good else None


class UartMmio:
    """An `Mmio` behind the UART bridge; docs/uart-protocol.md is the protocol.

    Parameters
    ----------
    line: the serial line.
    tries: how often a request is sent before it has failed.
    slack: seconds that operating system, USB and bridge may add to the time on the line.
    where: what errors call the line.

    Raises
    ------
    DeviceError: nothing answers; also from every access, if an answer stays away or says so.
    """

    def __init__(
        self,
        line: Line,
        *,
        tries: int = 4,
        slack: float = _SLACK,
        where: str = "the serial line",
    ) -> None:
        self._line, self._tries, self._slack, self._where = line, tries, slack, where
        self._sequence = 0
        self._pending = bytearray()
        self.repeated = 0
        """Requests that had to be sent again."""
        self.sent = self.received = 0
        """Bytes that have gone over the line in each direction, as sent."""
        self.on_write: Callable[[int], None] = lambda size: None
        """Told how many bytes of a block have been written, each time that some have."""
        self._settle()
        # A READ is done whatever its number is, and makes the next number new.
        self.read(0)

    def _settle(self) -> None:
        """End a frame that another program may have begun, and drop answers to what it asked."""
        self._send(bytes([_END]))
        deadline = time.monotonic() + 10 * self._slack
        with self._lost("read"):
            self._line.timeout = self._slack
            while self._line.read(_QUEUE_BYTES) and time.monotonic() < deadline:
                pass

    @contextlib.contextmanager
    def _lost(self, what: str) -> Iterator[None]:
        """Say in one line that the line itself has failed, as when a board is unplugged."""
        try:
            yield
        except (OSError, _TermiosError) as error:
            raise DeviceError(
                f"{self._where}: the line was lost, cannot {what}: {_reason(error)}: connect the "
                "board again, load its bitstream and start anew"
            ) from None

    def read(self, offset: int) -> int:
        """Read the word at a byte offset."""
        return int.from_bytes(self._ask(_READ, offset, 4), "little")

    def write(self, offset: int, value: int) -> None:
        """Write it."""
        self._ask(_WRITE, offset, 4, value.to_bytes(4, "little"))

    def read_block(self, offset: int, words: int) -> Array:
        """Read words that follow one another, uint32."""
        parts = [
            self._ask(_READ, offset + first, min(_MOST_BYTES, 4 * words - first))
            for first in range(0, 4 * words, _MOST_BYTES)
        ]
        return np.frombuffer(b"".join(parts), "<u4")

    def write_block(self, offset: int, words: Array) -> None:
        """Write words of a memory that follow one another.

        A request is sent before the answer to the one before it has come, as far as the bridge's
        queue holds it, so that the latency of a USB adapter costs less. If an answer is missing,
        what has not been answered is written again, one by one.
        """
        data = np.asarray(words, "<u4").tobytes()
        starts = range(0, len(data), _MOST_BYTES)
        parts = [(offset + start, data[start : start + _MOST_BYTES]) for start in starts]
        for address, part in parts[self._ahead(parts) :]:
            self._ask(_WRITE, address, len(part), part)
            self.on_write(len(part))

    def _ahead(self, parts: Sequence[tuple[int, bytes]]) -> int:
        """Write parts ahead of their answers; return how many were done before one went wrong."""
        waiting: deque[tuple[int, int]] = deque()  # sequence numbers and characters
        sent = 0
        for done in range(len(parts)):
            while sent < len(parts):
                address, part = parts[sent]
                frame = _framed(self._body(_WRITE, address, len(part)) + part)
                behind = sum(count for _, count in waiting) - (waiting[0][1] if waiting else 0)
                if waiting and behind + len(frame) > _QUEUE_BYTES:
                    self._sequence = (self._sequence - 1) & 255  # of the frame that has to wait
                    break
                self._send(frame)
                waiting.append((self._sequence, len(frame)))
                sent += 1
            sequence = waiting.popleft()[0]
            answer, _ = self._answer(2 * _QUEUE_BYTES, "", sequence)
            if answer is None or answer[0] != _OK:
                return done
            self.on_write(len(parts[done][1]))
        return len(parts)

    def _body(self, kind: int, address: int, size: int) -> bytes:
        """Begin a request, with the next sequence number."""
        self._sequence = (self._sequence + 1) & 255
        return struct.pack("<BBBI", kind, self._sequence, size - 1, address)

    def close(self) -> None:
        """Give the line back to the system, if it is a port."""
        with contextlib.suppress(OSError):
            getattr(self._line, "close", lambda: None)()

    def idle(self, seconds: float) -> None:
        """Return at once: the line takes its time."""

    def _ask(self, kind: int, address: int, size: int, data: bytes = b"") -> bytes:
        """Do one request; return what was read."""
        frame = _framed(self._body(kind, address, size) + data)
        wanted = size if kind == _READ else 0
        problem = "no answer"
        for attempt in range(self._tries):
            self.repeated += attempt > 0
            self._send(frame)
            answer, problem = self._answer(len(frame) + 2 * (wanted + 8), problem, self._sequence)
            if answer is None:
                continue
            if answer[0] == _OK and len(answer) == 2 + wanted:
                return answer[2:]
            what = "write" if kind == _WRITE else "read"
            if answer[0] == _BUS:
                raise DeviceError(
                    f"{self._where}: the accelerator refused to {what} 0x{address:07X}"
                )
            raise DeviceError(
                f"{self._where}: a request to {what} 0x{address:07X} was not understood: "
                "the bridge speaks another version of the protocol"
            )
        raise DeviceError(
            f"{self._where}: {problem} after {self._tries} requests: check port, baud rate "
            f"({self._line.baudrate}) and that the bitstream is loaded"
        )

    def _send(self, frame: bytes) -> None:
        with self._lost("write"):
            self._line.write(frame)
        self.sent += len(frame)

    def _answer(self, characters: int, problem: str, sequence: int) -> tuple[bytes | None, str]:
        """The answer to a request, or None and why there is none."""
        seconds = self._slack + 10.0 * characters / self._line.baudrate
        with self._lost("read"):
            self._line.timeout = seconds  # a system call for a serial port
        deadline = time.monotonic() + 10 * seconds  # only noise that never ends gets there
        while time.monotonic() < deadline:
            raw = self._frame()
            if raw is None:
                return None, problem
            body = _unframed(raw)
            if body is None:
                problem = "damaged answers"
            elif body[0] == _DAMAGED:
                return None, "requests arrive damaged"
            elif body[1] == sequence:
                return body, ""
        return None, problem

    def _frame(self) -> bytes | None:
        """The next frame that is not empty, as sent; None after the timeout."""
        while True:
            end = self._pending.find(_END)
            if end >= 0:
                frame = bytes(self._pending[:end])
                del self._pending[: end + 1]
                if frame:
                    return frame
                continue
            with self._lost("read"):
                got = self._line.read(max(1, int(getattr(self._line, "in_waiting", 1))))
            self.received += len(got)
            if not got:
                self._pending.clear()  # the beginning of a frame that will not go on
                return None
            self._pending += got
