"""Fixtures of all tests: third parties' models, and a writer of small TFLite files."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


@pytest.fixture(scope="session")
def writer() -> ModuleType:
    """The module ``tflite_writer``: ``T`` (tensor), ``O`` (operator), ``write_tflite``."""
    return _load("tflite_writer")


@pytest.fixture(scope="session")
def third_party() -> ModuleType:
    """The module ``third_party``: ``compare`` of runtime, formulas and golden."""
    return _load("third_party")


@pytest.fixture(scope="session")
def onnx_writer() -> ModuleType:
    """The module ``onnx_writer``: ``Model`` collects nodes and constants."""
    return _load("onnx_writer")
