"""Two of four weights, whole: formulas or runtime, golden, Verilator, cycle model.

Random networks of which most layers are pruned, on accelerators with little memory or enough; and
networks of MLPerf Tiny pruned by `scripts/compress_weights.py`, against LiteRT. In Verilator:

    pytest -m slow tests/e2e/test_two_of_four.py
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.cycles import MemoryModel, predict
from systolith.errors import CompileError
from systolith.host import run_model
from systolith.importers import load_model
from systolith.profiles.reference import evaluate_graph
from systolith.sim.backend import Backend, Result
from systolith.sim.backends import get_backend
from systolith.sim.external import MemoryTiming
from systolith.sim.verilator_backend import VerilatorBackend
from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.configuration import load_spec
from systolith.spec.precision import WeightFormat
from systolith.spec.program import Program
from systolith.verify import verify_model

REFUSALS = ("is not proven equal", "no residual add equals", "to at least", "lies in the padding")
SHARES = {"autoencoder": 0.7, "resnet8": 0.65}
"""Cycles of dense weights that the pruned networks may take on the preset `sparse` at most."""


def pruned(name: str, models: Path, folder: Path) -> Path:
    """A network of the models with two of four weights."""
    script = Path(__file__).parents[2] / "scripts" / "compress_weights.py"
    spec = importlib.util.spec_from_file_location("compress_weights", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = folder / f"{name}.tflite"
    before = (models / "tflite" / f"{name}.tflite").read_bytes()
    path.write_bytes(module.compress(before, module._two_of_four)[0])
    return path


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """Values compared, MATMULs with two of four weights, the program and its result."""

    compared: int
    sparse: int
    program: Program
    result: Result


def check(
    networks: ModuleType, seed: int, spec: AcceleratorSpec, backend: Backend
) -> Checked | None:
    """Compare one network; None if it is refused for a good reason."""
    graph = networks.random_network(seed)
    try:
        model = compile_graph(graph, spec, fuse=seed % 3 > 0)
    except CompileError as error:
        assert any(text in str(error) for text in REFUSALS), f"seed {seed}: {error}"
        return None
    rng, inputs = np.random.default_rng([seed, 33]), {}
    for name in graph.inputs:
        limits = np.iinfo(graph.tensor(name).dtype)
        codes = rng.integers(limits.min, limits.max + 1, graph.tensor(name).shape)
        inputs[name] = codes.astype(limits.dtype)
    wanted = evaluate_graph(graph, inputs)
    run, compared = run_model(model, backend, inputs, capture=True), 0
    for node in graph:
        tensor = node.outputs[0]
        if tensor not in model.hidden:
            message = f"seed {seed}: {node.name} ({tensor}) differs"
            np.testing.assert_array_equal(run.tensors[tensor], wanted[tensor], err_msg=message)
            compared += wanted[tensor].size
    sparse = sum(s.form is WeightFormat.TWO_OF_FOUR for s in model.weights.values())
    return Checked(compared=compared, sparse=sparse, program=model.program, result=run.result)


def check_block(networks: ModuleType, seeds: range) -> None:
    """Most are compared, and many have layers with two of four weights."""
    golden = get_backend("golden")
    results = [check(networks, seed, networks.sparse_spec(seed), golden) for seed in seeds]
    found = [r for r in results if r is not None]
    assert len(found) > 0.6 * len(seeds)
    assert sum(r.sparse > 0 for r in found) > 0.3 * len(seeds)


def test_random_networks(random_sparse: ModuleType) -> None:
    check_block(random_sparse, range(16))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_random_networks(random_sparse: ModuleType, block: int) -> None:
    check_block(random_sparse, range(1000 + 60 * block, 1060 + 60 * block))


@pytest.mark.slow
def test_random_networks_in_verilator(
    random_sparse: ModuleType, as_predicted: Callable[..., None]
) -> None:
    """One accelerator, and every counter and time stamp as the cycle model says."""
    hardware = VerilatorBackend(structural=False, memory=MemoryTiming(latency=16, bandwidth=1.0))
    roomy = random_sparse.sparse_spec(1)
    one = replace(
        roomy, array=replace(roomy.array, rows=6, columns=5), post=replace(roomy.post, lanes=1),
        external=replace(roomy.external, data_bytes=8),
        memory=replace(roomy.memory, weight_bytes=5 << 12),
    )  # fmt: skip
    model, count = MemoryModel(latency=16, bandwidth=1.0), 0
    for seed in range(40):
        found = check(random_sparse, seed, one, hardware)
        if found is not None:
            as_predicted(found.program, found.result, f"seed {seed}", model)
            count += found.sparse > 0
    assert count > 20


@pytest.mark.parametrize("name", ["autoencoder", pytest.param("resnet8", marks=pytest.mark.slow)])
def test_pruned_networks(models: Path, tmp_path: Path, name: str) -> None:
    """LiteRT is the oracle of every tensor; cycles and bytes fall."""
    path, spec = pruned(name, models, tmp_path), load_spec("sparse")
    report = verify_model(path, spec, backend="golden", count=1)
    assert report.ok and not report.mismatches and report.compared > 1000
    dense = replace(spec, array=replace(spec.array, weight_formats=frozenset({WeightFormat.DENSE})))
    with_zeros, without = (compile_graph(load_model(path), s) for s in (dense, spec))
    assert without.memory.loaded < 0.7 * with_zeros.memory.loaded
    cycles = [predict(model.program).cycles for model in (with_zeros, without)]
    assert cycles[1] < SHARES[name] * cycles[0]
    assert {stored.form for stored in without.weights.values()} == {WeightFormat.TWO_OF_FOUR}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoencoder", "resnet8"])
def test_pruned_networks_in_verilator(models: Path, tmp_path: Path, name: str) -> None:
    """Every tensor of LiteRT's, in exactly the cycles that were predicted."""
    path, spec = pruned(name, models, tmp_path), load_spec("sparse")
    report = verify_model(path, spec, backend="verilator-fast", count=1)
    assert report.ok and not report.mismatches
    assert report.cycles == predict(compile_graph(load_model(path), spec).program).cycles
