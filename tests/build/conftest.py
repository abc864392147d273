"""A small design with the ports of a board's top module."""

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Counter(wiring.Component):
    """Counts cycles."""

    o: Out(24)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.o + 1)
        return m


class Echo(wiring.Component):
    """Sends back what it receives, eight cycles later, and is busy now and then."""

    uart_rx: In(1)
    uart_tx: Out(1)
    busy: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.counter = counter = Counter()
        late = Signal(8)
        m.d.sync += late.eq(Cat(self.uart_rx, late))
        m.d.comb += [self.uart_tx.eq(late[-1]), self.busy.eq(counter.o[-1])]
        return m


@pytest.fixture
def echo() -> Echo:
    """Make the small design."""
    return Echo()
