"""Fixtures of all tests: third parties' models, and a writer of small TFLite files."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from systolith.cycles import MemoryModel, predict
from systolith.errors import ToolError
from systolith.sim.backend import Result
from systolith.sim.toolchain import find_compiler
from systolith.spec.program import Program

_HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    """Import a helper beside this file (the tests are no package)."""
    spec = importlib.util.spec_from_file_location(name, _HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def models() -> Path:
    """Folder of real networks and their reference outputs, which are not part of this project."""
    folder = Path(os.environ.get("SYSTOLITH_MODELS", _HERE.parent.parent / "shared" / "models"))
    if not folder.is_dir():
        pytest.skip(f"no models at {folder}: set SYSTOLITH_MODELS to their folder")
    return folder


def _as_predicted(
    program: Program, measured: Result, label: object, memory: MemoryModel | None = None
) -> None:
    predicted = predict(program, memory=memory)
    wrong = {
        name: (predicted.counters[name], value)
        for name, value in measured.counters.items()
        if predicted.counters[name] != value
    }
    assert not wrong, f"{label}: (predicted, measured) {wrong}"
    kept = program.spec.memory.stamps
    assert predicted.stamps[:kept] == measured.stamps[:kept], label
    assert predicted.cycles == measured.cycles, label


@pytest.fixture(scope="session")
def as_predicted() -> Callable[..., None]:
    """Require that the cycle model predicts every counter and stamp of a run that was measured."""
    return _as_predicted


@pytest.fixture(scope="session")
def writer() -> ModuleType:
    """The module ``tflite_writer``: ``T`` (tensor), ``O`` (operator), ``write_tflite``."""
    return _load("tflite_writer")


@pytest.fixture(scope="session")
def third_party() -> ModuleType:
    """The module ``third_party``: ``compare`` of runtime, formulas and golden."""
    return _load("third_party")


@pytest.fixture(scope="session")
def qonnx_writer(onnx_writer: ModuleType) -> ModuleType:
    """The module ``qonnx_writer``: ``QonnxModel`` collects nodes and constants."""
    return _load("qonnx_writer")


@pytest.fixture(scope="session")
def blocks_writer(onnx_writer: ModuleType) -> ModuleType:
    """The module ``blocks_writer``: ``Blocks`` makes models of MatMulNBits."""
    return _load("blocks_writer")


@pytest.fixture(scope="session")
def onnx_writer() -> ModuleType:
    """The module ``onnx_writer``: ``Model`` collects nodes and constants."""
    return _load("onnx_writer")


@pytest.fixture(scope="session")
def torch_nets() -> ModuleType:
    """The module ``torch_nets``: quantized PyTorch networks; skips where torch is not installed."""
    pytest.importorskip("torch", reason="PyTorch is not installed (EXTRAS=torch)")
    return _load("torch_nets")


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skip where there is no C++ compiler."""
    try:
        find_compiler()
    except ToolError as error:
        pytest.skip(str(error))
