"""Fixtures of the drivers' tests."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from systolith.compiler.compile import CompiledModel
from systolith.report.deploy import driver_files, model_files

_NAME = "driver_networks"
_SPEC = importlib.util.spec_from_file_location(_NAME, Path(__file__).with_name(f"{_NAME}.py"))
assert _SPEC is not None and _SPEC.loader is not None
sys.modules[_NAME] = _MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


@pytest.fixture(scope="session")
def cc() -> str:
    """A C compiler."""
    path = shutil.which("cc")
    if path is None:
        pytest.skip("no C compiler: install gcc")
    return path


@pytest.fixture(scope="session")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[CompiledModel], Path]:
    """Write a compiled model's files and the drivers to a folder."""

    def write(compiled: CompiledModel) -> Path:
        folder = tmp_path_factory.mktemp("deployed")
        for name, data in {**model_files(compiled), **driver_files()}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder

    return write
