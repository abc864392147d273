"""The script that finds the largest arrays, without synthesis."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from systolith.build.estimate import Estimate
from systolith.build.families import Resources
from systolith.constraints import board_names, load_board
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


@pytest.mark.parametrize("dsps", [3, 8, 9, 28, 156, 10_000])
def test_largest_array(boards: ModuleType, monkeypatch: pytest.MonkeyPatch, dsps: int) -> None:
    """Bisection finds what trying all would, and says what the next one has too much of."""
    board = load_board("orangecrab_25f")
    there = board.capacity.dsps

    def takes(board: Any, spec: Any) -> Estimate:
        scaled = -(-spec.array.rows * spec.array.columns * there // dsps)
        return Estimate(family=board.family, components={"array": Resources(dsps=scaled)})

    monkeypatch.setattr(boards, "takes", takes)
    fitting = [size for size in boards.ARRAYS if size[0] * size[1] <= dsps]
    found = boards.largest(board, boards.ARRAYS)
    if not fitting:
        assert found is None
        return
    assert found[0] == fitting[-1]
    assert ("dsps" in found[1]) == (len(fitting) < len(boards.ARRAYS))


@pytest.mark.parametrize("name", board_names())
def test_every_array_makes_a_specification(boards: ModuleType, name: str) -> None:
    for rows, columns in boards.ARRAYS:
        spec = boards.with_array(load_board(name).spec, rows, columns)
        assert (spec.array.rows, spec.array.columns) == (rows, columns)


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
