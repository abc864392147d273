"""The UART bridge in brief, in Amaranth's simulator; tests/cocotb/uart_bench.py has the rest."""

import zlib

from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.uart_bridge import UartBridge
from systolith.sim.lite_memory import LiteMemory
from systolith.spec.bus import BAUD_FRACTION
from systolith.spec.uart import END, UartRequest, UartStatus

CYCLES = 4


def request(kind: int, sequence: int, address: int, length: int, data: bytes = b"") -> bytes:
    """A frame of bytes none of which needs an escape."""
    body = bytes([kind, sequence, length - 1, address, 0, 0, 0]) + data
    frame = body + zlib.crc32(body).to_bytes(4, "little")
    assert not set(frame) & {0xC0, 0xDB}
    return bytes([END]) + frame + bytes([END])


def test_a_write_a_damaged_one_and_a_read() -> None:
    bridge = UartBridge(CYCLES << BAUD_FRACTION)
    memory, received = LiteMemory(bridge.bus, 64), bytearray()

    async def send(ctx: SimulatorContext, data: bytes) -> None:
        for byte in data:
            for bit in (0, *(byte >> k & 1 for k in range(8)), 1):
                ctx.set(bridge.rx, bit)
                await ctx.tick().repeat(CYCLES)
        await ctx.tick().repeat(14 * 10 * CYCLES)

    async def listen(ctx: SimulatorContext) -> None:
        while True:
            *_, level = await ctx.tick().sample(bridge.tx)
            if level:
                continue
            byte = 0
            for bit in range(9):
                await ctx.tick().repeat(CYCLES if bit else CYCLES // 2)
                byte |= ctx.get(bridge.tx) << bit
            received.append(byte >> 1)
            await ctx.tick().repeat(CYCLES)

    async def bench(ctx: SimulatorContext) -> None:
        write = request(UartRequest.WRITE, 1, 6, 3, b"abc")
        await send(ctx, write.replace(b"abc", b"abd"))
        assert received[1:3] == bytes([UartStatus.DAMAGED, 0]) and not memory.writes
        received.clear()
        await send(ctx, write)
        assert received[1:3] == bytes([UartStatus.OK, 1])
        assert [w[0] for w in memory.writes] == [4, 8] and memory.data[5:10] == b"\0abc\0"
        received.clear()
        await send(ctx, request(UartRequest.READ, 2, 5, 4))
        assert received[1:7] == bytes([UartStatus.OK, 2]) + b"\0abc"
        assert received[7:11] == zlib.crc32(received[1:7]).to_bytes(4, "little")

    simulator = Simulator(bridge)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.add_testbench(listen, background=True)
    simulator.add_testbench(memory.run, background=True)
    simulator.run()
