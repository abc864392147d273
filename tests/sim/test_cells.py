"""Our models of cells: memories made of them are the memories that were described."""

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from systolith.hw.technology import Technology
from systolith.sim.binding import Model
from systolith.sim.cells import cell_models, own_models
from systolith.sim.dut import Dut
from systolith.sim.emit import simulation_verilog
from systolith.sim.netlist import synthesise, with_models
from systolith.sim.verilator import build_model

pytestmark = pytest.mark.usefixtures("compiler")
CYCLES = 20_000
SHAPES = [(2048, 8, 8), (1024, 32, 8), (512, 36, 36), (4096, 12, 12), (700, 64, 16), (64, 8, 8)]
"""Words, bits, bits written at a time."""
NAMES = {
    Technology.ECP5: {"DP16KD", "TRELLIS_DPR16X4"},
    Technology.GOWIN: {"SDPX9B", "DPB", "DPX9B", "RAM16SDP4"},
    Technology.ICE40: {"SB_RAM40_4K"},
    Technology.XILINX7: {"RAMB18E1", "RAMB36E1", "RAM64M"},
}


class Memories(wiring.Component):
    """Memories of all shapes, at the same addresses: one port to write, one to read."""

    def __init__(self) -> None:
        self.bits = sum(width for _, width, _ in SHAPES)
        self.enables = sum(width // part for _, width, part in SHAPES)
        super().__init__(
            {
                "i_read": In(12), "i_enable": In(1), "i_write": In(12),
                "i_parts": In(self.enables), "i_data": In(self.bits), "o": Out(self.bits),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        data, parts, outputs = self.i_data, self.i_parts, []
        for n, (depth, width, part) in enumerate(SHAPES):
            m.submodules[f"memory{n}"] = memory = Memory(shape=width, depth=depth, init=[])
            read, write = memory.read_port(), memory.write_port(granularity=part)
            m.d.comb += [
                read.addr.eq(self.i_read), read.en.eq(self.i_enable),
                write.addr.eq(self.i_write), write.data.eq(data[:width]),
                write.en.eq(parts[: width // part]),
            ]  # fmt: skip
            data, parts = data[width:], parts[width // part :]
            outputs.append(read.data)
        m.d.comb += self.o.eq(Cat(*outputs))
        return m


def stimuli(rng: np.random.Generator, memories: Memories) -> dict[str, np.ndarray]:
    """Few addresses that memories of all depths have, so that accesses often meet."""
    pool = np.concatenate([rng.integers(0, 40, 8), 64 * rng.integers(0, 8, 8), [39, 511]])
    bits = {
        name: (rng.choice(pool, CYCLES)[:, None] >> np.arange(12) & 1).astype(bool)
        for name in ("i_read", "i_write")
    }
    bits["i_enable"] = rng.random((CYCLES, 1)) < 0.7
    bits["i_parts"] = rng.random((CYCLES, memories.enables)) < 0.5
    bits["i_data"] = rng.random((CYCLES, memories.bits)) < 0.5
    return {name: np.packbits(b, axis=1, bitorder="little") for name, b in bits.items()}


def outputs(text: str, ports: dict[str, np.ndarray]) -> np.ndarray:
    """`o` of every cycle, as bytes."""
    model = Model(build_model(text, jobs=1, quick=True))
    raw = {}
    for name, octets in ports.items():
        padding = model.variables[name].word_bytes - octets.shape[1]
        raw[name] = np.pad(octets, ((0, 0), (0, padding)))
    o = np.zeros((CYCLES, model.variables["o"].word_bytes), np.uint8)
    assert model.drive(CYCLES, raw, {"o": o}) == CYCLES
    return o


@pytest.mark.parametrize(
    "technology",
    [
        pytest.param(t, marks=pytest.mark.slow) if t is Technology.ICE40 else t  # minutes
        for t in NAMES
    ],
)
def test_memories(technology: Technology) -> None:
    """20,000 cycles, in which reads often meet writes: what was there before is read."""
    netlist = synthesise(Memories(), technology, apart=False)
    assert NAMES[technology] <= set(netlist.replace("(", " ").split())
    memories = Memories()
    ports = stimuli(np.random.default_rng(11), memories)
    wanted = outputs(simulation_verilog(memories), ports)
    assert wanted.any()
    np.testing.assert_array_equal(outputs(with_models(netlist, technology), ports), wanted)


class OnePort(wiring.Component):
    """A memory of 32,768 words of 32 bits with one address, read whenever it is not written."""

    def __init__(self) -> None:
        super().__init__(
            {
                "i_address": In(15),
                "i_parts": In(4),
                "i_data": In(32),
                "o": Out(32),
                "o_read": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.kept = memory = Memory(shape=32, depth=32768, init=[])
        read, write = memory.read_port(), memory.write_port(granularity=8)
        m.d.comb += [
            read.addr.eq(self.i_address), read.en.eq(~self.i_parts.any()), self.o.eq(read.data),
            write.addr.eq(self.i_address), write.data.eq(self.i_data), write.en.eq(self.i_parts),
        ]  # fmt: skip
        m.d.sync += self.o_read.eq(read.en)
        return m


@pytest.mark.slow
def test_a_memory_of_one_port() -> None:
    """Four SB_SPRAM256KA, which begin with anything: what was written is read, 20,000 cycles."""
    netlist = synthesise(OnePort(), Technology.ICE40)
    assert netlist.count("SB_SPRAM256KA") == 4
    dut = Dut(build_model(with_models(netlist, Technology.ICE40), jobs=1, quick=True))
    rng, words, compared = np.random.default_rng(12), {}, 0
    for address in (pool := rng.integers(0, 1 << 15, 24).tolist()):
        words[address] = int(rng.integers(1 << 32))
        dut.io["i_address"], dut.io["i_parts"], dut.io["i_data"] = address, 15, words[address]
        dut.clock.tick()
    for _ in range(CYCLES):
        address, data = int(rng.choice(pool)), int(rng.integers(1 << 32))
        parts = int(rng.integers(16)) if rng.random() < 0.5 else 0
        dut.io["i_address"], dut.io["i_parts"], dut.io["i_data"] = address, parts, data
        dut.clock.tick()
        mask = sum(0xFF << 8 * n for n in range(4) if parts >> n & 1)
        words[address] = words[address] & ~mask | data & mask
        if dut.io["o_read"]:
            assert dut.io["o"] == words[address]
            compared += 1
    assert compared > CYCLES // 3


def test_models_bring_those_they_are_made_of() -> None:
    text = cell_models("module top; DP16KD ram (); endmodule")
    assert "module systolith_block_ram" in text
    assert "module MULT18X18D" not in text
    assert cell_models("module top; endmodule") == ""


def test_own_models() -> None:
    multipliers = {"MULT18X18D", "MULT9X9", "MULT18X18"}
    memories = {"DP16KD", "RAMB18E1", "RAMB36E1", "SB_RAM40_4K", "SB_SPRAM256KA"}
    memories |= {"SDPX9B", "DPB", "DPX9B"}
    assert set(own_models()) == multipliers | memories
