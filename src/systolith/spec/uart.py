"""The protocol between a host and the UART bridge: frames, requests and answers.

docs/uart-protocol.md describes it in full.
"""

from enum import IntEnum

__all__ = [
    "CRC_BYTES",
    "END",
    "ESCAPE",
    "ESCAPED_END",
    "ESCAPED_ESCAPE",
    "HEADER_BYTES",
    "MOST_BYTES",
    "QUEUE_BYTES",
    "UartRequest",
    "UartStatus",
]

END = 0xC0
"""Ends a frame, and may begin one."""
ESCAPE = 0xDB
"""Stands before the next two, for a byte of a frame that is END or ESCAPE itself."""
ESCAPED_END = 0xDC
ESCAPED_ESCAPE = 0xDD

HEADER_BYTES = 7
"""Request, sequence number, bytes less one, address (4 bytes, little-endian)."""
CRC_BYTES = 4
"""CRC-32 of all bytes before it (as in Ethernet and zlib), little-endian."""
MOST_BYTES = 256
"""Most bytes that a request reads or writes."""
QUEUE_BYTES = 512
"""Bytes that the bridge keeps while it works: as many may be on their way without an answer."""


class UartRequest(IntEnum):
    """What a frame to the bridge asks for."""

    READ = 1
    """Read bytes that follow one another."""
    WRITE = 2
    """Write the bytes behind the header."""


class UartStatus(IntEnum):
    """How the bridge answers."""

    OK = 0
    """Done; behind it what was read."""
    BUS = 1
    """The register map has nothing there, or not for this access; bytes before it may have been
    written."""
    DAMAGED = 2
    """A frame's CRC or its escapes are wrong: nothing was done, the sequence number is 0."""
    MALFORMED = 3
    """An unknown request, a wrong length, or an address above 28 bits: nothing was done."""
