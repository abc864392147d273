"""The register map: no two things at one address, and every memory fits its window."""

import pytest

from systolith.report.registers import window_bytes
from systolith.spec.configuration import PRESETS
from systolith.spec.registers import COUNTERS, ERRORS, REGISTERS, ErrorCode, Window, window_stride


def test_registers_are_apart() -> None:
    offsets = [r.offset for r in REGISTERS]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 for offset in offsets)
    assert len({r.name for r in REGISTERS}) == len(REGISTERS)
    assert {r.access for r in REGISTERS} == {"ro", "rw", "wo"}


def test_counters_are_registers() -> None:
    assert [r.name for r in REGISTERS[-len(COUNTERS) :]] == [c.name for c in COUNTERS]


def test_every_error_is_explained() -> None:
    assert set(ERRORS) == set(ErrorCode)
    assert len(set(ERRORS.values())) == len(ERRORS)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("window", Window)
def test_memories_fit_their_windows(name: str, window: Window) -> None:
    stride = window_stride(PRESETS[name], window)
    assert stride & (stride - 1) == 0
    assert window_bytes(PRESETS[name], window) <= 1 << 24
