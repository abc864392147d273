"""Small accelerators, the embedded network compiled for them, and what golden says of it."""

import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from systolith.compiler.compile import CompiledModel, compile_graph
from systolith.host import run_model
from systolith.importers import load_model
from systolith.sim.golden_backend import GoldenBackend
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.verify.samples import choose_samples, default_model

_KIB = 1024
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
SPECS = {
    "on-chip": AcceleratorSpec(
        array=ArraySpec(rows=4, columns=3),
        memory=MemorySpec(
            activation_bytes=2 * _KIB, weight_bytes=15 * _KIB, accumulator_depth=16,
            parameter_channels=192, command_words=_KIB, tables=1, stamps=16,
        ),
        post=PostSpec(lanes=3),
    ),
    "external": AcceleratorSpec(
        array=ArraySpec(rows=6, columns=6),
        memory=MemorySpec(
            activation_bytes=2 * _KIB, weight_bytes=3 * _KIB, accumulator_depth=16,
            parameter_channels=48, command_words=256, tables=1, stamps=16,
        ),
        post=PostSpec(lanes=3),
        external=ExternalSpec(data_bytes=8, burst_beats=8, outstanding=2),
    ),
}  # fmt: skip
"""Memory words of 3 bytes and of 96 in windows of 4 and 128; and memories that need loads."""


@cache
def compiled_digits(name: str) -> CompiledModel:
    """The embedded network for one of `SPECS`."""
    return compile_graph(load_model(default_model(), None), SPECS[name])


@cache
def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 [N, 8, 8, 1], and the codes that golden gives for them, [N, 10]."""
    compiled = compiled_digits("on-chip")
    graph = compiled.graph
    samples, _ = choose_samples(graph, None, None, count)
    (name,) = graph.inputs
    tensor = graph.tensors[name]
    images, codes = [], []
    for index in range(samples.count):
        given = samples.inputs[name][index].reshape(tensor.source_shape)
        images.append(tensor.canonical(given))
        run = run_model(compiled, GoldenBackend(), {name: images[-1]})
        codes.append(run.tensors[compiled.program.outputs[0]].ravel())
    return np.stack(images), np.stack(codes)


def run_tool(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program, its output captured."""
    words = [str(part) for part in command]
    return subprocess.run(words, capture_output=True, text=True, check=False)
