"""Resources per component."""

from pathlib import Path
from typing import Any

import pytest

from systolith.build import cache
from systolith.build.cache import cached_estimate
from systolith.build.estimate import component_name, estimate
from systolith.build.families import Resources
from systolith.build.synthesis import synthesise
from systolith.constraints import Family
from systolith.hw.array import WeightStationaryArray
from systolith.hw.board import BoardTop
from systolith.sim.emit import to_rtlil
from systolith.spec.configuration import PRESETS


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("array", "pe_0_1"), "array"),
        (("design", "accelerator", "store", "lane3", "requantizer"), "lanes"),
        (("accelerator", "store", "nest"), "store unit"),
        (("accelerator", "weights", "memory"), "weight memory"),
        (("accelerator", "weights", "words", "decoder"), "weight loader"),
        (("accelerator", "external", "load"), "DMA"),
        (("accelerator",), "between"),
        (("bridge", "receiver"), "host bridge"),
    ],
)
def test_names_of_components(path: tuple[str, ...], name: str) -> None:
    assert component_name(path) == name


def test_repeated_modules_are_counted_as_often_as_they_are_there(tmp_path: Path) -> None:
    """An array of 3 x 4 elements, most of which are equal, against the same design flattened."""
    rtlil = to_rtlil(WeightStationaryArray(3, 4, pipelined=True), "top")
    found, whole = estimate(rtlil, Family.ECP5), synthesise(rtlil, Family.ECP5).resources
    assert found.total.dsps == whole.dsps == 12
    assert found.total.luts == pytest.approx(whole.luts, rel=0.05)
    assert found.total.ffs == pytest.approx(whole.ffs, rel=0.05)


def test_an_estimate_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTOLITH_CACHE", str(tmp_path))
    calls: list[Family] = []

    def count(rtlil: str, family: Family) -> Any:
        calls.append(family)
        return cache.Estimate(
            family=family, components={"array": Resources(luts=7, block_rams=1.5)}
        )

    monkeypatch.setattr(cache, "estimate", count)
    first = cached_estimate("a", Family.XC7)
    assert cached_estimate("a", Family.XC7) == first
    assert first.total == Resources(luts=7, block_rams=1.5)
    assert calls == [Family.XC7]
    cached_estimate("b", Family.XC7)
    cached_estimate("a", Family.ECP5)
    assert len(calls) == 3


@pytest.mark.slow
@pytest.mark.parametrize("family", [Family.ECP5, Family.ICE40, Family.GOWIN, Family.XC7])
def test_an_accelerator_is_estimated_to_a_few_percent(family: Family) -> None:
    rtlil = to_rtlil(BoardTop(PRESETS["tiny"]), "top")
    found, whole = estimate(rtlil, family), synthesise(rtlil, family).resources
    assert found.total.block_rams == whole.block_rams
    assert found.total.dsps == whole.dsps
    assert found.total.luts == pytest.approx(whole.luts, rel=0.05)
    assert found.total.ffs == pytest.approx(whole.ffs, rel=0.05)
    # What the search for the largest array scales by the memories' shapes.
    assert (
        found.components["weight memory"].block_rams + found.components["weight memory"].large_rams
        >= 1
    )
    assert found.components["activation memory"].block_rams >= 1
    assert found.components.get("between", Resources()).luts < 0.1 * found.total.luts
