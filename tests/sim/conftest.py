"""A small design with what is awkward in simulation, and comparisons of random programs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Assert, Module, Signal, signed
from amaranth.lib import stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from systolith.sim.backend import Backend
from systolith.sim.dut import Dut
from systolith.sim.golden_backend import GoldenBackend
from systolith.sim.stress import random_inputs
from systolith.sim.toolchain import find_compiler
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.program import Program


class Accumulate(Component):
    """acc += x, with the sum as a signed output."""

    x: In(signed(8))
    total: Out(signed(16))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        acc = Signal(signed(16))
        m.d.sync += acc.eq(acc + self.x)
        m.d.comb += self.total.eq(acc)
        return m


class Mixed(Component):
    """Two accumulators, a memory with a ROM, a wide register and a stream with a table."""

    x: In(signed(8))
    address: In(6)
    write: In(1)
    word: In(24)
    read: Out(24)
    total: Out(signed(17))
    wide: In(100)
    wide_sum: Out(100)
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.plus = plus = Accumulate()
        m.submodules.minus = minus = Accumulate()
        m.d.comb += [plus.x.eq(self.x), minus.x.eq(self.x ^ 85)]
        m.d.comb += self.total.eq(plus.total - minus.total)
        m.submodules.store = store = Memory(shape=24, depth=64, init=[])
        m.submodules.table = table = Memory(shape=8, depth=64, init=[7, 5, 3])
        read, write, look = store.read_port(), store.write_port(), table.read_port(domain="comb")
        m.d.comb += [read.addr.eq(self.address), write.addr.eq(self.address ^ 1)]
        m.d.comb += [write.en.eq(self.write), write.data.eq(self.word), self.read.eq(read.data)]
        m.d.sync += self.wide_sum.eq(self.wide_sum + self.wide)
        m.d.comb += [look.addr.eq(self.i.payload), self.i.ready.eq(~self.o.valid | self.o.ready)]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += self.o.payload.eq(self.i.payload + look.data)
        m.d.sync += Assert(self.word != 0xBAD, "word is bad")
        return m


@pytest.fixture
def mixed() -> Mixed:
    return Mixed()


@pytest.fixture
def dut(mixed: Mixed, compiler: None) -> Dut:
    return Dut.build(mixed, public=["plus.*"])


@pytest.fixture
def logging_compiler(tmp_path: Path, compiler: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$CXX that notes every call in the returned file, with a cache of its own."""
    log = tmp_path / "calls.log"
    script = tmp_path / "logging-c++"
    real = shutil.which(find_compiler().command[0])
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path / "cache"))
    return log


@pytest.fixture(scope="module")
def verilator() -> VerilatorBackend:
    return VerilatorBackend()


@pytest.fixture(scope="session")
def agree(as_predicted: Callable[..., None]) -> Callable[[Backend, Program, int], dict[str, int]]:
    """Run a random program; compare all activations with golden, counters with the cycle model."""

    def check(backend: Backend, program: Program, seed: int) -> dict[str, int]:
        inputs = random_inputs(np.random.default_rng(seed), program)
        wanted = GoldenBackend().run(program, inputs).tensors
        result = backend.run(program, inputs)
        assert any((wanted[name] != inputs[name]).any() for name in wanted), f"seed {seed}"
        for name, value in wanted.items():
            np.testing.assert_array_equal(result.tensors[name], value, f"seed {seed}: {name}")
        as_predicted(program, result, f"seed {seed}")
        return dict(result.counters)

    return check
