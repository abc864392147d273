"""Unaligned windows of two banks, at every address and length."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from systolith.hw.lines import bank_lines, read_window, rotate_in
from systolith.sim.pysim import simulate


class Window(wiring.Component):
    """A window of two lines, and a rotated value."""

    def __init__(self, line: int, unit: int):
        self.line, self.unit = line, unit
        self.place_bits = (2 * line - 1).bit_length()
        super().__init__(
            {
                "even": In(8 * line), "odd": In(8 * line), "address": In(self.place_bits + 2),
                "value": In(unit * line), "window": Out(8 * line), "circle": Out(2 * line * unit),
                "even_line": Out(2), "odd_line": Out(2),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = self.address[: self.place_bits]
        even, odd = bank_lines(self.address, self.line)
        assert len(even) == len(odd) == 2
        m.d.comb += [
            self.window.eq(read_window(m, self.even, self.odd, place, self.line)),
            self.circle.eq(rotate_in(self.value, place, self.unit, self.line)),
            self.even_line.eq(even), self.odd_line.eq(odd),
        ]  # fmt: skip
        m.d.sync += Signal().eq(1)
        return m


@pytest.mark.parametrize("line", [4, 8, 32])
@pytest.mark.parametrize("unit", [1, 8])
def test_every_address(line: int, unit: int) -> None:
    dut = Window(line, unit)
    # Byte b of line q has the value of its address, in each of the 4 lines of both banks.
    size = 8 * line
    values = [(7 * i + 1) % (1 << unit) for i in range(line)]

    async def bench(ctx: SimulatorContext) -> None:
        for address in range(size):
            ctx.set(dut.address, address)
            lines = ctx.get(dut.even_line), ctx.get(dut.odd_line)
            for bank, (port, number) in enumerate(zip((dut.even, dut.odd), lines, strict=True)):
                start = (2 * number + bank) * line
                ctx.set(port, sum((start + i) % 256 << 8 * i for i in range(line)))
            want = sum((address + i) % size % 256 << 8 * i for i in range(line))
            assert ctx.get(dut.window) == want, address
            ctx.set(dut.value, sum(v << unit * i for i, v in enumerate(values)))
            places = [(address + i) % (2 * line) for i in range(line)]
            want = sum(v << unit * p for v, p in zip(values, places, strict=True))
            assert ctx.get(dut.circle) == want, address

    simulate(dut, bench)
