import itertools

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from systolith.sim.binding import SimulationError
from systolith.sim.pysim import PATTERNS, run_streams

PAYLOADS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]


class Buffer(Component):
    """A register between two streams; `fault` makes it lose, repeat or hang."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    step: In(4)

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        free = ~self.o.valid | self.o.ready
        ready = {"": free, "loses": 1, "repeats": free, "hangs": ~self.o.valid & 0}[self.fault]
        m.d.comb += self.i.ready.eq(ready)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [self.o.payload.eq(self.i.payload + self.step), self.o.valid.eq(1)]
        if self.fault != "repeats":
            with m.Elif(self.o.ready):
                m.d.sync += self.o.valid.eq(0)
        return m


@pytest.mark.parametrize(("idle", "backpressure"), list(itertools.product(PATTERNS, PATTERNS)))
def test_all_patterns(idle: str, backpressure: str) -> None:
    result = run_streams(
        Buffer(),
        {"i": PAYLOADS},
        {"o": len(PAYLOADS)},
        idle=idle,
        backpressure=backpressure,
        seed=5,
        constants={"step": 2},
    )
    assert result == {"o": [value + 2 for value in PAYLOADS]}


@pytest.mark.parametrize("fault", ["loses", "repeats", "hangs"])
def test_faults_are_found(fault: str) -> None:
    with pytest.raises(SimulationError, match=r"^stream o must give 11 payloads, not \d+ \(idle"):
        run_streams(Buffer(fault), {"i": PAYLOADS}, {"o": 11}, backpressure="random", limit=300)


def test_left_over_input_is_found() -> None:
    with pytest.raises(SimulationError, match=r"^stream(s must take all|.* must give 0 payloads)"):
        run_streams(Buffer("hangs"), {"i": [1]}, {"o": 0}, limit=50)
