"""The static checks: lint, formatting, types and layers, each a test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="static checks need the extra `test`")

ROOT = Path(__file__).resolve().parent.parent


def _run(*command: str) -> str:
    """Run a module of this Python in the root of the checkout; its output is the failure's text."""
    result = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "build/types"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    output = result.stdout + result.stderr
    if result.returncode:
        pytest.fail(f"{' '.join(command)}\n{output}", pytrace=False)
    return output


@pytest.fixture(scope="module")
def linked_files() -> int:
    """Number of files in the tree that static tools read; all of ours, counted another way."""
    linked = int(_run("scripts/link_types.py"))
    folders = ("src/systolith", "hw", "golden", "sim", "constraints")
    assert linked == sum(1 for folder in folders for _ in (ROOT / folder).rglob("*.py"))
    return linked


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff(arguments: tuple[str, ...]) -> None:
    _run("-m", "ruff", *arguments, ".")


def test_types_of_every_file(linked_files: int) -> None:
    output = _run("-m", "mypy", "--no-color-output")
    assert re.search(rf"no issues found in {linked_files} source files", output), output


def test_layers_of_every_file(linked_files: int) -> None:
    output = _run("-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-logo")
    assert f"Analyzed {linked_files} files" in output, output
