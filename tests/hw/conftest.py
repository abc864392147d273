"""Settings of the hardware's tests, and a reference of whole programs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Components that are only constructed, to see their ports or errors, are no mistake here."""
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The module ``program_reference``: what programs compute, and ``check``."""
    name = "program_reference"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
