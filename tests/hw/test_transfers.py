"""Whole accelerators with external memory: random programs, errors, the watchdog."""

from dataclasses import replace

import numpy as np
import pytest

from systolith.errors import ToolError
from systolith.hw.top import Accelerator
from systolith.sim.accelerator import accelerator_model, axi_read, axi_write
from systolith.sim.dut import Dut
from systolith.sim.emit import lint, readable_verilog
from systolith.sim.external import MemoryTiming
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.pysim_backend import PysimBackend
from systolith.sim.stress import random_inputs
from systolith.sim.stress_external import random_external_program, random_external_spec
from systolith.sim.toolchain import find_compiler, find_verilator
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, Unit, encode
from systolith.spec.registers import REGISTERS, ErrorCode

OFFSET = {register.name: register.offset for register in REGISTERS}
TIMINGS = (
    MemoryTiming(latency=1),
    MemoryTiming(),
    MemoryTiming(latency=7, stalls=1, bandwidth=0.7, base=0x1234_5000),
    MemoryTiming(latency=30, stalls=2, base=0xFFFF_0000),
)
SPEC = AcceleratorSpec(
    array=ArraySpec(rows=4, columns=4),
    memory=MemorySpec(
        activation_regions=1, activation_bytes=4096, weight_bytes=256, accumulator_depth=8,
        parameter_channels=8, command_words=512, tables=0, stamps=2,
    ),
    post=PostSpec(lanes=1),
    external=ExternalSpec(data_bytes=4, burst_beats=8, outstanding=2),
)  # fmt: skip


SMALL = random_external_spec(np.random.default_rng(14), 4)


def need(*tools) -> None:
    for tool in tools:
        try:
            tool()
        except ToolError as error:
            pytest.skip(str(error))


def check(backend, spec: AcceleratorSpec, seed: int) -> dict[str, int]:
    """Run a random program, compare all activations and what it saved; return the counters."""
    rng = np.random.default_rng(seed)
    program = random_external_program(rng, spec)
    inputs = random_inputs(rng, program)
    want = GoldenBackend().run(program, inputs).tensors
    result = backend.run(program, inputs)
    for name, tensor in want.items():
        np.testing.assert_array_equal(result.tensors[name], tensor, err_msg=f"{seed}: {spec}")
    assert any((want[name] != inputs[name]).any() for name in want)
    return dict(result.counters)


@pytest.mark.parametrize("data_bytes", [4, 8, 16, 32])
def test_lint(data_bytes: int) -> None:
    need(find_verilator)
    spec = random_external_spec(np.random.default_rng(data_bytes), data_bytes)
    assert lint(readable_verilog(Accelerator(spec), "accelerator"), "accelerator") == []


def test_nothing_of_it_without_external_memory() -> None:
    accelerator = Accelerator(replace(SPEC, external=ExternalSpec()))
    assert not hasattr(accelerator, "memory")
    text = readable_verilog(accelerator, "accelerator")
    assert "memory__" not in text and "external" not in text


@pytest.mark.parametrize("seed", [2])
def test_random_programs_in_pysim(seed: int) -> None:
    """Every cycle of the bus is checked against the protocol."""
    spec = random_external_spec(np.random.default_rng(seed), 8)
    counters = check(PysimBackend(memory=TIMINGS[2]), spec, seed)
    assert counters["load_beats"] and counters["save_beats"]
    assert counters["load_busy"] and counters["save_busy"]


@pytest.mark.parametrize(
    ("data_bytes", "seed"),
    [
        (4, 1),
        *(pytest.param(d, s, marks=pytest.mark.slow) for d in (4, 8, 16, 32) for s in (2, 3)),
    ],
)
def test_random_programs(data_bytes: int, seed: int) -> None:
    """One accelerator, many programs, in Verilator, with an ideal memory and a bad one."""
    need(find_verilator, find_compiler)
    spec = random_external_spec(np.random.default_rng(10 * seed + data_bytes), data_bytes)
    assert data_bytes > 4 or seed > 1 or spec == SMALL  # which is built for other tests too
    for timing in TIMINGS:
        backend = VerilatorBackend(memory=timing)
        for k in range(25):
            check(backend, spec, 1000 * seed + k)


@pytest.mark.parametrize("timing", [MemoryTiming(latency=9), MemoryTiming(bandwidth=0.3)])
def test_both_simulators_agree(timing: MemoryTiming) -> None:
    """Every counter: the memory of Verilator and that of Amaranth's simulator are the same."""
    need(find_verilator, find_compiler)
    program = random_external_program(np.random.default_rng(3), SMALL, layers=2)
    inputs = random_inputs(np.random.default_rng(3), program)
    results = [b(memory=timing).run(program, inputs) for b in (VerilatorBackend, PysimBackend)]
    assert results[0].counters == results[1].counters
    assert results[0].counters["load_beats"] > 0


