"""Graphs and accelerators of the end-to-end tests."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_TESTS = Path(__file__).parent.parent


def _load(name: str, path: Path) -> ModuleType:
    """Import a helper by its path (the tests are no package)."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


_load("graph_builder", _TESTS / "compiler" / "conftest.py")
for _name in ("random_places", "random_graphs", "random_streams", "random_layers", "random_sparse"):
    _load(_name, Path(__file__).with_name(f"{_name}.py"))


@pytest.fixture(scope="session")
def builder() -> ModuleType:
    """The module with ``Net``, which builds graphs one operator at a time."""
    return sys.modules["graph_builder"]


@pytest.fixture(scope="session")
def random_graphs() -> ModuleType:
    """The module with ``random_graph`` and ``SPECS``."""
    return sys.modules["random_graphs"]


@pytest.fixture(scope="session")
def random_streams() -> ModuleType:
    """The module with ``random_layer`` and ``STREAMED_SPECS``."""
    return sys.modules["random_streams"]


@pytest.fixture(scope="session")
def random_sparse() -> ModuleType:
    """The module with ``random_network`` and ``sparse_spec``."""
    return sys.modules["random_sparse"]


@pytest.fixture(scope="session")
def random_layers() -> ModuleType:
    """The module with ``random_layer`` and ``tiny_spec``."""
    return sys.modules["random_layers"]
