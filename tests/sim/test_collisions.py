"""A memory that gives garbage for what is written in the same cycle, and for nothing else."""

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module
from amaranth.lib import wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.sim.collisions import PREFIX, colliding_verilog
from systolith.sim.dut import Dut
from systolith.sim.emit import run_yosys, to_rtlil
from systolith.sim.netlist import reads_apart
from systolith.sim.verilator import build_model


class Bytes(wiring.Component):
    """Eight words of two bytes, each with its enable; a read with an enable, one without a clock.

    Parameters
    ----------
    transparent: what is written can be read in the same cycle.
    """

    def __init__(self, *, transparent: bool = False):
        self.transparent = transparent
        super().__init__(
            {
                "i_read": In(3), "i_enable": In(1), "i_write": In(3), "i_parts": In(2),
                "i_data": In(16), "o": Out(16), "o_now": Out(16),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.kept = memory = Memory(shape=16, depth=8, init=range(8))
        write = memory.write_port(granularity=8)
        read = memory.read_port(transparent_for=(write,) if self.transparent else ())
        now = memory.read_port(domain="comb")
        m.d.comb += [
            read.addr.eq(self.i_read), read.en.eq(self.i_enable), self.o.eq(read.data),
            write.addr.eq(self.i_write), write.data.eq(self.i_data), write.en.eq(self.i_parts),
            now.addr.eq(self.i_read), self.o_now.eq(now.data),
        ]  # fmt: skip
        return m


@pytest.mark.usefixtures("compiler")
def test_what_is_written_reads_as_garbage() -> None:
    """3,000 cycles against a model in Python: bytes that are written differ, and they alone."""
    text = colliding_verilog(Bytes())
    dut = Dut(build_model(text, public=[f"{PREFIX}*"]))
    rng = np.random.default_rng(3)
    words, wanted, known, met, different = list(range(8)), 0, 0xFFFF, 0, 0
    dut.clock.tick()  # the first word is read
    for _ in range(3000):
        read, write, parts, data = (int(rng.integers(n)) for n in (8, 8, 4, 1 << 16))
        enable = bool(rng.random() < 0.7)
        dut.io["i_read"], dut.io["i_enable"], dut.io["i_write"] = read, enable, write
        dut.io["i_parts"], dut.io["i_data"] = parts, data
        mask = sum(0xFF << 8 * n for n in range(2) if parts >> n & 1)
        if enable:
            hit = mask if read == write else 0
            wanted, known = words[read], 0xFFFF & ~hit
            met += bool(hit)
        assert dut.io["o_now"] == words[read]
        words[write] = words[write] & ~mask | data & mask
        dut.clock.tick()
        assert dut.io["o"] & known == wanted & known
        different += dut.io["o"] != wanted
    assert met > 200
    assert different > 0.9 * met
    (counter,) = dut.internals
    assert dut.internals[counter] == met


def test_transparent_reads_and_those_without_a_clock_stay() -> None:
    assert reads_apart(to_rtlil(Bytes())).count("COLLISION_X_MASK 1'1") == 1
    assert "COLLISION_X_MASK 1'1" not in reads_apart(to_rtlil(Bytes(transparent=True)))


class Crossing(wiring.Component):
    """A queue between two clocks: its memory has one for each of its ports."""

    def __init__(self) -> None:
        super().__init__({"other": In(1), "i": In(8), "push": In(1), "o": Out(8), "pop": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.other = ClockDomain(reset_less=True)
        m.submodules.queue = queue = AsyncFIFO(width=8, depth=16, r_domain="sync", w_domain="other")
        m.d.comb += [
            ClockSignal("other").eq(self.other), queue.w_data.eq(self.i), self.o.eq(queue.r_data),
            queue.w_en.eq(self.push), queue.r_en.eq(self.pop),
        ]  # fmt: skip
        return m


def test_ports_of_two_clocks_stay() -> None:
    """Yosys ends with an assertion if such ports are said to collide."""
    text = to_rtlil(Crossing())
    assert "$memrd_v2" in text
    assert reads_apart(text) == text


def test_no_logic_is_left_around_a_block_ram() -> None:
    """A memory of 32 bits on an ECP5: a block, and neither look-up tables nor flip-flops."""

    class Words(wiring.Component):
        def __init__(self) -> None:
            super().__init__(
                {"i_read": In(9), "i_write": In(9), "i_enable": In(1), "i": In(32), "o": Out(32)}
            )

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.kept = memory = Memory(shape=32, depth=512, init=[])
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [
                read.addr.eq(self.i_read), self.o.eq(read.data), write.en.eq(self.i_enable),
                write.addr.eq(self.i_write), write.data.eq(self.i),
            ]  # fmt: skip
            return m

    def cells(text: str) -> set[str]:
        passes = ["synth_ecp5 -top top", "write_verilog -noattr o.v"]
        netlist = run_yosys(text, passes, outputs=["o.v"])["o.v"]
        return {kind for kind in ("LUT4", "TRELLIS_FF", "DP16KD") if f"  {kind} " in netlist}

    plain = to_rtlil(Words())
    assert cells(plain) == {"LUT4", "TRELLIS_FF", "DP16KD"}
    assert cells(reads_apart(plain)) == {"DP16KD"}
