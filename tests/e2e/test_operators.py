"""Operators of files on Verilator: the runtime, the formulas and the gates give the same bytes."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

_PROFILES = Path(__file__).parent.parent / "profiles"


def _cases(name: str) -> ModuleType:
    """The generators of random models are those of the profiles' tests."""
    spec = spec_from_file_location(name, _PROFILES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LITERT, TABLES = _cases("test_litert_moves"), _cases("test_litert_tables")
REDUCTIONS, ONNX = _cases("test_litert_reduce"), _cases("test_onnxruntime_moves")


def run(third_party: ModuleType, data: bytes, profile: str, name: str, codes: np.ndarray) -> int:
    """Compare one model on Verilator."""
    return third_party.compare(data, profile, {name: codes[:1]}, backend="verilator")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_tflite_on_verilator(writer: ModuleType, third_party: ModuleType, seed: int) -> None:
    total = 0
    profile = "tflite-reference"
    for kind in LITERT.KINDS:
        rng = np.random.default_rng([seed, 13])
        data, shape = LITERT.model(writer, rng, kind)
        codes = rng.integers(-128, 128, shape).astype(np.int8)
        total += run(third_party, data, profile, "t0", codes)
    for kind in set(TABLES.KINDS) - {"ELU", "RSQRT"}:
        data, codes = TABLES.model(writer, np.random.default_rng([seed, 14]), kind)
        total += run(third_party, data, profile, "t0", codes)
    for kind in ("MEAN", "REDUCE_MAX", "REDUCE_MIN"):
        for number, (rank, axes) in enumerate(REDUCTIONS.AXES):
            rng = np.random.default_rng([seed, number, 15])
            data, shape = REDUCTIONS.model(writer, rng, kind, rank, axes)
            codes = rng.integers(-128, 128, shape).astype(np.int8)
            total += run(third_party, data, profile, "t0", codes)
    assert total > 5000


@pytest.mark.slow
@pytest.mark.parametrize("form", ["same", "table"])
@pytest.mark.parametrize("seed", range(2))
def test_onnx_on_verilator(
    onnx_writer: ModuleType, third_party: ModuleType, form: str, seed: int
) -> None:
    total = 0
    for kind in ONNX.KINDS:
        data, codes = ONNX.draw(onnx_writer, kind, form, ("int8", "uint8")[seed], 500 + seed)
        total += run(third_party, data, "onnxruntime", "x", codes)
    assert total > 1000
