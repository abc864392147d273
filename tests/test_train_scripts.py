"""The scripts that train networks, where what they need is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
EXTRAS = "pip install systolith["

# A module of None is one that cannot be imported.
WITHOUT = "import runpy, sys; sys.modules[{!r}] = None; sys.argv[1:] = {!r}; {}"
RUN = "runpy.run_path({!r}, run_name='__main__')"


@pytest.mark.parametrize(
    ("script", "module", "name"),
    [
        ("train_torch.py", "torch", "torch"),
        ("train_brevitas.py", "brevitas", "brevitas"),
        ("train_default.py", "sklearn", "scikit-learn"),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    tmp_path: Path, script: str, module: str, name: str
) -> None:
    code = WITHOUT.format(module, [str(tmp_path / "out")], RUN.format(str(SCRIPTS / script)))
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    wanted = f"error: {name} is not installed; install it with: {EXTRAS}"
    assert result.stderr.startswith(wanted), result.stderr
    assert not list(tmp_path.iterdir())
