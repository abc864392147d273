"""The script that finds the largest arrays, without synthesis."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from systolith.spec.configuration import PRESETS, spec_to_toml
from systolith.verify.samples import default_model

SCRIPT = Path(__file__).parents[1] / "scripts" / "boards.py"


@pytest.fixture(scope="module")
def boards() -> ModuleType:
    spec = importlib.util.spec_from_file_location("boards", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["boards"] = module
    spec.loader.exec_module(module)
    return module


def test_inferences_a_second(
    boards: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = PRESETS["small"]
    (tmp_path / "spec.toml").write_text(spec_to_toml(spec))
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"array": [8, 8], "core_mhz": 50.0}))
    assert boards.main(["speed", f"b={report}", "--models", str(default_model())]) == 0
    cycles = boards.cycles_of(default_model(), spec)
    assert f"{50e6 / cycles:,.0f}/s ({cycles:,} cycles)" in capsys.readouterr().out
