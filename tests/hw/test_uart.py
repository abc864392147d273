"""Receiver and transmitter, one behind the other: all bytes, rates that differ, bad characters."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator, SimulatorContext

from systolith.hw.uart import UartReceiver, UartTransmitter
from systolith.spec.bus import BAUD_FRACTION

ONE = 1 << BAUD_FRACTION


class Line(wiring.Component):
    """A transmitter, a line, and a receiver."""

    i_valid: In(1)
    i_ready: Out(1)
    i_data: In(8)
    o_valid: Out(1)
    o_data: Out(8)

    def __init__(self, send: int, receive: int) -> None:
        super().__init__()
        self.send, self.receive = UartTransmitter(send), UartReceiver(receive)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.send, m.submodules.receive = self.send, self.receive
        m.d.comb += [
            self.receive.rx.eq(self.send.tx), self.send.i_valid.eq(self.i_valid),
            self.i_ready.eq(self.send.i_ready), self.send.i_data.eq(self.i_data),
            self.o_valid.eq(self.receive.o_valid), self.o_data.eq(self.receive.o_data),
        ]  # fmt: skip
        return m


def received(line: Line, data: bytes, cycles: int) -> bytes:
    simulator, result = Simulator(line), bytearray()
    simulator.add_clock(1e-8)

    async def send(ctx: SimulatorContext) -> None:
        for byte in data:
            ctx.set(line.i_data, byte)
            ctx.set(line.i_valid, 1)
            await ctx.tick().until(line.i_ready)
            ctx.set(line.i_valid, 0)
        await ctx.tick().repeat(cycles)

    async def listen(ctx: SimulatorContext) -> None:
        async for *_, valid, byte in ctx.tick().sample(line.o_valid, line.o_data):
            if valid:
                result.append(byte)

    simulator.add_testbench(send)
    simulator.add_testbench(listen, background=True)
    simulator.run()
    return bytes(result)


@pytest.mark.parametrize("period", [4 * ONE, 4 * ONE + 85, 9 * ONE + 1])
@pytest.mark.parametrize("percent", [-2.4, 0, 2.4])
def test_bytes_arrive(period: int, percent: float) -> None:
    """Back to back, at rates that differ by what is allowed."""
    other = max(4 * ONE, round(period * (1 + percent / 100)))
    data = bytes([0, 255, 0x55, 0xAA, 1, 128, *range(3, 250, 31)])
    assert received(Line(other, period), data, 20 * period // ONE) == data


@pytest.mark.slow
@pytest.mark.parametrize("period", [4 * ONE, 6 * ONE + 171, 16 * ONE + 171])
def test_all_bytes(period: int) -> None:
    data = bytes(range(256))
    assert received(Line(period, period), data, 20 * period // ONE) == data


def test_bad_characters() -> None:
    """A glitch is nothing, a character without stop bit and a break are one error each."""
    receiver = UartReceiver(8 * ONE)
    events: list[str] = []

    async def bench(ctx: SimulatorContext) -> None:
        async def level(value: int, cycles: int) -> None:
            ctx.set(receiver.rx, value)
            for _ in range(cycles):
                *_, valid, error = await ctx.tick().sample(receiver.o_valid, receiver.o_error)
                events.extend(["byte"] * valid + ["error"] * error)

        await level(1, 20)
        await level(0, 2)  # a glitch
        await level(1, 100)
        assert events == []
        await level(0, 8 * 10)  # no stop bit
        await level(1, 100)
        assert events == ["error"]
        await level(0, 1000)  # a break
        await level(1, 100)
        assert events == ["error", "error"]
        await level(0, 8)
        await level(1, 100)
        assert events == ["error", "error", "byte"] and ctx.get(receiver.o_data) == 255

    simulator = Simulator(receiver)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("kind", [UartReceiver, UartTransmitter])
def test_periods(kind: type) -> None:
    with pytest.raises(ValueError, match="period must be between 4 and 2\\*\\*20 clock cycles"):
        kind(4 * ONE - 1)


def test_the_line_is_high_at_rest() -> None:
    transmitter = UartTransmitter(4 * ONE)

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(20):
            assert ctx.get(transmitter.tx)
            await ctx.tick()

    simulator = Simulator(transmitter)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
