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
    command = [sys.executable, str(SCRIPT), "--values", str(values), "--pysim", str(pysim)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = re.findall(
        r"^(DOUBLE|FLOAT32|FIXED) +(formula|gates, \w+) +(\d+) +(\d+) ", result.stdout, re.MULTILINE
    )
    assert len(rows) == 9
    assert all(int(count) >= pysim and int(wrong) == 0 for _, _, count, wrong in rows)
