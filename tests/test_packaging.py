"""The package: what pyproject.toml lists is what the folders hold, and the wheel has all of it."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["tool"]["setuptools"]
    return table


def _modules(table: dict[str, Any], suffix: str) -> set[str]:
    """Files of ours with that suffix, by their path in the package."""
    found = set()
    for package, folder in table["package-dir"].items():
        for path in (ROOT / folder).rglob(f"*{suffix}"):
            if "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT / folder).as_posix()
                found.add(f"{package.replace('.', '/')}/{inside}")
    return found


def test_every_folder_of_modules_is_listed(setuptools_table: dict[str, Any]) -> None:
    folders = {str(Path(name).parent) for name in _modules(setuptools_table, ".py")}
    listed = {name.replace(".", "/") for name in setuptools_table["packages"]}
    assert listed == folders
    assert len(listed) == len(setuptools_table["packages"])


def test_every_listed_package_is_one(setuptools_table: dict[str, Any]) -> None:
    initialised = _modules(setuptools_table, "__init__.py")
    for name in setuptools_table["packages"]:
        assert f"{name.replace('.', '/')}/__init__.py" in initialised


def test_wheel_has_every_module_and_all_data(
    tmp_path: Path, setuptools_table: dict[str, Any]
) -> None:
    """Built as users build it, but for the isolation, which would download setuptools."""
    pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools >= 77")
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        *setuptools_table["package-dir"].values(),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    result = subprocess.run(
        [sys.executable, "-c", "from setuptools.build_meta import build_wheel; build_wheel('out')"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (wheel,) = (tmp_path / "out").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for suffix in (".py", ".cpp", ".h", ".sv", ".npz", ".onnx", ".json"):
        wanted = _modules(setuptools_table, suffix)
        assert wanted, suffix
        assert wanted <= names
