"""A memory behind an AXI4-Lite slave, and a serial line, for the tests of what drives them."""

import random
import zlib
from collections.abc import Iterator

from amaranth.sim import SimulatorContext

from systolith.spec.uart import END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE


class LiteMemory:
    """Serve a bus from a bytearray; accesses that touch ``holes`` answer SLVERR.

    A master that breaks the protocol (a valid that goes away, an address that changes) fails.
    """

    def __init__(self, bus, size: int, *, often: float = 1.0, seed: int = 0) -> None:
        self.bus, self.data = bus, bytearray(size)
        self.rng, self.often = random.Random(seed), often
        self.reads: list[int] = []
        self.writes: list[tuple[int, int, int]] = []

    async def run(self, ctx: SimulatorContext) -> None:
        """Serve for ever; to be added as a process."""
        bus = self.bus
        aw = w = ar = None
        while True:
            for channel, item in (("aw", aw), ("w", w), ("ar", ar)):
                ready = item is None and self.rng.random() < self.often
                ctx.set(getattr(bus, f"{channel}ready"), ready)
            _, _, *seen = await ctx.tick().sample(
                bus.awvalid & bus.awready, bus.awaddr, bus.wvalid & bus.wready, bus.wdata,
                bus.wstrb, bus.arvalid & bus.arready, bus.araddr,
                bus.bvalid & bus.bready, bus.rvalid & bus.rready, bus.bvalid, bus.rvalid,
            )  # fmt: skip
            aw = seen[1] if seen[0] else aw
            w = (seen[3], seen[4]) if seen[2] else w
            ar = seen[6] if seen[5] else ar
            if seen[7]:
                ctx.set(bus.bvalid, 0)
            if seen[8]:
                ctx.set(bus.rvalid, 0)
            b_free, r_free = not seen[9] or seen[7], not seen[10] or seen[8]
            if aw is not None and w is not None and b_free and self.rng.random() < self.often:
                ctx.set(bus.bvalid, 1)
                ctx.set(bus.bresp, self._write(aw, *w))
                aw = w = None
            if ar is not None and r_free and self.rng.random() < self.often:
                known = ar + 4 <= len(self.data)
                self.reads.append(ar)
                data = self.data[ar : ar + 4] if known else b"\xee" * 4
                ctx.set(bus.rvalid, 1)
                ctx.set(bus.rdata, int.from_bytes(data, "little"))
                ctx.set(bus.rresp, 0 if known else 2)
                ar = None

    def _write(self, address: int, data: int, strobe: int) -> int:
        self.writes.append((address, data, strobe))
        if address + 4 > len(self.data):
            return 2
        for lane in range(4):
            if strobe >> lane & 1:
                self.data[address + lane] = data >> 8 * lane & 255
        return 0


def escaped(body: bytes) -> bytes:
    """A frame's bytes as they are sent, with END at both ends."""
    result = bytearray([END])
    for byte in body:
        pairs = {END: (ESCAPE, ESCAPED_END), ESCAPE: (ESCAPE, ESCAPED_ESCAPE)}
        result += bytes(pairs.get(byte, (byte,)))
    return bytes([*result, END])


def frame(request: int, sequence: int, address: int, length: int, data: bytes = b"") -> bytes:
    """A request with its CRC, as it is sent."""
    body = bytes([request, sequence, (length - 1) & 255]) + address.to_bytes(4, "little") + data
    return escaped(body + zlib.crc32(body).to_bytes(4, "little"))


def frames(received: bytes) -> Iterator[bytes]:
    """Answers in a string of bytes, without CRC, which must be right."""
    for part in received.split(bytes([END])):
        if part:
            body = part.replace(bytes([ESCAPE, ESCAPED_END]), bytes([END]))
            body = body.replace(bytes([ESCAPE, ESCAPED_ESCAPE]), bytes([ESCAPE]))
            assert zlib.crc32(body[:-4]) == int.from_bytes(body[-4:], "little")
            yield body[:-4]
