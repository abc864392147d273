"""What parts of the accelerator cost: the script, and multipliers that take what they claim."""

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from systolith.hw.array import WeightStationaryArray
from systolith.spec.precision import MultiplierForm, Precision

SCRIPT = Path(__file__).parents[1] / "scripts" / "area.py"


@pytest.fixture(scope="module")
def area() -> ModuleType:
    spec = importlib.util.spec_from_file_location("area", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["area"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("form", "precisions", "columns", "target"),
    [
        (MultiplierForm.PACKED18, frozenset(Precision), 1, "ecp5"),
        (MultiplierForm.PACKED27, frozenset(Precision), 1, "xc7"),
        (MultiplierForm.PACKED27, frozenset({Precision.W8A8}), 2, "xcup"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
def test_a_packed_form_is_one_block(
    area: ModuleType,
    form: MultiplierForm,
    precisions: frozenset[Precision],
    columns: int,
    target: str,
) -> None:
    array = WeightStationaryArray(1, columns, pipelined=True, precisions=precisions, form=form)
    found = area.measure(array, area.TARGETS[target])
    assert found.dsp == 1
    assert found.lut > 0
    assert found.ff > 0


def test_table_and_file(
    area: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """A row for every subject, a column for every target, and the same in JSON."""
    design = SimpleNamespace(columns=3)
    monkeypatch.setattr(area, "WeightStationaryArray", lambda *size, **options: design)
    monkeypatch.setattr(area, "measure", lambda design, target: area.Area(dsp=design.columns))
    path = tmp_path / "area.json"
    command = ["array", "--size", "2x3", "--targets", "ecp5", "xcup", "--json", str(path)]
    assert area.main(command) == 0
    rows = json.loads(path.read_text())
    subjects = list(area.arrays((2, 3)))
    assert [(row["precisions"], row["form"]) for row in rows] == [
        (subject.labels["precisions"], subject.labels["form"]) for subject in subjects
    ]
    assert all(row["ecp5"]["dsp"] == row["xcup"]["dsp"] == 3 for row in rows)
    assert capsys.readouterr().out.count("3 DSP") == 2 * len(subjects)


def test_sizes_are_checked(area: ModuleType) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"^must be ROWSxCOLUMNS, not '4'$"):
        area._size("4")
