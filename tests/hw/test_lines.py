"""Unaligned windows of two banks, at every address and length."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from systolith.hw.lines import bank_lines, place_mask, read_window, rotate_line, swapped_bytes
from systolith.sim.pysim import simulate


class Window(wiring.Component):
    """A window of two lines; a line rotated and its mask placed."""

    def __init__(self, line: int):
        self.line = line
        self.place_bits = (2 * line - 1).bit_length()
        super().__init__(
            {
                "even": In(8 * line), "odd": In(8 * line), "address": In(self.place_bits + 2),
                "mask": In(line), "window": Out(8 * line), "placed": Out(2 * line),
                "data": In(8 * line), "rotated": Out(8 * line),
                "even_line": Out(2), "odd_line": Out(2),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = self.address[: self.place_bits]
        even, odd = bank_lines(self.address, self.line)
        assert len(even) == len(odd) == 2
        swapped = swapped_bytes(place, self.line)
        m.d.comb += [
            self.window.eq(read_window(m, self.even, self.odd, swapped, place[:-1])),
            self.placed.eq(place_mask(self.mask, place, self.line)),
            self.rotated.eq(rotate_line(m, self.data, place[:-1])),
            self.even_line.eq(even), self.odd_line.eq(odd),
        ]  # fmt: skip
        m.d.sync += Signal().eq(1)
        return m


@pytest.mark.parametrize("line", [4, 8, 32])
def test_every_address(line: int) -> None:
    dut, rng = Window(line), np.random.default_rng(line)
    # Byte b of line q has the value of its address, in each of the 4 lines of both banks.
    size = 8 * line

    async def bench(ctx: SimulatorContext) -> None:
        for address in range(size):
            ctx.set(dut.address, address)
            lines = ctx.get(dut.even_line), ctx.get(dut.odd_line)
            for bank, (port, number) in enumerate(zip((dut.even, dut.odd), lines, strict=True)):
                start = (2 * number + bank) * line
                ctx.set(port, sum((start + i) % 256 << 8 * i for i in range(line)))
            want = sum((address + i) % size % 256 << 8 * i for i in range(line))
            assert ctx.get(dut.window) == want, address
            # Written through the mask, to both lines, the data is what the window would read.
            mask, data = rng.integers(0, 2, line), rng.integers(0, 256, line)
            ctx.set(dut.mask, sum(int(bit) << i for i, bit in enumerate(mask)))
            ctx.set(dut.data, int.from_bytes(data.astype(np.uint8).tobytes(), "little"))
            want = np.full(2 * line, -1)
            places = (address + np.flatnonzero(mask)) % (2 * line)
            want[places] = data[mask != 0]
            placed, rotated = ctx.get(dut.placed), ctx.get(dut.rotated)
            circle = rotated.to_bytes(line, "little") * 2
            got = [circle[i] if placed >> i & 1 else -1 for i in range(2 * line)]
            assert got == want.tolist(), address

    simulate(dut, bench)
