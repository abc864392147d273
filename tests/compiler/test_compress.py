"""The script that compresses weights: LiteRT runs what it writes, and so does golden."""

import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.importers import load_model
from systolith.spec.configuration import load_spec
from systolith.spec.precision import WeightFormat
from systolith.verify import verify_model

_SCRIPT = Path(__file__).parents[2] / "scripts" / "compress_weights.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compress_weights", _SCRIPT)
    assert spec is not None and spec.loader is not None
    sys.modules["compress_weights"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_values(script: ModuleType) -> None:
    """What each change leaves of random weights."""
    weights = np.random.default_rng(1).integers(-127, 128, (6, 3, 3, 8)).astype(np.int8)
    powers = {0, -128} | {s << e for e in range(7) for s in (1, -1)}
    log2 = script._log2(weights, "CONV_2D")
    assert set(np.unique(log2).tolist()) <= powers
    gap = np.abs(weights[..., None].astype(int) - sorted(powers)).min(axis=-1)
    np.testing.assert_array_equal(np.abs(weights.astype(int) - log2), gap)
    whole = script._codebook(weights, "CONV_2D", per="tensor")
    assert len(np.unique(whole)) <= 16 and 0 in script._means(weights)
    each = script._codebook(weights, "CONV_2D", per="channel")
    assert max(len(np.unique(channel)) for channel in each) <= 16
    errors = [float(((w.astype(float) - weights) ** 2).sum()) for w in (each, whole, log2)]
    assert errors == sorted(errors)
    sparse = script._bitmap(weights, "CONV_2D", sparsity=0.75)
    assert abs((sparse == 0).mean() - 0.75) < 0.01
    np.testing.assert_array_equal(sparse[sparse != 0], weights[sparse != 0])
    fours = script._two_of_four(weights, "CONV_2D").reshape(-1, 4)
    assert ((fours != 0).sum(axis=1) <= 2).all()


@pytest.mark.parametrize(
    ("name", "form"), [("log2", WeightFormat.LOG2), ("codebook", WeightFormat.CODEBOOK)]
)
def test_litert_is_the_oracle(
    script: ModuleType, tmp_path: Path, models: Path, name: str, form: WeightFormat
) -> None:
    """Every tensor of a compressed keyword network, and the formats that its layers get."""
    change = {"log2": script._log2, "codebook": partial(script._codebook, per="tensor")}[name]
    before = (models / "tflite" / "micro_speech.tflite").read_bytes()
    data, error, count, _ = script.compress(before, change)
    assert len(data) == len(before) and error > 0 and count > 1000
    path = tmp_path / "network.tflite"
    path.write_bytes(data)
    spec = load_spec("mixed")
    stored = compile_graph(load_model(path), spec).weights
    assert form in {weights.form for weights in stored.values()}
    report = verify_model(path, spec, backend="golden", count=1)
    assert report.ok and report.compared > 1000
