"""The cycle model on compiled networks: every counter and the time stamp of every layer.

By default the embedded network, on chip and from external memory, and real networks on the stream
preset; real ones on chip or with a memory that stalls, and more accelerators, with

    pytest -m slow tests/cycles/test_networks.py
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.cycles import MemoryModel, predict
from systolith.errors import ToolError
from systolith.importers import load_model
from systolith.sim.external import MemoryTiming
from systolith.sim.toolchain import find_compiler
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec, ExternalSpec
from systolith.spec.configuration import PRESETS, preset_for_array
from systolith.spec.program import Program
from systolith.verify.samples import default_model

NETWORKS = {
    "hello_world": 363,
    "micro_speech": 8_502,
    "autoencoder": 18_025,
    "dscnn": 13_295,
    "mobilenetv1_vww": 42_942,
    "resnet8": 50_181,
}
"""Most cycles on the stream preset with a memory of 16 cycles that does not stall."""
MEMORIES = (MemoryModel(), MemoryModel(latency=1), MemoryModel(latency=200, bandwidth=0.25))
STALLS = 0.25
"""Share of cycles in which each channel of a `MemoryTiming` with stalls stands still."""


def streamed(rows: int, columns: int, kib: int, **bus: int) -> AcceleratorSpec:
    """An array whose memories hold a part of the embedded network only."""
    base = preset_for_array(rows, columns)
    unit = rows * columns
    memory = replace(
        base.memory, activation_regions=2, activation_bytes=kib * 1024,
        weight_bytes=-(-4096 // unit) * unit, command_words=512,
    )  # fmt: skip
    return replace(base, memory=memory, external=ExternalSpec(**bus))


SPECS = {
    "4x4": streamed(4, 4, 2, data_bytes=4),
    "5x6": streamed(5, 6, 4, data_bytes=8, burst_beats=4, outstanding=2),
    "8x8": streamed(8, 8, 2, data_bytes=8, burst_beats=256, outstanding=1),
}


def compiled(path: Path, spec: AcceleratorSpec) -> Program:
    return compile_graph(load_model(path), spec).program


def random_inputs(program: Program) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    buffers = {name: program.buffers[name] for name in program.inputs}
    return {n: rng.integers(0, 100, b.shape).astype(b.dtype) for n, b in buffers.items()}


def test_embedded_network(agree: Callable) -> None:
    program = compiled(default_model(), preset_for_array(4, 4))
    agree(program, random_inputs(program), "embedded network")


@pytest.mark.parametrize(
    "name", ["4x4", *(pytest.param(n, marks=pytest.mark.slow) for n in SPECS if n != "4x4")]
)
def test_streamed_network(agree: Callable, name: str) -> None:
    program = compiled(default_model(), SPECS[name])
    assert program.external_bytes and program.layers
    for memory in MEMORIES:
        result = agree(program, random_inputs(program), f"{name}, {memory}", memory)
        assert result.counters["load_beats"] and result.counters["save_beats"]


def real(models: Path, name: str) -> Program:
    return compiled(models / "tflite" / f"{name}.tflite", PRESETS["stream"])


@pytest.mark.parametrize("name", NETWORKS)
def test_real_networks(agree: Callable, models: Path, name: str) -> None:
    program = real(models, name)
    result = agree(program, random_inputs(program), name)
    assert result.cycles <= NETWORKS[name]
    for memory in MEMORIES[1:]:
        agree(program, random_inputs(program), f"{name}, {memory}", memory)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8", "dscnn"])
def test_real_networks_on_chip(agree: Callable, models: Path, name: str) -> None:
    program = compiled(models / "tflite" / f"{name}.tflite", preset_for_array(16, 16))
    agree(program, random_inputs(program), name)


@pytest.fixture
def compiler() -> None:
    """Many runs: not without Verilator."""
    try:
        find_compiler()
    except ToolError as error:
        pytest.skip(str(error))


def stalled_cycles(program: Program, latency: int, bandwidth: float, seeds: range) -> list[int]:
    """Cycles of Verilator with a memory that stalls at random."""
    result = []
    for seed in seeds:
        timing = MemoryTiming(latency=latency, bandwidth=bandwidth, stalls=seed)
        backend = VerilatorBackend(structural=False, memory=timing)
        result.append(backend.run(program, random_inputs(program)).cycles)
    return result


def check_stalls(program: Program, seeds: range, label: str) -> None:
    """The prediction lies within 2 % of what memories with stalls take on average."""
    for latency, bandwidth in ((1, 1.0), (16, 1.0), (200, 1.0), (16, 0.25), (80, 0.6)):
        memory = MemoryModel(latency=latency, bandwidth=bandwidth, stalls=STALLS)
        predicted = predict(program, memory=memory).cycles
        measured = float(np.mean(stalled_cycles(program, latency, bandwidth, seeds)))
        assert abs(predicted / measured - 1) < 0.02, f"{label}, {memory}: {predicted}, {measured}"


def test_stalls(compiler: None) -> None:
    check_stalls(compiled(default_model(), SPECS["4x4"]), range(1, 4), "embedded network")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_stalls_of_real_networks(compiler: None, models: Path, name: str) -> None:
    check_stalls(real(models, name), range(1, 4), name)
