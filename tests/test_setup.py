"""scripts/setup says in one line what a machine lacks, before it downloads anything."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("sh", "dirname", "cksum", "cut", "grep", "rm")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with nothing but what POSIX has, and this Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    (folder / "python3").symlink_to(sys.executable)
    return folder


def _setup(bare: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "setup")],
        env={"PATH": str(bare), "VENV": str(bare.parent / "venv"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_no_python(bare: Path) -> None:
    result = _setup(bare, PYTHON="python-of-nobody")
    assert result.returncode == 1
    assert result.stderr == (
        "error: no python-of-nobody found: install Python 3.11 or newer, or name it with "
        "PYTHON=...\n"
    )


def test_old_python(bare: Path) -> None:
    _script(bare / "old", '[ "$1" = -V ] && echo Python 3.9.2; [ "$1" = -V ]')
    result = _setup(bare, PYTHON="old")
    assert result.returncode == 1
    assert result.stderr == (
        "error: Python must be 3.11 or newer, not Python 3.9.2: name another with PYTHON=...\n"
    )


def test_python_without_venv(bare: Path) -> None:
    _script(bare / "half", 'case "$1" in -c) exit 0;; *) exit 1;; esac')
    result = _setup(bare, PYTHON="half")
    assert result.returncode == 1
    assert result.stderr == (
        "error: half has no module venv: install it, e.g. apt-get install python3-venv\n"
    )


@pytest.mark.parametrize("compiler", [None, "nothing-of-that-name -O2"])
def test_no_compiler(bare: Path, compiler: str | None) -> None:
    venv = bare.parent / "venv"
    _script(venv / "bin" / "python", "exit 1")  # has no ziglang
    result = _setup(bare, **({"CXX": compiler} if compiler else {}))
    assert result.returncode == 1
    assert result.stderr == (
        "error: no C++ compiler (c++, g++ or clang++) found: apt-get install g++, or, without "
        f"root, {venv}/bin/pip install ziglang; then run this again\n"
    )
