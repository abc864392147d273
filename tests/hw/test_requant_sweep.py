"""The sweep of the requantizer: formula against golden against Verilator and pysim."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "requant_sweep.py"


@pytest.mark.parametrize(
    ("values", "pysim"), [(100_000, 500), pytest.param(10_000_000, 4000, marks=pytest.mark.slow)]
)
def test_sweep_finds_no_mismatch(values: int, pysim: int) -> None:
    sweep(values, pysim, 12)


@pytest.mark.parametrize("bits", [(18, 18), pytest.param((25, 24), marks=pytest.mark.slow)])
def test_sweep_of_narrow_widths_finds_no_mismatch(bits: tuple[int, int]) -> None:
    modes = ["fixed", "magnitude"]
    widths = ["--multiplier-bits", str(bits[0]), "--accumulator-bits", str(bits[1])]
    sweep(100_000, 500, 6, "--modes", *modes, "--build", *modes, *widths)


def sweep(values: int, pysim: int, expected: int, *options: str) -> None:
    """Run the script and require its rows, without a mismatch."""
    command = [sys.executable, str(SCRIPT), "--values", str(values), "--pysim", str(pysim)]
    command += options
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = re.findall(
        r"^(DOUBLE|FLOAT32|FIXED|MAGNITUDE) +(formula|gates, \w+) +(\d+) +(\d+) ",
        result.stdout,
        re.MULTILINE,
    )
    assert len(rows) == expected
    assert all(int(count) >= pysim and int(wrong) == 0 for _, _, count, wrong in rows)