class Machine:
    """An accelerator that is not reset between its runs."""

    def __init__(self) -> None:
        need(find_verilator, find_compiler)
        self.dut = Dut(accelerator_model(SPEC), name="accelerator")
        self.rng = np.random.default_rng(5)
        self.external = self.rng.integers(0, 256, 8192).astype(np.uint8)

    def run(self, commands: list[int], *, watchdog: int = 0, limit: int = 20_000) -> ErrorCode:
        """Run commands from word 0."""
        words = np.array(commands + encode(Opcode.END), "<u4")
        self.dut.memory("fetch.memory").bytes[: len(words)] = words.view(np.uint8).reshape(-1, 4)
        axi_write(self.dut, OFFSET["watchdog"], watchdog)
        axi_write(self.dut, OFFSET["control"], 1)
        self.dut.run(limit, until="busy", value=0)
        error = ErrorCode(axi_read(self.dut, OFFSET["error"]))
        assert axi_read(self.dut, OFFSET["status"]) == (0b110 if error else 0b010)
        return error

    def copy(self) -> None:
        """External bytes to the chip and back: 3000 from 100 to 4500; the rest must stay."""
        self.external[:] = self.rng.integers(0, 256, len(self.external))
        want = self.external.copy()
        want[4500:7500] = want[100:3100]
        load = encode(Opcode.LOAD, e_base=100, m_base=7, length=3000, signal=1 << Unit.SAVE)
        save = encode(Opcode.SAVE, e_base=4500, m_base=7, length=3000, wait=1 << Unit.LOAD)
        assert self.run(load + save) is ErrorCode.NONE
        np.testing.assert_array_equal(self.external, want)


LOAD = encode(Opcode.LOAD, e_base=100, m_base=7, length=3000)
SAVE = encode(Opcode.SAVE, e_base=100, m_base=7, length=3000)


@pytest.mark.parametrize("stalls", [None, 4])
def test_errors(stalls: int | None) -> None:
    """Errors of reads and writes, of alignment and of the program; a good run after each."""
    machine = Machine()
    memory, bad = machine.external, MemoryTiming(latency=20, stalls=stalls, error_address=1500)
    good = MemoryTiming(latency=20, stalls=stalls)
    unaligned = encode(Opcode.LOAD, e_base=102, target=1, length=64)
    for commands, error in (
        (LOAD, ErrorCode.READ), (SAVE, ErrorCode.WRITE), (LOAD + SAVE, ErrorCode.READ),
        (SAVE + LOAD, ErrorCode.WRITE), (unaligned, ErrorCode.ALIGNMENT),
        (LOAD + [15], ErrorCode.OPCODE), (SAVE + [15], ErrorCode.OPCODE),
        (encode(Opcode.LOAD, e_base=9000, length=4), ErrorCode.READ),
    ):  # fmt: skip
        machine.dut.connect_memory("memory__", memory, bad)
        got = machine.run(commands)
        both = (ErrorCode.READ, ErrorCode.WRITE)
        assert got in both if len(commands) == len(LOAD + SAVE) else got is error
        # The run ended with a quiet bus: another memory may take the place of this one.
        machine.dut.connect_memory("memory__", memory, good)
        machine.copy()


def test_watchdog() -> None:
    machine = Machine()
    dut, memory = machine.dut, machine.external
    dut.connect_memory("memory__", memory, MemoryTiming())
    assert machine.run(LOAD, watchdog=100) is ErrorCode.TIMEOUT
    assert axi_read(dut, OFFSET["cycles"]) == 102
    machine.copy()
    # Units that wait for ever.
    assert machine.run(encode(Opcode.FILL, wait=4), watchdog=500) is ErrorCode.TIMEOUT
    machine.copy()
    # A slow bus: what comes late is not mistaken for data of the next run.
    slow = MemoryTiming(latency=3000)
    dut.connect_memory("memory__", memory, slow)
    for commands in (LOAD, SAVE, LOAD + SAVE):
        assert machine.run(commands, watchdog=200) is ErrorCode.TIMEOUT
        save = encode(Opcode.SAVE, e_base=6000, m_base=9, length=8, wait=1 << Unit.LOAD)
        load = encode(Opcode.LOAD, e_base=64, m_base=9, length=8, signal=1 << Unit.SAVE)
        memory[6000:6008] = 0
        assert machine.run(load + save) is ErrorCode.NONE
        assert (memory[6000:6008] == memory[64:72]).all()
    # A bus that never answers needs a reset.
    dut.connect_memory("memory__", memory, MemoryTiming(latency=1 << 30))
    assert machine.run(LOAD + SAVE, watchdog=300) is ErrorCode.TIMEOUT
    assert axi_read(dut, OFFSET["cycles"]) == 302
    dut.connect_memory("memory__", memory, MemoryTiming())
    assert machine.run(LOAD, watchdog=300) is ErrorCode.TIMEOUT
    dut.reset()
    machine.copy()
